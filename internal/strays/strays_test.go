package strays

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// records are a farm's: some jobs, and hosts of which some answer.
type records struct {
	jobs  map[string]jobs.Job
	seats map[string]jobs.Seat
	// answers are the hosts that keep their seat when they are called.
	answers map[string]bool
	calls   int
	err     error
}

func (r *records) Get(_ context.Context, id string) (jobs.Job, error) {
	if job, ok := r.jobs[id]; ok {
		return job, r.err
	}
	return jobs.Job{}, errors.Join(r.err, jobs.ErrNotFound)
}

func (r *records) Seat(_ context.Context, host string) (jobs.Seat, time.Time, error) {
	if s, ok := r.seats[host]; ok {
		return s, time.Now(), nil
	}
	return jobs.Seat{Host: host}, time.Now(), nil
}

func (r *records) CallHost(_ context.Context, host string) error {
	r.calls++
	if r.answers[host] {
		s := r.seats[host]
		s.Host, s.Nonce, s.Seen = host, "n", time.Now()
		r.seats[host] = s
	}
	return nil
}

// on is a container that an attempt of a host made.
func on(host, id, attempt string) engine.Listed {
	return engine.Listed{ID: "id-of-" + id, Name: "slipway-" + id + "-a" + attempt, Labels: map[string]string{
		engine.LabelHost: host, engine.LabelJob: id, engine.LabelAttempt: attempt,
	}}
}

// setup is a farm with two living hosts, us and them, and others that are not.
func setup() *records {
	now := time.Now()
	seat := func(host string, seen, lease time.Duration) jobs.Seat {
		return jobs.Seat{Host: host, Nonce: "n", Turn: 1, Lease: lease, Seen: now.Add(-seen)}
	}
	left := seat("left", time.Hour, 90*time.Second)
	left.Left = left.Seen
	r := &records{
		jobs: map[string]jobs.Job{}, answers: map[string]bool{"them": true, "quick": true, "unseated": true},
		seats: map[string]jobs.Seat{
			"them": seat("them", time.Minute, 90*time.Second), "dead": seat("dead", time.Hour, 90*time.Second),
			"quick": seat("quick", 10*time.Second, 6*time.Second), "died": seat("died", 10*time.Second, 6*time.Second), "left": left,
		},
	}
	running := func(id, host string, attempt int, lease time.Duration) {
		r.jobs[id] = jobs.Job{ID: id, State: jobs.Running, Host: host, Attempt: attempt, Lease: now.Add(lease)}
	}
	kept := func(id, host string, until time.Duration, cancel string) {
		r.jobs[id] = jobs.Job{ID: id, State: jobs.Succeeded, Host: host, Attempt: 1, CancelBy: cancel, Spec: jobs.Spec{Run: &jobs.Run{}}, Result: &jobs.Result{
			State: jobs.Succeeded, Host: host, Attempt: 1, ContainerID: "id-of-" + id, KeepUntil: now.Add(until), Service: &jobs.ServiceStatus{State: jobs.ServiceUp},
		}}
	}
	running("ours", "us", 1, time.Minute)
	running("theirs", "them", 1, time.Minute)
	running("due", "them", 1, 14*time.Second)
	running("orphan", "dead", 1, time.Minute)
	running("orphan-due", "dead", 1, 14*time.Second)
	running("hasty", "quick", 1, 1700*time.Millisecond)
	running("hasty-orphan", "died", 1, 1700*time.Millisecond)
	running("hasty-early", "died", 1, 1900*time.Millisecond)
	running("nowhere", "unknown", 1, time.Second)
	running("nowhere-due", "unknown", 1, -time.Second)
	running("elsewhere", "them", 3, time.Minute)
	r.jobs["queued"] = jobs.Job{ID: "queued", State: jobs.Queued, Attempt: 2}
	r.jobs["requeued"] = jobs.Job{ID: "requeued", State: jobs.Queued, Attempt: 1}
	r.jobs["newer"] = jobs.Job{ID: "newer", State: jobs.Queued, Attempt: 2, Newer: true}
	r.jobs["ended"] = jobs.Job{ID: "ended", State: jobs.Failed, Attempt: 1, Finished: now.Add(-2 * time.Minute)}
	r.jobs["just-ended"] = jobs.Job{ID: "just-ended", State: jobs.Failed, Attempt: 1, Finished: now.Add(-time.Second)}
	kept("our-service", "us", -time.Hour, "")
	kept("their-service", "them", time.Hour, "")
	kept("quick-service", "quick", time.Hour, "")
	kept("unseated-service", "unseated", time.Hour, "")
	kept("dead-service", "dead", time.Hour, "")
	kept("copied-service", "them", -2*time.Minute, "")
	kept("over-service", "them", -30*time.Second, "")
	kept("left-service", "left", time.Hour, "")
	kept("left-cancelled", "left", time.Hour, "ann")
	kept("left-over", "left", -time.Second, "")
	return r
}

func TestContainer(t *testing.T) {
	t.Parallel()
	other := on("them", "their-service", "1")
	other.ID = "another"
	unnamed := on("us", "none", "1")
	unnamed.Name = "another-programs"
	for _, tt := range []struct {
		name    string
		c       engine.Listed
		why     string
		service bool
		in      time.Duration
	}{
		{"ours, at work", on("us", "ours", "1"), "", false, 0},
		{"ours, of a job that another host runs", on("us", "theirs", "1"), "running at attempt 1", false, 0},
		{"ours, of an earlier attempt", on("us", "elsewhere", "2"), "running at attempt 3", false, 0},
		{"ours, of a job that ended", on("us", "just-ended", "1"), "its job has ended", false, 0},
		{"our service, also when its time is over: the keeper ends it", on("us", "our-service", "1"), "", false, 0},
		{"no record", on("us", "none", "1"), "no record", false, 0},
		{"no record, of another host", on("them", "none", "1"), "no record", false, 0},
		{"labels without the name", unnamed, "", false, 0},
		{"labels without an attempt", on("us", "none", "x"), "", false, 0},
		{"a record of a newer version", on("them", "newer", "1"), "", false, 0},

		{"theirs, at work", on("them", "theirs", "1"), "", false, 45 * time.Second},
		{"theirs, and they do not renew it though they live", on("them", "due", "1"), "", false, jobs.AnswerTime},
		{"theirs, of an earlier attempt", on("them", "elsewhere", "2"), "running at attempt 3", false, 0},
		{"theirs, of a job that waits", on("them", "queued", "1"), "queued at attempt 2", false, 0},
		{"theirs, of an attempt that no worker has", on("them", "requeued", "1"), "queued at attempt 1", false, 0},
		{"theirs, of a job that ended a while ago", on("them", "ended", "1"), "its job has ended", false, 0},
		{"theirs, of a job that ended just now: they remove it", on("them", "just-ended", "1"), "", false, overtime - time.Second},
		{"of a dead host, whose lease holds", on("dead", "orphan", "1"), "", false, 45 * time.Second},
		{"of a dead host, whose lease passes", on("dead", "orphan-due", "1"), "its host dead is silent", false, 0},
		{"of a host with a short lease", on("quick", "hasty", "1"), "", false, 600 * time.Millisecond},
		{"of a dead host with a short lease", on("died", "hasty-orphan", "1"), "its host died is silent", false, 0},
		{"of a dead host with a short lease that holds", on("died", "hasty-early", "1"), "", false, 100 * time.Millisecond},
		{"of a host that is not known, whose lease holds", on("unknown", "nowhere", "1"), "", false, time.Second},
		{"of a host that is not known", on("unknown", "nowhere-due", "1"), "its host unknown is silent", false, 0},

		{"their service", on("them", "their-service", "1"), "", false, 30*time.Second + time.Millisecond},
		{"a container of the name of their service", other, "keeps another container", false, 0},
		{"the service of a host that is quiet for longer than its lease", on("quick", "quick-service", "1"), "", false, 6 * time.Second},
		{"the service of a host whose seat Redis lost", on("unseated", "unseated-service", "1"), "", false, 0},
		{"the service of a dead host", on("dead", "dead-service", "1"), "its host dead is silent", true, 0},
		{"a copy of their service, which they ended", on("them", "copied-service", "1"), "its time is over", true, 0},
		{"their service that is about to end", on("them", "over-service", "1"), "", false, 30*time.Second + time.Millisecond},
		{"the service of a host whose worker was stopped", on("left", "left-service", "1"), "", false, time.Hour},
		{"the same, cancelled", on("left", "left-cancelled", "1"), "it was cancelled", true, 0},
		{"the same, over", on("left", "left-over", "1"), "its time is over", true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := New(setup(), Options{Host: "us", Mine: func(id string, n int) bool { return id == "ours" && n == 1 }})
				began := time.Now()
				v, err := j.Container(t.Context(), tt.c)
				if err != nil || (v.Why == "") != (tt.why == "") || !strings.Contains(v.Why, tt.why) || (v.Service != nil) != tt.service || v.In != tt.in {
					t.Errorf("verdict %+v, %v; want %q, a service %t, another look in %s", v, err, tt.why, tt.service, tt.in)
				}
				if took := time.Since(began); took > jobs.AnswerTime {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	j := New(setup(), Options{Host: "us", Mine: func(string, int) bool { return false }})
	for id, stray := range map[string]bool{"none": true, "theirs": false, "ended": true, "ours": true, "requeued": true, "newer": false, "their-service": false} {
		if v, err := j.Image(t.Context(), jobs.ImageName("default", id, 1)); err != nil || (v.Why != "") != stray {
			t.Errorf("image of %s: %+v, %v; want a stray %t", id, v, err, stray)
		}
	}
	if v, err := j.Image(t.Context(), "app:latest"); err != nil || v.Why != "" {
		t.Errorf("a job's own tag: %+v, %v; want it left alone", v, err)
	}
}

// A store that fails says nothing about anything, and a host is called once a round.
func TestRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := setup()
		j := New(r, Options{Host: "us", Mine: func(string, int) bool { return false }})
		r.err = errors.New("away")
		if v, err := j.Container(t.Context(), on("us", "ended", "1")); err == nil || v.Why != "" {
			t.Errorf("verdict %+v, %v; want the error", v, err)
		}
		r.err = nil
		for _, id := range []string{"dead-service", "orphan-due", "dead-service"} {
			if v, err := j.Container(t.Context(), on("dead", id, "1")); err != nil || v.Why == "" {
				t.Errorf("%s: %+v, %v; want a stray", id, v, err)
			}
		}
		calls := r.calls
		if abandoned, err := j.Abandoned(t.Context(), "dead"); !abandoned || err != nil || r.calls != calls {
			t.Errorf("abandoned %t, %v after another %d calls; want it without one", abandoned, err, r.calls-calls)
		}
		for host, want := range map[string]bool{"left": true, "them": false, "quick": false, "unknown": true} {
			if abandoned, err := j.Abandoned(t.Context(), host); abandoned != want || err != nil {
				t.Errorf("%s is abandoned: %t, %v; want %t", host, abandoned, err, want)
			}
		}
	})
}
