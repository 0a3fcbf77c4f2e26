package jobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Why is why a job does not run (yet).
type Why struct {
	ID    string `json:"id"`
	State State  `json:"state"`
	// Blocker is what keeps the job, "" when it runs or has ended.
	Blocker Blocker `json:"blocker,omitempty"`
	// Text says it in a sentence; of a job that has ended it is what became of it.
	Text string `json:"text"`
	// Hosts has for each host what is nearest to letting the job run there.
	Hosts []HostWhy `json:"hosts,omitempty"`
	// Ahead is how many tickets are before the job's where it waits, nil when that is not
	// known.
	Ahead *int `json:"ahead,omitempty"`
	// About is how long it may take until a host is free, by how long jobs took lately; 0
	// when that is not known.
	About Duration `json:"about,omitempty"`
}

// HostWhy is what keeps a job from one host.
type HostWhy struct {
	Host    string  `json:"host"`
	Worker  string  `json:"worker,omitempty"`
	Blocker Blocker `json:"blocker"`
	Text    string  `json:"text"`
	// lacks is how many things the host lacks.
	lacks int
	about time.Duration
	// left is for how long it leaves the job to hosts that are warm for it, if that is long.
	left time.Duration
}

// name is what people call the host.
func (h HostWhy) name() string { return cmp.Or(h.Worker, h.Host) }

// Situation is what decides why a job waits, at Now on Redis time.
type Situation struct {
	Job    Job
	Now    time.Time
	Hosts  []Host
	Pauses []Pause
	// Lanes are pauses of the places where jobs wait, by their IDs.
	Lanes map[string]Pause
	// Ahead is how many tickets are before the job's, nil when that is not known.
	Ahead *int
	// Groups are the concurrency groups of the jobs, by their names.
	Groups map[string]Group
	// Running are jobs at work, Recent are jobs that ended lately: they say how long others
	// may take. AllRun tells that Running are all jobs at work.
	Running, Recent []Job
	AllRun          bool
}

// nearest orders the blockers of hosts: what comes first is nearest to letting a job run.
func nearest() []Blocker {
	return []Blocker{
		BlockedByTurn, BlockedBySlots, BlockedByUnfit, BlockedByOrder, BlockedBySilence,
		BlockedBySize, BlockedByLabels, BlockedByPlatform, BlockedByQueue,
	}
}

// Explain tells why the job does not run.
func (s Situation) Explain() Why {
	j := s.Job
	w := Why{ID: j.ID, State: j.State, Ahead: s.Ahead}
	switch {
	case j.State.Terminal():
		w.Ahead, w.Text = nil, j.ending()
		return w
	case j.State == Running:
		w.Ahead, w.Text = nil, fmt.Sprintf("it runs on %s", cmp.Or(j.Worker, j.Host))
		return w
	}
	for _, h := range s.Hosts {
		w.Hosts = append(w.Hosts, s.host(h))
	}
	slices.SortStableFunc(w.Hosts, func(a, b HostWhy) int {
		return cmp.Or(cmp.Compare(rank(a.Blocker), rank(b.Blocker)), cmp.Compare(a.lacks, b.lacks), cmp.Compare(a.about, b.about), cmp.Compare(a.left, b.left), cmp.Compare(a.name(), b.name()))
	})
	if s.Now.Before(j.NotBefore) {
		w.Blocker, w.Text = BlockedByRetryPause, "it is tried again in "+briefly(j.NotBefore.Sub(s.Now))+s.lastFailure()
		return w
	}
	if p, paused := s.pause(); paused {
		w.Blocker, w.Text = BlockedByPause, p.String()
		return w
	}
	if text := s.groupFull(); text != "" {
		w.Blocker, w.Text, w.Ahead = BlockedByGroup, text, nil
		return w
	}
	s.explainHosts(&w)
	return w
}

// groupFull tells that the job's group has no place for it, "" when it has.
func (s Situation) groupFull() string {
	c := s.Job.Spec.Concurrency
	if c == nil {
		return ""
	}
	g := s.Groups[c.Group]
	before := slices.Index(g.Waiting, s.Job.ID)
	if before < 0 {
		before = len(g.Waiting)
	}
	if len(g.Members)+before < c.Limit {
		return ""
	}
	text := fmt.Sprintf("%d of %d jobs of its group %s run", len(g.Members), c.Limit, c.Group)
	if some := g.Members[:min(len(g.Members), 3)]; len(some) > 0 {
		text += ": " + strings.Join(some, ", ")
	}
	if before > 0 {
		text += fmt.Sprintf("; %s before it", count(before, "job is", "jobs are"))
	}
	return text
}

func rank(b Blocker) int { return slices.Index(nearest(), b) }

// Waiting tells what keeps the jobs that wait in a part of a queue, and how many hosts may
// take them when nothing that passes is in the way.
func (s Situation) Waiting(d Depth) (Blocker, int) {
	needs, err := d.Route.Needs()
	if err != nil {
		return BlockedByLabels, 0
	}
	spec := Spec{Queue: d.Queue, Priority: d.Priority, Requires: &Requires{Platform: needs.Platform, Labels: needs.Labels}}
	spec.Run = &Run{Limits: Limits{CPUs: needs.CPUs, Memory: needs.Memory}}
	s.Job = Job{State: Queued, Spec: spec, Queued: d.Oldest}
	w := s.Explain()
	able := 0
	for _, h := range w.Hosts {
		if rank(h.Blocker) < rank(BlockedBySilence) {
			able++
		}
	}
	return w.Blocker, able
}

// explainHosts names the blocker of the nearest host.
func (s Situation) explainHosts(w *Why) {
	up := slices.ContainsFunc(s.Hosts, func(h Host) bool { return h.Damaged == "" && h.Up(s.Now) })
	if !up {
		w.Blocker, w.Text = BlockedByNoWorker, "no worker is alive"
		known := slices.DeleteFunc(slices.Clone(s.Hosts), func(h Host) bool { return h.Seen.IsZero() })
		if len(known) > 0 {
			last := slices.MaxFunc(known, func(a, b Host) int { return a.Seen.Compare(b.Seen) })
			w.Text += fmt.Sprintf("; the last, %s, was heard of %s ago", cmp.Or(last.Worker, last.Name), briefly(last.Silent(s.Now)))
		}
		return
	}
	first := w.Hosts[0]
	w.Blocker = first.Blocker
	able := 0 // hosts with the same blocker
	for _, h := range w.Hosts {
		if h.Blocker == first.Blocker {
			able++
		}
	}
	others := ""
	if able > 1 {
		others = fmt.Sprintf(", and so for %d more", able-1)
	}
	switch first.Blocker {
	case BlockedByQueue:
		w.Text = fmt.Sprintf("no host serves the queue %q", s.Job.Spec.Queue)
	case BlockedByPlatform, BlockedByLabels, BlockedBySize:
		w.Text = fmt.Sprintf("no host has what it needs; the nearest is %s: %s", first.name(), first.Text)
	case BlockedBySlots:
		w.About = Duration(first.about)
		w.Text = fmt.Sprintf("all hosts that could run it are busy; the nearest is %s: %s", first.name(), first.Text)
		if w.Ahead != nil && *w.Ahead > 0 {
			w.Text += fmt.Sprintf("; %s before it", count(*w.Ahead, "job is", "jobs are"))
		}
	case BlockedByTurn:
		w.Text = fmt.Sprintf("%s has a free slot and is about to take it", first.name())
		if first.left > 0 {
			w.Text = fmt.Sprintf("%s has a free slot; if others have built %s before, it is left to these for %s", first.name(), s.Job.Spec.Name, briefly(first.left))
		}
	default:
		w.Text = fmt.Sprintf("%s could run it, but: %s%s", first.name(), first.Text, others)
	}
}

// host tells what keeps the job from a host: first what stays as it is, then what passes.
func (s Situation) host(h Host) HostWhy {
	w := HostWhy{Host: h.Name, Worker: h.Worker}
	is := func(b Blocker, format string, args ...any) HostWhy {
		w.Blocker, w.Text = b, fmt.Sprintf(format, args...)
		return w
	}
	needs := s.Job.Spec.Needs()
	lacks := h.Offer().Lacks(needs)
	running, used := s.atWork(h)
	crowded := h.Offer().Crowded(used, needs)
	switch {
	case h.Damaged != "":
		return is(BlockedBySilence, "its entry is damaged: %s", h.Damaged)
	case !slices.Contains(h.Queues, s.Job.Spec.Queue):
		return is(BlockedByQueue, "it serves %s", strings.Join(h.Queues, ", "))
	case len(lacks) > 0:
		w.lacks = len(lacks)
		// The worst of them: the others may be mended for nothing.
		worst := slices.MaxFunc(lacks, func(a, b Lack) int { return cmp.Compare(rank(a.Blocker), rank(b.Blocker)) })
		texts := make([]string, len(lacks))
		for i, l := range lacks {
			texts[i] = l.Text
		}
		return is(worst.Blocker, "%s", strings.Join(texts, ", "))
	case !h.Up(s.Now):
		return is(BlockedBySilence, "not heard of for %s", briefly(h.Silent(s.Now)))
	case h.Order != nil && !h.Order.Takes():
		return is(BlockedByOrder, "%s for %s by %s: %s", h.State, briefly(s.Now.Sub(h.Order.Since)), cmp.Or(h.Order.By, "an operator"), h.Order.Why())
	case h.State == HostDraining:
		return is(BlockedByOrder, "its worker ends")
	case h.State == HostUnfit:
		return is(BlockedByUnfit, "unfit: %s", cmp.Or(h.Reason, "it does not say why"))
	case running >= h.Slots:
		is(BlockedBySlots, "%d of %d slots busy", running, h.Slots)
	case crowded != "":
		is(BlockedBySlots, "%s", crowded)
	case s.leftWaiting(h):
		return is(BlockedBySilence, "not heard of for %s, though it has a free slot", briefly(h.Silent(s.Now)))
	default:
		is(BlockedByTurn, "%d of %d slots busy", running, h.Slots)
		if left := s.waitsSince().Add(h.AffinityWait.D()).Sub(s.Now); s.Job.Spec.recipe() != "" && h.AffinityWait.D() > takenIn && left > 0 {
			w.left = left
		}
		return w
	}
	if w.about = s.freeIn(h.Name); w.about > 0 {
		w.Text += ", about " + briefly(w.about)
	}
	return w
}

// takenIn is how soon a host with a free slot takes a job that waits for it: it looks at
// its queues every few seconds even if it was not woken.
const takenIn = 8 * time.Second

// leftWaiting reports whether a host that has room for the job neither took it in time nor
// said a word since. A worker that was killed says nothing, and one that has nothing to
// do need not for a minute; but with this job it has.
func (s Situation) leftWaiting(h Host) bool {
	j := s.Job
	if _, paused := s.pause(); paused || s.groupFull() != "" || j.Queued.IsZero() {
		return false
	}
	since := slices.MaxFunc([]time.Time{s.waitsSince(), h.Seen}, time.Time.Compare)
	return s.Now.Sub(since) > takenIn+h.AffinityWait.D()
}

// waitsSince is since when the job could be taken, as far as it is about the job.
func (s Situation) waitsSince() time.Time {
	if s.Job.NotBefore.After(s.Job.Queued) {
		return s.Job.NotBefore
	}
	return s.Job.Queued
}

// pause is the one of the part of the queue that the job is in.
func (s Situation) pause() (Pause, bool) {
	for _, p := range s.Pauses {
		if p.Queue == s.Job.Spec.Queue && p.Priority == s.Job.Spec.Priority {
			return p, true
		}
	}
	p, paused := s.Lanes[s.Job.ID]
	return p, paused
}

// atWork is how many jobs run on a host, and what is used of it. A host tells of that some
// seconds late, and one that was lost tells what was: the records of jobs know better, when
// all of them are at hand. Of kept services, and of what its operator sets, only the host
// tells.
func (s Situation) atWork(h Host) (n int, used Needs) {
	told := Needs{CPUs: h.UsedCPUs, Memory: h.UsedMemory}
	if !s.AllRun {
		return h.Running, told
	}
	for _, j := range s.Running {
		if j.Host == h.Name {
			n, used = n+1, used.And(j.Spec.Needs())
		}
	}
	return n, Needs{CPUs: max(used.CPUs, told.CPUs), Memory: max(used.Memory, told.Memory)}
}

// freeIn is how long it may take until a job of a host ends, by how long jobs of its name,
// or all, took lately; 0 when that is not known.
func (s Situation) freeIn(host string) time.Duration {
	var soonest time.Duration
	for _, j := range s.Running {
		usual := s.usually(j.Spec.Name)
		if j.Host != host || usual == 0 {
			continue
		}
		left := max(usual-s.Now.Sub(j.Claimed), time.Second)
		if soonest == 0 || left < soonest {
			soonest = left
		}
	}
	return soonest
}

// usually is the median of how long jobs of a name took, of all jobs when there is none.
func (s Situation) usually(name string) time.Duration {
	var named, all []time.Duration
	for _, j := range s.Recent {
		if j.Claimed.IsZero() || j.Finished.IsZero() {
			continue
		}
		took := j.Finished.Sub(j.Claimed)
		all = append(all, took)
		if name != "" && j.Spec.Name == name {
			named = append(named, took)
		}
	}
	if len(named) == 0 {
		named = all
	}
	if len(named) == 0 {
		return 0
	}
	slices.Sort(named)
	return named[len(named)/2]
}

// lastFailure is why the attempt before ended, for the end of a sentence.
func (s Situation) lastFailure() string {
	if n := len(s.Job.Past); n > 0 && s.Job.Past[n-1].Failure != nil {
		return ", because: " + s.Job.Past[n-1].Failure.Message
	}
	return ""
}

// ending is what became of a job that has ended.
func (j Job) ending() string {
	if j.Result == nil || j.Result.Failure == nil {
		return "it has " + string(j.State)
	}
	f := j.Result.Failure
	text := fmt.Sprintf("it ended as %s: %s", j.State, f.Message)
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

// briefly is a duration for people: its two largest units.
func briefly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return Duration(d.Round(time.Second)).String()
	default:
		return Duration(d.Round(time.Minute)).String()
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
