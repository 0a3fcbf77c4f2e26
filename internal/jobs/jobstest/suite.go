package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// DB is a database under test. Each subtest sets up its own, empty one.
type DB struct {
	Records jobs.Records
	Claims  jobs.Claims
	// Hosts is what TestHosts is about; the others do without.
	Hosts jobs.Hosts
	// Orders is what TestOrders is about.
	Orders jobs.Orders
	// Seats is what TestSeats is about.
	Seats jobs.Seats
	// Endings is what TestEndings is about.
	Endings jobs.Endings
	// Recipes is what TestRecipes is about.
	Recipes jobs.Recipes
	// Rebuilds is what TestRebuilds is about.
	Rebuilds jobs.Rebuilds
	// Bases and Digests are what TestBases is about.
	Bases   jobs.Bases
	Digests jobs.Digests
	// Builds is what TestBuilds is about.
	Builds jobs.Builds
	// Webhooks, Calls and DueCalls are what TestWebhooks is about.
	Webhooks jobs.Webhooks
	Calls    jobs.HookCalls
	DueCalls jobs.DueCalls
	// Advance moves Redis time forward. It is nil when the clock cannot
	// be moved, as with a real Redis: then the suites use leases and delays of
	// some hundred milliseconds and wait for them to pass.
	Advance func(d time.Duration)
	// Reconcile makes one pass of the farm's reconciler, which gives the jobs
	// of dead owners a new attempt and expires queue timeouts. Its subtests are
	// left out when it is nil.
	Reconcile func(ctx context.Context) error
}

// patience bounds every wait for something that has to happen.
const patience = 20 * time.Second

// farm is a database in one subtest, with what most of them do.
type farm struct {
	DB
	t     *testing.T
	ctx   context.Context
	newID func() string
}

type subtest struct {
	name string
	test func(f *farm)
}

func runSuite(t *testing.T, setup func(t *testing.T) DB, tests []subtest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			tt.test(&farm{DB: setup(t), t: t, ctx: ctx, newID: NewIDs()})
		})
	}
}

// spec is a small document that Validate accepts.
func spec(name string) jobs.Spec {
	return jobs.Spec{
		Name: name, Labels: map[string]string{"team": "blue"}, Priority: jobs.PriorityHigh,
		Run: &jobs.Run{Image: "busybox:1", Command: []string{"echo", "<&> \u00e4"}},
	}.Normalize()
}

// create makes one job after the other and returns their IDs.
func (f *farm) create(specs ...jobs.Spec) []string {
	f.t.Helper()
	ids := make([]string, len(specs))
	for i, s := range specs {
		ids[i] = f.newID()
		made, err := f.Records.Create(f.ctx, []jobs.Job{jobs.NewJob(ids[i], s)})
		if err != nil || len(made) != 1 || !made[0] {
			f.t.Fatalf("Create(%s) = %v, %v; want it made", ids[i], made, err)
		}
	}
	return ids
}

func (f *farm) get(id string) jobs.Job {
	f.t.Helper()
	j, err := f.Records.Get(f.ctx, id)
	if err != nil {
		f.t.Fatalf("Get(%s): %v", id, err)
	}
	return j
}

// state fails the test unless the job is in the state, and returns the job.
func (f *farm) state(id string, want jobs.State) jobs.Job {
	f.t.Helper()
	j := f.get(id)
	if j.State != want {
		f.t.Fatalf("job %s is %s; want %s", id, j.State, want)
	}
	return j
}

const host = "host-a"

// owner is a new incarnation of a worker.
func (f *farm) owner(onHost string) jobs.Owner {
	return jobs.Owner{
		Worker: "worker on " + onHost, Host: onHost, Nonce: fmt.Sprintf("%032x", time.Now().UnixNano()) + f.newID(),
		Lease: time.Hour, Offer: jobs.Offer{Host: onHost, Platform: "linux/amd64", Labels: map[string]string{"disk": "ssd"}},
	}
}

// claim takes the job with its current ticket.
func (f *farm) claim(id string) jobs.Job {
	f.t.Helper()
	j, err := f.Claims.Claim(f.ctx, f.get(id).Ticket(), f.owner(host))
	if err != nil {
		f.t.Fatalf("Claim(%s): %v", id, err)
	}
	return j
}

// running is a new job that a worker on host owns.
func (f *farm) running() jobs.Job {
	f.t.Helper()
	return f.claim(f.create(spec("app"))[0])
}

func (f *farm) finish(j jobs.Job, r jobs.Result) {
	f.t.Helper()
	if err := f.Claims.Finish(f.ctx, j.ID, j.Nonce, r); err != nil {
		f.t.Fatalf("Finish(%s): %v", j.ID, err)
	}
}

func (f *farm) release(j jobs.Job, r jobs.Release) jobs.Ticket {
	f.t.Helper()
	t, err := f.Claims.Release(f.ctx, j.ID, j.Nonce, r)
	if err != nil {
		f.t.Fatalf("Release(%s): %v", j.ID, err)
	}
	return t
}

// lease is one that short can outwait.
func (f *farm) lease() time.Duration {
	if f.Advance != nil {
		return time.Minute
	}
	return 300 * time.Millisecond
}

// outwait moves the clock past a lease or delay, where it can be moved; where
// it cannot, eventually has to wait.
func (f *farm) outwait(d time.Duration) {
	if f.Advance != nil {
		f.Advance(d + 2*time.Second)
	}
}

// eventually waits until ok holds.
func (f *farm) eventually(what string, ok func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("waited %s: %s", patience, what)
		}
	}
}

// reconcileUntil makes passes of the reconciler until the job is as wanted.
func (f *farm) reconcileUntil(id, what string, ok func(jobs.Job) bool) jobs.Job {
	f.t.Helper()
	var j jobs.Job
	f.eventually(what, func() bool {
		if err := f.Reconcile(f.ctx); err != nil {
			f.t.Fatalf("reconcile: %v", err)
		}
		j = f.get(id)
		return ok(j)
	})
	return j
}

// refused fails the test unless err is one of the wanted errors.
func (f *farm) refused(what string, err error, want ...error) {
	f.t.Helper()
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	f.t.Errorf("%s: got error %v; want %v", what, err, want)
}

// same compares two values as JSON, which is how documents are kept.
func (f *farm) same(what string, got, want any) {
	f.t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	if string(g) != string(w) {
		f.t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// near fails the test unless got is d after base, give or take two seconds.
func (f *farm) near(what string, got, base time.Time, d time.Duration) {
	f.t.Helper()
	if off := got.Sub(base.Add(d)).Abs(); off > 2*time.Second {
		f.t.Errorf("%s: got %s; want about %s after %s", what, got, d, base)
	}
}

// events returns the types of everything that happened to the job.
func (f *farm) events(id string) []jobs.EventType {
	f.t.Helper()
	news, err := f.Records.Follow(f.ctx, id, jobs.Cursor{}, 0)
	if err != nil {
		f.t.Fatalf("Follow(%s): %v", id, err)
	}
	types := make([]jobs.EventType, len(news.Events))
	for i, e := range news.Events {
		types[i] = e.Type
	}
	return types
}

// done is a result of a run that ended well.
func done() jobs.Result {
	code := 0
	return jobs.Result{
		State: jobs.Succeeded, ImageID: "sha256:abc", ContainerID: "c0ffee", ExitCode: &code, Attempt: 1,
		Times:   []jobs.StageTime{{Stage: jobs.StageRun, Millis: 12}},
		Outputs: []jobs.Output{{Path: "/out", Digest: "sha256:def", Size: 7}},
	}
}

// broken is a result of a run that did not.
func broken() jobs.Result {
	f := jobs.Fail(jobs.KindExitNonzero, nil, "look at the log", "the container ended with exit code 7")
	f.Stage, f.Tail = jobs.StageRun, []string{"boom <&>", ""}
	code := 7
	return jobs.Result{State: jobs.Failed, Failure: f, ExitCode: &code}
}
