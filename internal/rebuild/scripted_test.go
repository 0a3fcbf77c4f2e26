package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/rebuild/rebuildtest"
)

// month is a farm whose images are all auto, with a registry that does what a script says.
type month struct {
	t        *testing.T
	memory   *jobstest.Memory
	svc      *jobs.Service
	registry *rebuildtest.Registry // of the farm's images
	outside  *shelf                // of their bases
	runner   *rebuild.Runner
	// pause is how long a worker takes for a job.
	pause time.Duration

	mu    sync.Mutex // guards shelf.has and shelf.fails
	built map[string]int
}

// Published is what a base stands for.
func (m *month) Published(ctx context.Context, ref string) (string, []string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outside.Published(ctx, ref)
}

// script changes what the registry of the bases says.
func (m *month) script(change func(s *shelf)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m.outside)
}

// newMonth starts the farm: a watcher, a reconciler's share of rebuilds, a promoter and a
// worker. It lives until the test ends.
func newMonth(t *testing.T) *month {
	t.Helper()
	recipes := []jobs.Recipe{recipe("base", "debian:12"), recipe("left", "base"), recipe("right", "base"), recipe("app", "left", "right")}
	m := &month{
		t: t, memory: jobstest.NewMemory(jobstest.Options{}), registry: rebuildtest.NewRegistry(recipes), pause: time.Minute, built: map[string]int{},
		outside: &shelf{has: map[string]string{debianRef: "i1 m1 arm1"}, fails: map[string]*jobs.Failure{}},
	}
	m.svc = jobs.NewService(m.memory, jobstest.NewQueue(), jobstest.NewIDs())
	promoter := rebuild.NewPromoter(nil, m.memory, m.memory, m.svc, m.registry, rebuild.PromoterOptions{Nonce: "p-1"})
	m.runner = rebuild.NewRunner(nil, m.memory, m.memory, m.svc, promoter.Wake)
	ids := 0
	beginner := rebuild.NewBeginner(nil, m.memory, m.memory, m.memory, m.runner, func() string { ids++; return fmt.Sprint("r-", ids) }, 10*time.Minute)
	for _, r := range recipes {
		r.Made, r.RepoDigests = time.Now(), []string{imagename.Repository(r.Name) + "@old " + r.Name}
		r.Spec = jobs.Spec{Name: r.Name, Context: &jobs.Context{Ref: "https://forge.example/" + r.Name}, Build: &jobs.Build{Tags: r.Tags, Push: true}}.Normalize()
		if r.Materials[0].Ref == "debian:12" {
			r.Materials[0].Digest, r.Materials[0].PlatformDigest = "i1", "m1"
		}
		if _, err := m.memory.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := m.memory.SetRecipe(t.Context(), r.Name, func(s *jobs.RecipeSettings) error { s.Policy = jobs.RebuildAuto; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() {
		end()
		all.Wait()
	})
	all.Go(func() {
		rebuild.NewWatcher(nil, m.memory, m.memory, m, rebuild.WatcherOptions{Every: 15 * time.Minute, Begin: beginner.Begin}).Run(ctx)
	})
	all.Go(func() { promoter.Run(ctx, m.runner.Advance) })
	all.Go(func() { m.each(ctx, time.Minute, func() error { return m.runner.AdvanceAll(ctx) }) })
	all.Go(func() { m.each(ctx, 20*time.Second, func() error { return m.work(ctx) }) })
	return m
}

// each calls do again and again.
func (m *month) each(ctx context.Context, every time.Duration, do func() error) {
	for ctx.Err() == nil {
		if err := do(); err != nil && ctx.Err() == nil {
			m.t.Error(err)
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
}

// work is a worker that builds one job.
func (m *month) work(ctx context.Context) error {
	queued, _, err := m.memory.Scan(ctx, jobs.Queued, 0, 1)
	if err != nil || len(queued) == 0 {
		return err
	}
	job, err := m.memory.Claim(ctx, queued[0].Ticket(), jobs.Owner{Worker: "one", Host: "one", Nonce: "n-" + queued[0].ID, Lease: time.Hour})
	if err != nil {
		return err
	}
	res := jobs.Result{State: jobs.Succeeded, Attempt: job.Attempt, Host: "one", ImageID: "sha256:" + job.ID}
	r, err := m.memory.Recipe(ctx, job.Spec.Name)
	if err != nil {
		return err
	}
	m.registry.Build(job, r, &res)
	for i := range res.Bases { // what its registry has when the build begins
		if res.Bases[i].Ref == "debian:12" {
			digest, manifests, err := m.Published(ctx, debianRef)
			if err != nil {
				res = jobs.Result{State: jobs.Failed, Attempt: job.Attempt, Host: "one", Failure: jobs.Fail(jobs.KindBaseMissing, err, "", "image debian:12 was not found")}
				break
			}
			res.Bases[i].Digest, res.Bases[i].PlatformDigest = digest, manifests[0]
		}
	}
	select {
	case <-time.After(m.pause):
	case <-ctx.Done():
		return nil
	}
	m.mu.Lock()
	m.built[job.Spec.Name]++
	m.mu.Unlock()
	return m.memory.Finish(ctx, job.ID, "n-"+job.ID, res)
}

// after lets time pass, and checks how often the farm has rebuilt all of its images by then,
// and that its tags are those of its recipes.
func (m *month) after(d time.Duration, what string, rebuilds int) {
	m.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := map[string]int{}
	for _, name := range []string{"base", "left", "right", "app"} {
		if rebuilds > 0 {
			want[name] = rebuilds
		}
		r, err := m.memory.Recipe(context.WithoutCancel(m.t.Context()), name)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, digest, _ := strings.Cut(r.RepoDigests[0], "@"); m.registry.At(name) != digest {
			m.t.Errorf("%s: %s has %s, and its recipe %s", what, name, m.registry.At(name), digest)
		}
	}
	if diff := cmp.Diff(want, m.built); diff != "" {
		m.t.Errorf("%s: how often each image was built (-want +got):\n%s", what, diff)
	}
}

// One rebuild for each change that counts, and none for any other, whatever a registry does.
func TestScriptedRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMonth(t)
		has := func(words string) func(*shelf) { return func(s *shelf) { s.has[debianRef] = words } }
		m.after(24*time.Hour, "a quiet day", 0)

		m.script(has("i2 m1 arm2")) // arch by arch: first another one
		m.after(time.Hour, "another platform is pushed", 0)
		m.script(has("i3 m2 arm2"))
		m.after(2*time.Hour, "our platform is pushed", 1)

		m.script(has("i3 m2 arm2"))
		m.after(2*time.Hour, "the same is pushed again", 1)
		m.script(has("i4 m2 arm2 attestation"))
		m.after(2*time.Hour, "attestations come", 1)

		m.script(func(s *shelf) { delete(s.has, debianRef) })
		m.after(2*time.Hour, "the tag is gone", 1)
		m.script(has("i4 m2 arm2 attestation"))
		m.after(2*time.Hour, "the tag is back", 1)

		m.script(func(s *shelf) {
			s.fails[debianRef] = jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "429 Too Many Requests")
			s.has[debianRef] = "i5 m5 arm5"
		})
		m.after(3*time.Hour, "the registry has enough of us", 1)
		m.script(func(s *shelf) { clear(s.fails) })
		m.after(2*time.Hour, "it answers again", 2)

		m.script(func(s *shelf) {
			s.fails[debianRef] = jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "429 Too Many Requests")
			s.fails[debianRef].After = 3 * time.Hour
			s.has[debianRef] = "i5a m5a arm5a"
		})
		m.after(20*time.Minute, "the registry says when it may be asked again", 2)
		m.script(func(s *shelf) { clear(s.fails) })
		asked := m.outside.questions()
		m.after(2*time.Hour, "it is left alone", 2)
		if n := m.outside.questions(); n != asked {
			t.Errorf("it was asked %d times while it wanted to be left alone", n-asked)
		}
		m.after(2*time.Hour, "it is asked again", 3)

		m.script(has("i6 m6 arm6"))
		time.Sleep(35 * time.Minute) // it has settled, and the builds have begun
		m.script(has("i7 m7 arm7"))
		m.after(3*time.Hour, "the base moves in mid-batch", 5)

		had := m.registry.At("base")
		m.registry.Says(func(string, string) error { return errors.New("connection refused") })
		m.script(has("i8 m8 arm8"))
		time.Sleep(50 * time.Minute)
		if now := m.registry.At("base"); now != had {
			t.Errorf("the registry was away, and base has %s", now)
		}
		m.registry.Says(func(string, string) error { return nil })
		m.after(2*time.Hour, "the registry was away at the promotion", 6)
		m.after(24*time.Hour, "another quiet day", 6)
	})
}
