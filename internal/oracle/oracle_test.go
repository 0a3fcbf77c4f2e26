package oracle

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// noon is when the job of these tests was submitted.
func noon() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

func event(after time.Duration, typ jobs.EventType, text string) jobs.Event {
	return jobs.Event{At: noon().Add(after), Type: typ, Text: text}
}

// sound is a task, and evidence that all went well.
func sound() (Task, evidence) {
	t := Task{Key: "key", Does: "prints", State: jobs.Succeeded, Log: "start\nend\n", Retries: 2}
	return t, evidence{
		job:    jobs.Job{ID: "job", State: jobs.Succeeded, Attempt: 1, Finished: noon().Add(time.Minute), Result: &jobs.Result{State: jobs.Succeeded}},
		events: []jobs.Event{event(0, jobs.EventClaimed, "one on host-1"), event(time.Minute, jobs.EventFinished, "")},
		log:    t.Log,
	}
}

// lost makes the first attempt a lost one.
func (e *evidence) lost() {
	e.job.Attempt = 2
	e.events = slices.Insert(e.events, 1, event(10*time.Second, jobs.EventLost, "worker one was lost"), event(11*time.Second, jobs.EventClaimed, "two on host-2"))
}

// failed makes the job end with a kind.
func (e *evidence) failed(state jobs.State, k jobs.Kind) {
	e.job.State = state
	e.job.Result.Failure = &jobs.Failure{Kind: k}
}

// serves makes the job keep a service, which expired.
func (e *evidence) serves(t *Task) *jobs.ServiceStatus {
	t.Serves = true
	e.job.Result.KeepUntil = noon().Add(time.Hour)
	e.job.Result.Service = &jobs.ServiceStatus{State: jobs.ServiceExpired, Ended: noon().Add(time.Hour)}
	e.events = append(e.events, event(time.Hour, jobs.EventServiceEnded, ""))
	return e.job.Result.Service
}

// blow notes a blow that began and ended so long after noon.
func (o *Oracle) blow(b Blow, from, until time.Duration) {
	o.Deal(b)()
	last := o.blows[len(o.blows)-1]
	last.From, last.Until = noon().Add(from), noon().Add(until)
}

// Each invariant is planted a violation of, and has what excuses it.
func TestJudge(t *testing.T) {
	t.Parallel()
	costly := Blow{Kind: "worker killed", Worker: "one", Costs: true}
	infra := jobs.KindEngine
	for _, tt := range []struct {
		name  string
		plant func(o *Oracle, t *Task, e *evidence)
		want  string // the invariant, "" for none
	}{
		{"sound", func(*Oracle, *Task, *evidence) {}, ""},
		{"never ended", func(_ *Oracle, _ *Task, e *evidence) { e.job.State = jobs.Running }, "I1"},
		{"ended twice", func(_ *Oracle, _ *Task, e *evidence) { e.events = append(e.events, e.events[1]) }, "I2"},
		{"two containers", func(_ *Oracle, _ *Task, e *evidence) { e.lives = together() }, "I3"},
		{"two containers, blinded", func(o *Oracle, _ *Task, e *evidence) {
			e.lives = together()
			o.blow(Blow{Worker: "one", Blinds: true}, 0, time.Minute)
		}, ""},
		{"two containers, forgotten", func(o *Oracle, _ *Task, e *evidence) {
			e.lives = together()
			o.blow(Blow{Forgets: time.Minute}, 0, 0)
		}, ""},
		{"lost", func(_ *Oracle, _ *Task, e *evidence) { e.lost() }, "I6"},
		{"lost, excused", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.Excuse("job", 1, "why") }, ""},
		{"lost, another attempt excused", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.Excuse("job", 2, "why") }, "I6"},
		{"lost, blurred", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.Blur("job") }, ""},
		{"lost to a blow", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.blow(costly, time.Second, 2*time.Second) }, ""},
		{"lost before the blow", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.blow(costly, 30*time.Second, 31*time.Second) }, "I6"},
		{"lost long after the blow", func(o *Oracle, _ *Task, e *evidence) { e.lost(); o.blow(costly, -time.Hour, -time.Minute) }, "I6"},
		{"lost, a blow to another worker", func(o *Oracle, _ *Task, e *evidence) {
			e.lost()
			o.blow(Blow{Worker: "two", Costs: true}, time.Second, 2*time.Second)
		}, "I6"},
		{"lost to a blow that costs nothing", func(o *Oracle, _ *Task, e *evidence) {
			e.lost()
			o.blow(Blow{Worker: "one"}, time.Second, 2*time.Second)
		}, "I6"},
		{"own retry spent", func(_ *Oracle, _ *Task, e *evidence) { e.job.Retries = 1 }, "I6"},
		{"too few retries", func(_ *Oracle, t *Task, e *evidence) {
			t.State, t.Kind = jobs.Failed, jobs.KindExitNonzero
			e.failed(jobs.Failed, jobs.KindExitNonzero)
		}, "I6"},
		{"too many retries", func(_ *Oracle, t *Task, e *evidence) {
			t.State, t.Kind, t.Retries, e.job.Retries = jobs.Failed, jobs.KindExitNonzero, 0, 1
			e.failed(jobs.Failed, jobs.KindExitNonzero)
		}, "I6"},
		{"another outcome", func(_ *Oracle, _ *Task, e *evidence) { e.failed(jobs.Failed, jobs.KindExitNonzero) }, "I7"},
		{"not tried again", func(o *Oracle, _ *Task, e *evidence) { e.failed(jobs.Failed, infra); o.Excuse("job", 1, "why") }, "I7"},
		{"push failed", func(_ *Oracle, _ *Task, e *evidence) { e.failed(jobs.Failed, jobs.KindPush) }, "I7"},
		{"push failed, excused", func(o *Oracle, _ *Task, e *evidence) { e.failed(jobs.Failed, jobs.KindPush); o.Excuse("job", 1, "why") }, ""},
		{"poisoned", func(_ *Oracle, _ *Task, e *evidence) { e.failed(jobs.Failed, jobs.KindPoisoned) }, "I7"},
		{"poisoned by one", func(o *Oracle, _ *Task, e *evidence) {
			e.failed(jobs.Failed, jobs.KindPoisoned)
			o.Excuse("job", 1, "why")
		}, "I7"},
		{"outputs are missing", func(_ *Oracle, t *Task, _ *evidence) { t.Outputs = 1 }, "I7"},
		{"cancelled without a cancel", func(_ *Oracle, _ *Task, e *evidence) { e.job.State = jobs.Cancelled }, "I7"},
		{"cancelled", func(o *Oracle, _ *Task, e *evidence) {
			e.job.State, e.log = jobs.Cancelled, "start\n"
			o.Cancelled("job")
		}, ""},
		{"cancelled with another log", func(o *Oracle, _ *Task, e *evidence) {
			e.job.State, e.log = jobs.Cancelled, "end\n"
			o.Cancelled("job")
		}, "I8"},
		{"expired", func(_ *Oracle, t *Task, e *evidence) { e.job.State, t.Expires = jobs.Expired, true }, ""},
		{"expired too soon", func(_ *Oracle, _ *Task, e *evidence) { e.job.State = jobs.Expired }, "I7"},
		{"another log", func(_ *Oracle, _ *Task, e *evidence) { e.log = "start\nstart\nend\n" }, "I8"},
		{"log missing", func(_ *Oracle, _ *Task, e *evidence) { e.job.Result.Log.Missing, e.log = true, "" }, "I8"},
		{"log missing, excused", func(o *Oracle, _ *Task, e *evidence) {
			e.job.Result.Log.Missing, e.log = true, ""
			o.Excuse("job", 1, "why")
		}, ""},
		{"log torn", func(_ *Oracle, _ *Task, e *evidence) { e.log, e.torn = "start\n", true }, "I8"},
		{"log torn by a blow", func(o *Oracle, _ *Task, e *evidence) {
			e.log, e.torn = "start\n", true
			o.blow(costly, time.Second, 2*time.Second)
		}, ""},
		{"service", func(_ *Oracle, t *Task, e *evidence) { e.serves(t) }, ""},
		{"service of none", func(_ *Oracle, t *Task, e *evidence) { e.serves(t); t.Serves = false }, "I9"},
		{"service without an end", func(_ *Oracle, t *Task, e *evidence) { e.serves(t).State = jobs.ServiceUp }, "I9"},
		{"service ended twice", func(_ *Oracle, t *Task, e *evidence) { e.serves(t); e.events = append(e.events, e.events[2]) }, "I9"},
		{"service expired too soon", func(_ *Oracle, t *Task, e *evidence) { e.serves(t).Ended = noon().Add(2 * time.Minute) }, "I9"},
		{"service that ended by itself expired", func(_ *Oracle, t *Task, e *evidence) { e.serves(t); t.Exit = 7 }, "I9"},
		{"service lost", func(_ *Oracle, t *Task, e *evidence) { e.serves(t).State = jobs.ServiceLost }, "I9"},
		{"service lost, removed", func(o *Oracle, t *Task, e *evidence) { e.serves(t).State = jobs.ServiceLost; o.Removed("job") }, ""},
		{"service cancelled without a cancel", func(_ *Oracle, t *Task, e *evidence) { e.serves(t).State = jobs.ServiceCancelled }, "I9"},
		{"log of a service cut short", func(_ *Oracle, t *Task, e *evidence) { e.serves(t); e.log = "start\n" }, "I8"},
		{"counted twice", func(o *Oracle, _ *Task, _ *evidence) {
			o.Counts = true
			o.Ended(jobs.EndedJob{ID: "job"})
			o.Ended(jobs.EndedJob{ID: "job"})
		}, "I10"},
		{"counted", func(o *Oracle, _ *Task, _ *evidence) { o.Counts = true; o.Ended(jobs.EndedJob{ID: "job"}) }, ""},
		{"not counted, nor is any", func(o *Oracle, _ *Task, _ *evidence) { o.Counts = true }, "I10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := New()
			task, e := sound()
			tt.plant(o, &task, &e)
			if !o.Acknowledged("job", task, noon(), 0) {
				t.Fatal("not acknowledged")
			}
			o.judge(e)
			wantViolation(t, o, tt.want)
		})
	}
}

// together are two containers of a job at once.
func together() []Life {
	return []Life{
		{Host: "host-1", Attempt: "1", Started: noon().Add(time.Second), Died: noon().Add(10 * time.Second)},
		{Host: "host-2", Attempt: "2", Started: noon().Add(5 * time.Second), Died: noon().Add(20 * time.Second)},
	}
}

// wantViolation fails the test unless the invariant was broken, and no other.
func wantViolation(t *testing.T, o *Oracle, invariant string) {
	t.Helper()
	all := o.Violations()
	for _, v := range all {
		if invariant == "" || !strings.Contains(v, " "+invariant+" ") {
			t.Errorf("found %s; want %q", v, invariant)
		}
	}
	if invariant != "" && len(all) == 0 {
		t.Errorf("found nothing; want %s", invariant)
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(o *Oracle)
		want string
	}{
		"the owner's":        {func(o *Oracle) { o.Accepted("job", "a") }, ""},
		"the same once more": {func(o *Oracle) { o.Accepted("job", "a"); o.Accepted("job", "a") }, ""},
		"another's":          {func(o *Oracle) { o.Accepted("job", "b") }, "I2"},
		"a second one":       {func(o *Oracle) { o.Accepted("job", "a"); o.Accepted("job", "b") }, "I2"},
		"after it was taken": {func(o *Oracle) { o.Owned("job", "", 0); o.Accepted("job", "a") }, "I2"},
		"after time went back": {func(o *Oracle) {
			back := o.Snapshot()
			o.Accepted("job", "a")
			back()
			o.Accepted("job", "a")
		}, ""},
	} {
		o := New()
		o.Owned("job", "a", 1)
		tt.do(o)
		t.Run(name, func(t *testing.T) { wantViolation(t, o, tt.want) })
	}
}

func TestAcknowledged(t *testing.T) {
	t.Parallel()
	o := New()
	start := time.Now()
	if !o.Acknowledged("job-1", Task{Key: "a"}, start, 0) || !o.Acknowledged("job-2", Task{Key: "b"}, start, 0) {
		t.Fatal("not acknowledged")
	}
	if got := o.Forgot(start); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("forgot %q; want both", got)
	}
	if o.Acknowledged("job-3", Task{Key: "a"}, start, 0) {
		t.Error("acknowledged what the database may have forgotten")
	}
	o.Acknowledged("job-3", Task{Key: "a"}, time.Now(), o.Epoch())
	if got := o.Jobs(); got["a"] != "job-3" || got["b"] != "job-2" || !o.accounts["job-3"].submitted.Equal(start) {
		t.Errorf("jobs %v; want a to be job-3, since its first submission", got)
	}
	wantViolation(t, o, "")
	o.Acknowledged("job-2", Task{Key: "c"}, start, o.Epoch())
	wantViolation(t, o, "I1")
}

func TestAudit(t *testing.T) {
	t.Parallel()
	m := jobstest.NewMemory(jobstest.Options{})
	o := New()
	o.Acknowledged("job-1", Task{Key: "a"}, time.Now(), 0)
	o.Audit(t.Context(), m, artifacts.NewBlobs(artifactstest.NewStore(), t.TempDir()), nil)
	wantViolation(t, o, "I1") // it vanished
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if left, err := Leftovers(dir); err != nil || len(left) > 0 {
		t.Errorf("of nothing: %q, %v", left, err)
	}
	for _, sub := range []string{"spool", "journal", "builds", "services", "images"} {
		if err := os.MkdirAll(filepath.Join(dir, sub, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := Leftovers(dir); err != nil || len(left) != 4 {
		t.Errorf("left %q, %v; want one of each", left, err)
	}
}
