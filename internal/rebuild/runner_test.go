package rebuild_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/rebuild/rebuildtest"
)

// works is a farm that carries a rebuild out: its jobs run when the test says so.
type works struct {
	t      *testing.T
	memory *jobstest.Memory
	svc    *jobs.Service
	runner *rebuild.Runner
	head   jobs.Rebuild
	// registry is the one that images are pushed to, nil when they stay on their hosts.
	registry *rebuildtest.Registry
	audit    *audit
}

// audit sees each change of a rebuild, and notes images that are begun before those that they
// stand on are done.
type audit struct {
	*jobstest.Memory
	mu    sync.Mutex
	state map[string]jobs.ImageState
	begun int
	early []string
}

func (a *audit) ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept, err := a.Memory.ChangeRebuild(ctx, seen, next, images...)
	if !kept {
		return kept, err
	}
	for _, img := range images {
		a.state[img.Name] = img.State
		if img.State != jobs.ImageBuilding || img.Spec == nil {
			continue
		}
		a.begun++
		for _, name := range img.After {
			if !a.state[name].Good() {
				a.early = append(a.early, img.Name+" before "+name)
			}
		}
	}
	return kept, err
}

// newWorks has the rebuild of what a question is about begun.
func newWorks(t *testing.T, recipes []jobs.Recipe, q rebuild.Question, change func(*rebuild.Order)) *works {
	t.Helper()
	return newWorksWith(t, nil, recipes, q, change)
}

func newWorksWith(t *testing.T, registry *rebuildtest.Registry, recipes []jobs.Recipe, q rebuild.Question, change func(*rebuild.Order)) *works {
	t.Helper()
	m := jobstest.NewMemory(jobstest.Options{})
	w := &works{t: t, memory: m, svc: jobs.NewService(m, jobstest.NewQueue(), jobstest.NewIDs()), registry: registry}
	w.audit = &audit{Memory: m, state: map[string]jobs.ImageState{}}
	w.runner = rebuild.NewRunner(nil, w.audit, m, w.svc, nil)
	for _, r := range recipes {
		r.Spec = jobs.Spec{Name: r.Name, Context: &jobs.Context{Ref: "https://forge.example/" + r.Name}, Build: &jobs.Build{Tags: r.Tags, Push: registry != nil}}.Normalize()
		if _, err := m.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := rebuild.NewGraph(recipes, nil).Plan(q, now)
	if err != nil {
		t.Fatal(err)
	}
	o := rebuild.Order{ID: "r-1", By: "ann@desk", Priority: jobs.PriorityLow, MaxParallel: 100}
	if change != nil {
		change(&o)
	}
	head, images, err := plan.Begin(o, now)
	if err == nil {
		err = m.BeginRebuild(t.Context(), head, images)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.head = head
	w.advance()
	return w
}

func (w *works) advance() {
	w.t.Helper()
	if err := w.runner.Advance(w.t.Context(), w.head.ID); err != nil {
		w.t.Fatal(err)
	}
}

func (w *works) read() (jobs.Rebuild, []jobs.RebuildImage) {
	w.t.Helper()
	head, images, err := w.memory.Rebuild(context.WithoutCancel(w.t.Context()), w.head.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return head, images
}

// now is the rebuild without its images.
func (w *works) now() jobs.Rebuild {
	w.t.Helper()
	list, err := w.memory.Rebuilds(context.WithoutCancel(w.t.Context()))
	i := slices.IndexFunc(list, func(r jobs.Rebuild) bool { return r.ID == w.head.ID })
	if err != nil || i < 0 {
		w.t.Fatalf("Rebuilds = %+v, %v; want %s among them", list, err, w.head.ID)
	}
	return list[i]
}

// want is what there should be: "state: name state ...".
func (w *works) want(what string, want ...string) {
	w.t.Helper()
	head, images := w.read()
	got := []string{string(head.State)}
	for _, img := range images {
		line := img.Name + " " + string(img.State)
		if img.Why != "" {
			line += ": " + img.Why
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// finish ends the job of an image, "" for well.
func (w *works) finish(name, failure string) {
	w.t.Helper()
	_, images := w.read()
	i := slices.IndexFunc(images, func(img jobs.RebuildImage) bool { return img.Name == name })
	if i < 0 || images[i].State != jobs.ImageBuilding || images[i].Job == "" {
		w.t.Fatalf("%s is not building", name)
	}
	w.endJob(images[i].Job, failure)
}

// endJob has a worker take a job and end it.
func (w *works) endJob(id, failure string) {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context())
	job, err := w.memory.Get(ctx, id)
	if err == nil {
		job, err = w.memory.Claim(ctx, job.Ticket(), jobs.Owner{Worker: "one", Host: "one", Nonce: "n-" + id, Lease: time.Hour})
	}
	res := jobs.Result{State: jobs.Succeeded, Attempt: job.Attempt, Host: "one", ImageID: "sha256:" + id}
	if failure != "" {
		res.State, res.Failure = jobs.Failed, jobs.Fail(jobs.KindBuildFailed, nil, "", "%s", failure)
	} else if w.registry != nil {
		recipe, _ := w.memory.Recipe(ctx, job.Spec.Name) // it may be removed
		w.registry.Build(job, recipe, &res)
	}
	if err == nil {
		err = w.memory.Finish(ctx, id, "n-"+id, res)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// set changes the state of the rebuild, as the command line does.
func (w *works) set(change func(*jobs.Rebuild)) {
	w.t.Helper()
	head, _ := w.read()
	next := head
	change(&next)
	if ok, err := w.memory.ChangeRebuild(w.t.Context(), head, next); err != nil || !ok {
		w.t.Fatalf("ChangeRebuild = %t, %v", ok, err)
	}
	w.advance()
}

var debian = rebuild.Question{Bases: []string{"debian:12"}}

func TestRebuildInOrder(t *testing.T) {
	t.Parallel()
	w := newWorks(t, farm(), debian, nil)
	w.want("the first wave", "running", "base building", "left waiting", "right waiting", "app waiting")
	_, images := w.read()
	job, err := w.svc.Get(t.Context(), images[0].Job)
	if s := job.Spec; err != nil || s.Cause == nil || s.Cause.Rebuild != "r-1" || s.Priority != jobs.PriorityLow || !s.Build.Pull || s.Context.Digest != "sha256:"+strings.Repeat("c", 64) {
		t.Errorf("the job is %+v, %v; want one with its cause, that looks for newer bases", s, err)
	}
	w.advance()
	w.finish("base", "")
	w.advance()
	w.want("the second wave", "running", "base done", "left building", "right building", "app waiting")
	w.finish("right", "")
	w.advance()
	w.finish("left", "")
	w.advance()
	w.finish("app", "")
	w.advance()
	w.want("the end", "done", "base done", "left done", "right done", "app done")
	head, images := w.read()
	if head.Ended.IsZero() || images[0].Is == "" || images[0].Spec != nil {
		t.Errorf("%+v, %+v; want when it ended, and the new image", head, images[0])
	}
}

func TestRebuildThatFails(t *testing.T) {
	t.Parallel()
	w := newWorks(t, farm(), debian, nil)
	w.finish("base", "")
	w.advance()
	w.finish("left", "make: *** [all] Error 2")
	w.advance()
	w.want("one failed", "running", "base done", "left failed: build_failed: make: *** [all] Error 2", "right building", "app blocked: it stands on left, which is failed")
	w.finish("right", "")
	w.advance()
	w.want("the end", "failed", "base done", "left failed: build_failed: make: *** [all] Error 2", "right done", "app blocked: it stands on left, which is failed")

	another, _, err := w.memory.Rebuild(t.Context(), "r-1")
	if err != nil {
		t.Fatal(err)
	}
	another.ID, another.State = "r-2", jobs.RebuildRunning
	if err := w.memory.BeginRebuild(t.Context(), another, []jobs.RebuildImage{{Name: "app", State: jobs.ImageWaiting}}); err != nil {
		t.Fatal(err)
	}
	var busy *rebuild.BusyError
	if _, err := w.runner.Retry(t.Context(), "r-1"); !errors.As(err, &busy) || busy.Rebuild.ID != "r-2" || busy.Image != "app" {
		t.Fatalf("Retry = %v, want that r-2 builds app", err)
	}
	if err := w.memory.ForgetRebuild(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	if ok, err := w.runner.Retry(t.Context(), "r-1"); err != nil || !ok {
		t.Fatalf("Retry = %t, %v", ok, err)
	}
	w.advance()
	w.want("once more", "running", "base done", "left building", "right done", "app waiting")
	w.finish("left", "")
	w.advance()
	w.finish("app", "")
	w.advance()
	w.want("the end", "done", "base done", "left done", "right done", "app done")
	if ok, err := w.runner.Retry(t.Context(), "r-1"); err != nil || ok {
		t.Errorf("Retry of what is done = %t, %v; want nothing to do", ok, err)
	}
}

func TestRebuildStops(t *testing.T) {
	t.Parallel()
	t.Run("at the first failure", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, farm(), rebuild.Question{All: true}, func(o *rebuild.Order) { o.FailFast, o.MaxParallel = true, 1 })
		w.finish("base", "no")
		w.advance()
		head, images := w.read()
		if head.State != jobs.RebuildFailed || slices.ContainsFunc(images, func(img jobs.RebuildImage) bool { return img.Try > 0 && img.Name != "base" }) {
			t.Errorf("%+v, %+v; want nothing begun after the failure", head, images)
		}
	})
	t.Run("paused", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, farm(), debian, nil)
		w.set(func(r *jobs.Rebuild) { r.State = jobs.RebuildPaused })
		w.finish("base", "")
		w.advance()
		w.want("paused", "paused", "base done", "left waiting", "right waiting", "app waiting")
		w.set(func(r *jobs.Rebuild) { r.State = jobs.RebuildRunning })
		w.want("resumed", "running", "base done", "left building", "right building", "app waiting")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, farm(), debian, nil)
		w.finish("base", "")
		w.advance()
		w.finish("left", "")
		w.set(func(r *jobs.Rebuild) { r.State, r.CancelledBy = jobs.RebuildCancelling, "bob" })
		const why = "skipped: the rebuild was cancelled"
		w.want("cancelled", "cancelled", "base done", "left done", "right "+why, "app "+why)
	})
	t.Run("a record that cannot be read", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, farm(), rebuild.Question{Names: []string{"scratch"}}, nil)
		if err := rebuild.NewRunner(nil, w.memory, w.memory, unreadable{w.svc}, nil).AdvanceAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.want("the end", "failed", "scratch failed: the record of its job cannot be read")
	})
	t.Run("a job of it is cancelled", func(t *testing.T) {
		t.Parallel()
		w := newWorks(t, farm(), rebuild.Question{Names: []string{"scratch"}}, nil)
		_, images := w.read()
		if _, err := w.svc.Cancel(t.Context(), images[0].Job, "bob"); err != nil {
			t.Fatal(err)
		}
		w.advance()
		w.want("cancelled", "failed", "scratch failed: its job was cancelled by bob")
	})
}

// unreadable is a farm whose results cannot be read.
type unreadable struct{ *jobs.Service }

func (u unreadable) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	all, err := u.Service.GetAll(ctx, ids)
	for i := range all {
		all[i].State, all[i].Damaged = jobs.Succeeded, "its result is no JSON"
	}
	return all, err
}

// What has become of a recipe since the plan counts when its turn comes.
func TestRebuildOfTheNewestRecipe(t *testing.T) {
	t.Parallel()
	w := newWorks(t, farm(), debian, nil)
	ctx := t.Context()
	newer := recipe("left", "base")
	newer.Job, newer.Made = "newer", now
	newer.Spec = jobs.Spec{Name: "left", Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("b", 64)}, Build: &jobs.Build{}, Run: &jobs.Run{}}.Normalize()
	if _, err := w.memory.Learn(ctx, newer); err != nil {
		t.Fatal(err)
	}
	if err := w.memory.RemoveRecipe(ctx, "right"); err != nil {
		t.Fatal(err)
	}
	w.finish("base", "")
	w.advance()
	w.want("the second wave", "running", "base done", "left building", "right skipped: its recipe was removed", "app blocked: it stands on right, which is skipped")
	_, images := w.read()
	job, err := w.svc.Get(ctx, images[1].Job)
	if err != nil || job.Spec.Context.Ref != newer.Spec.Context.Ref || job.Spec.Run != nil {
		t.Errorf("the job is %+v, %v; want the newest context, and no run", job.Spec, err)
	}
}

// dice are random numbers for several goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(seed, stream uint64) *dice { return &dice{r: rand.New(rand.NewPCG(seed, stream))} }

func (d *dice) IntN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) Uint64() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Uint64()
}

// shaky is a farm whose calls fail at random, before or after they took effect.
type shaky struct {
	*audit
	svc *jobs.Service
	r   *dice
	// between is what others do between a look at the rebuild and a change of it, before
	// one in so many changes.
	between func()
	calm    int
}

var errShaky = errors.New("connection reset")

func around[T any](s *shaky, call func() (T, error)) (T, error) {
	var none T
	switch s.r.IntN(12) {
	case 0:
		return none, errShaky
	case 1:
		if _, err := call(); err != nil {
			return none, err
		}
		return none, errShaky
	}
	return call()
}

func (s *shaky) SubmitBatch(ctx context.Context, specs []jobs.Spec) ([]jobs.Submitted, error) {
	if len(specs) > 1 && s.r.IntN(4) == 0 { // only some of them
		_, _ = s.svc.SubmitBatch(ctx, specs[:1])
		return nil, errShaky
	}
	return around(s, func() ([]jobs.Submitted, error) { return s.svc.SubmitBatch(ctx, specs) })
}

func (s *shaky) Get(ctx context.Context, id string) (jobs.Job, error) {
	return around(s, func() (jobs.Job, error) { return s.svc.Get(ctx, id) })
}

func (s *shaky) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	return around(s, func() ([]jobs.Job, error) { return s.svc.GetAll(ctx, ids) })
}

func (s *shaky) Cancel(ctx context.Context, id, by string) (jobs.Job, error) {
	return around(s, func() (jobs.Job, error) { return s.svc.Cancel(ctx, id, by) })
}

// ChangeRebuild lets others at the rebuild first, now and then.
func (s *shaky) ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error) {
	if s.between != nil && s.r.IntN(s.calm) == 0 {
		s.between()
	}
	return around(s, func() (bool, error) { return s.audit.ChangeRebuild(ctx, seen, next, images...) })
}

// By hand: go test ./internal/rebuild -run OfRandomGraphs -v -timeout 1h -graphs 1 -images 5000
var (
	graphs      = flag.Int("graphs", 24, "how many random graphs are rebuilt")
	graphImages = flag.Int("images", 0, "how many images a random graph has; 0: up to 60, at random")
)

// graphSize is how many images a random graph has.
func graphSize(r *dice, most int) int {
	if *graphImages > 0 {
		return *graphImages
	}
	return most - r.IntN(most)
}

// parallel is how many jobs a rebuild of a random graph has at once at most.
func parallel(r *dice, images int) int { return 1 + r.IntN(max(20, images/50)) }

// Whatever fails in between, and however many runners there are: no image is begun before
// those that it stands on, none is built twice, and the rebuild comes to its end.
func TestRebuildOfRandomGraphs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(*graphs) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			r := newDice(seed, 0)
			var recipes []jobs.Recipe
			for i := range graphSize(r, 60) {
				on := []string{"debian:12"}
				for range min(i, r.IntN(4)) {
					on = append(on, fmt.Sprint("image-", r.IntN(i)))
				}
				recipes = append(recipes, recipe(fmt.Sprint("image-", i), on...))
			}
			w := newWorks(t, recipes, debian, func(o *rebuild.Order) { o.MaxParallel = parallel(r, len(recipes)) })
			failing := r.IntN(3) * 5 // per cent
			carryOut(t, w, r, failing)
			judgeRebuild(t, w)
		})
	}
}

// carryOut lets shaky runners and workers at the rebuild until it has ended.
func carryOut(t *testing.T, w *works, r *dice, failing int) {
	t.Helper()
	runners, promoters, atOnce := []*rebuild.Runner{}, []*rebuild.Promoter{}, 1+3*r.IntN(2)
	var woken []string // images that have tags to move
	others := &shaky{audit: w.audit, svc: w.svc, r: newDice(r.Uint64(), 0)}
	_, all := w.read()
	for i := range 3 {
		s := &shaky{audit: w.audit, svc: w.svc, r: newDice(r.Uint64(), uint64(i)), calm: max(3, len(all)/100)}
		s.between = func() { w.meddle(r, rebuild.NewRunner(nil, others, w.memory, others, nil)) }
		runner := rebuild.NewRunner(nil, s, w.memory, s, func(_ string, names []string) { woken = names })
		runners = append(runners, runner)
		if w.registry != nil {
			promoters = append(promoters, rebuild.NewPromoter(nil, s, w.memory, s, w.registry, rebuild.PromoterOptions{Nonce: "one", Settle: 1, AtOnce: atOnce})) // the turn is not to be relied on
		}
	}
	news := true // since a runner has looked
	for range 20_000 + 100*len(all) {
		head := w.now()
		if head.State.Terminal() {
			return
		}
		if head.State == jobs.RebuildPaused && r.IntN(3) == 0 {
			w.become(jobs.RebuildRunning)
			news = true
		}
		if news || r.IntN(8) == 0 {
			err := runners[r.IntN(len(runners))].Advance(t.Context(), w.head.ID)
			if err != nil && !errors.Is(err, errShaky) {
				t.Fatal(err)
			}
			news = err != nil
		}
		if len(promoters) > 0 && len(woken) > 0 {
			changed, err := promoters[r.IntN(len(promoters))].Promote(t.Context(), w.head.ID, woken...)
			if err != nil && !errors.Is(err, errShaky) {
				t.Fatal(err)
			}
			news, woken = news || changed || err != nil, nil
		}
		queued, _, err := w.memory.Scan(t.Context(), jobs.Queued, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(queued) > w.head.MaxParallel {
			t.Fatalf("there are %d jobs at once, want at most %d", len(queued), w.head.MaxParallel)
		}
		for n := r.IntN(len(queued) + 1); n > 0; n-- {
			i := r.IntN(len(queued))
			job := queued[i]
			queued, news = slices.Delete(queued, i, i+1), true
			failure := ""
			if r.IntN(100) < failing {
				failure = "no luck"
			}
			w.endJob(job.ID, failure)
		}
	}
	t.Fatal("the rebuild does not come to its end")
}

// meddle is what another runner, or an operator, may do at any moment.
func (w *works) meddle(r *dice, other *rebuild.Runner) {
	w.t.Helper()
	var err error
	switch r.IntN(4) {
	case 0:
		w.become(jobs.RebuildPaused)
	case 1:
		_, err = other.Retry(w.t.Context(), w.head.ID) // nothing to do: it has not ended
	default:
		err = other.Advance(w.t.Context(), w.head.ID)
	}
	if err != nil && !errors.Is(err, errShaky) {
		w.t.Error(err)
	}
}

// become is a pause, the end of one, or a cancel, as the command line does it.
func (w *works) become(state jobs.RebuildState) {
	w.t.Helper()
	head := w.now()
	next := head
	next.State = state
	if head.State != jobs.RebuildRunning && head.State != jobs.RebuildPaused {
		return
	}
	if _, err := w.memory.ChangeRebuild(w.t.Context(), head, next); err != nil {
		w.t.Error(err)
	}
}

// judgeRebuild holds a rebuild that has ended against the records of its jobs.
func judgeRebuild(t *testing.T, w *works) {
	t.Helper()
	head, images := w.read()
	state, twice := map[string]jobs.State{}, 0
	for q := (jobs.Query{Limit: 200}); ; {
		page, err := w.svc.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range page.Jobs {
			if state[job.Spec.Name] != "" {
				twice++
				t.Errorf("%s was built twice", job.Spec.Name)
			}
			state[job.Spec.Name] = job.State
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			break
		}
	}
	if len(w.audit.early) > 0 {
		t.Errorf("begun too early: %q", w.audit.early)
	}
	at, canaryFailed, edges := map[string]jobs.ImageState{}, false, 0
	for _, img := range images {
		at[img.Name], edges = img.State, edges+len(img.After)
		canaryFailed = canaryFailed || img.Canary && !img.State.Good()
	}
	skipped, count := 0, map[jobs.ImageState]int{}
	for _, img := range images {
		count[img.State]++
		blocked := slices.ContainsFunc(img.After, func(name string) bool { return !at[name].Good() })
		switch job := state[img.Name]; {
		case job == jobs.Succeeded && img.State == jobs.ImageDone, job == jobs.Failed && img.State == jobs.ImageFailed:
		case head.Why != "" && job != jobs.Failed && (img.State == jobs.ImageRolledBack || img.State == jobs.ImageSkipped): // all or nothing
		case job == "" && blocked && img.State == jobs.ImageBlocked, job == "" && canaryFailed && img.State == jobs.ImageSkipped:
		default:
			skipped++
			t.Errorf("%s is %s, its job %q, what it stands on is done: %t", img.Name, img.State, job, !blocked)
		}
	}
	t.Logf("images: %d on %d others, %d at once; jobs: %d, states: %v; early starts: %d, built twice: %d, skipped that should have run: %d",
		len(images), edges, w.head.MaxParallel, len(state), count, len(w.audit.early), twice, skipped)
}
