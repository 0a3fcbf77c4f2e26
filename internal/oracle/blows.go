package oracle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Blow is one fault, of a campaign that cannot tell which attempts it meets.
type Blow struct {
	Kind        string
	From, Until time.Time
	// Worker or Job is what it was dealt to; with neither it was all of them.
	Worker, Job string
	// Costs is true when an attempt may be lost to it, Blinds when no worker on the
	// host could end a container meanwhile.
	Costs, Blinds bool
	// Forgets is for how long after it two workers may have one job, because the
	// database went back in time: until the first asks for it.
	Forgets time.Duration
	// Fills is true when there was no room for the log of a job.
	Fills bool
}

func (b Blow) String() string {
	target := b.Worker + b.Job
	if target != "" {
		target = " (" + target + ")"
	}
	return fmt.Sprintf("%s to %s %s%s", b.From.Format("15:04:05.000"), b.Until.Format("15:04:05.000"), b.Kind, target)
}

// aftermath is how long after its end a blow may be felt.
const aftermath = 15 * time.Second

// blindFor is how long after a worker's return two containers may still run.
const blindFor = 5 * time.Second

// Deal notes a blow; the caller's end notes when it was over.
func (o *Oracle) Deal(b Blow) (end func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b.From = time.Now()
	b.Until = b.From.Add(time.Hour)
	o.blows = append(o.blows, &b)
	o.faults[b.Kind]++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		b.Until = time.Now()
	}
}

// span is a time in the life of a job: an attempt, or all of it.
type span struct {
	from, until time.Time
	workers     []string // that had the job
}

// felt are the blows that can have hit a job in a time: it, or a worker that had it.
// The caller holds the lock.
func (o *Oracle) felt(id string, s span) (felt []Blow) {
	for _, b := range o.blows {
		if b.From.After(s.until) || b.Until.Add(aftermath).Before(s.from) {
			continue
		}
		if b.Job == id || b.Job == "" && (b.Worker == "" || slices.Contains(s.workers, b.Worker)) {
			felt = append(felt, *b)
		}
	}
	return felt
}

func costly(all []Blow) []Blow {
	return slices.DeleteFunc(slices.Clone(all), func(b Blow) bool { return !b.Costs })
}

// whole is the life of a job.
func (a *account) whole(job jobs.Job, events []jobs.Event) span {
	s := span{from: a.submitted, until: job.Finished}
	if s.until.IsZero() {
		s.until = time.Now()
	}
	for _, e := range events {
		s.workers = append(s.workers, takers(e)...)
	}
	return s
}

// attempts are the parts of the life of a job that begin with the end of the attempt
// before.
func (a *account) attempts(job jobs.Job, events []jobs.Event) []span {
	whole := a.whole(job, events)
	all := []span{{from: whole.from}}
	for _, e := range events {
		s := &all[len(all)-1]
		s.workers = append(s.workers, takers(e)...)
		switch e.Type {
		case jobs.EventLost, jobs.EventRetry, jobs.EventReturned:
			s.until = e.At
			all = append(all, span{from: e.At})
		}
	}
	all[len(all)-1].until = whole.until
	return all
}

// takers names the worker that an event gives the job to, among other words.
func takers(e jobs.Event) []string {
	if e.Type == jobs.EventClaimed || e.Type == jobs.EventAdopted {
		return strings.Fields(e.Text)
	}
	return nil
}

// Life is a container's, by the account of its daemon.
type Life struct {
	ID, Host, Job, Attempt string
	Started, Died          time.Time
	Code                   string
}

// Overlap is a time in which a job had two containers.
type Overlap struct {
	First, Second Life
	Until         time.Time
}

func (o Overlap) String() string {
	return fmt.Sprintf("attempt %s on %s and attempt %s on %s ran at once for %s", o.First.Attempt, o.First.Host,
		o.Second.Attempt, o.Second.Host, o.Until.Sub(o.Second.Started).Round(time.Millisecond))
}

// Overlaps lists them; the lives are in the order of their starts, and one that still
// runs has no end yet.
func Overlaps(lives []Life) (all []Overlap) {
	for i, a := range lives {
		for _, b := range lives[i+1:] {
			until := time.Now()
			for _, end := range []time.Time{a.Died, b.Died} {
				if !end.IsZero() && end.Before(until) {
					until = end
				}
			}
			if until.After(b.Started) {
				all = append(all, Overlap{a, b, until})
			}
		}
	}
	return all
}

// blinded reports whether two containers could run at once because no worker on a
// host was there to see to it, or the database did not know of the first. The caller
// holds the lock.
func (o *Oracle) blinded(over Overlap) bool {
	return slices.ContainsFunc(o.blows, func(b *Blow) bool {
		if !b.From.Before(over.Second.Started) {
			return false
		}
		return b.Blinds && over.First.Host != over.Second.Host && over.Until.Before(b.Until.Add(blindFor)) ||
			b.Forgets > 0 && over.Until.Before(b.Until.Add(b.Forgets))
	})
}
