package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// rebuilding begins a rebuild of what was built so far, now and then, until ctx ends. Its
// images stand on each other at random.
func (f *farm) rebuilding(ctx context.Context, r *rand.Rand) {
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(60+r.IntN(120)) * time.Second):
		}
		recipes, err := f.truth.AllRecipes(ctx)
		if err != nil || len(recipes) == 0 {
			continue
		}
		head := jobs.Rebuild{
			ID: fmt.Sprint("rebuild-", n), Priority: jobs.PriorityNormal, MaxParallel: 1 + r.IntN(3), State: jobs.RebuildRunning, Created: time.Now().UTC(),
		}
		var images []jobs.RebuildImage
		for i, recipe := range recipes {
			img := jobs.RebuildImage{Name: recipe.Name, Wave: i + 1, State: jobs.ImageWaiting}
			if i > 0 && r.IntN(2) == 0 {
				img.After = []string{recipes[r.IntN(i)].Name}
			}
			images = append(images, img)
		}
		_ = f.truth.BeginRebuild(ctx, head, images) // it ends with ctx only
	}
}

// runner moves rebuilds on for a process.
func (p *process) runner(records jobs.Records, queue jobs.Queue) *rebuild.Runner {
	f := p.h.farm
	svc := jobs.NewService(records, queue, func() string { return fmt.Sprintf("rebuilt-%08d", f.rebuilt.Add(1)) })
	return rebuild.NewRunner(f.log, rebuildsOf{f.truth, p.at}, recordsOf{f.truth, p, p.at}, svc)
}

// rebuildsOf is what the runner of a process works with.
type rebuildsOf struct {
	truth
	at faults.At
}

func (l rebuildsOf) Rebuild(ctx context.Context, id string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if err := l.at(ctx, faults.Call{Name: "rebuild"}); err != nil {
		return jobs.Rebuild{}, nil, err
	}
	return l.Memory.Rebuild(ctx, id)
}

func (l rebuildsOf) Rebuilds(ctx context.Context) ([]jobs.Rebuild, error) {
	if err := l.at(ctx, faults.Call{Name: "rebuilds"}); err != nil {
		return nil, err
	}
	return l.Memory.Rebuilds(ctx)
}

func (l rebuildsOf) ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "changerebuild"}); err != nil {
		return false, err
	}
	changed, err := l.Memory.ChangeRebuild(ctx, seen, next, images...)
	if err != nil {
		return false, err
	}
	return changed, l.at(ctx, faults.Call{Name: "changerebuild", After: true})
}

func (l recordsOf) Recipe(ctx context.Context, name string) (jobs.Recipe, error) {
	if err := l.at(ctx, faults.Call{Name: "recipe"}); err != nil {
		return jobs.Recipe{}, err
	}
	return l.Memory.Recipe(ctx, name)
}

// unfinished is how many rebuilds have not ended.
func (f *farm) unfinished(ctx context.Context) (n int) {
	list, _ := f.truth.Rebuilds(ctx)
	for _, r := range list {
		if !r.State.Terminal() {
			n++
		}
	}
	return n
}

// auditRebuilds checks that each rebuild has ended, and built each image once, after
// those that it stands on.
func (f *farm) auditRebuilds(t *testing.T) {
	built := map[string][]jobs.Job{} // by rebuild and name
	f.eachJob(t, func(job jobs.Job) {
		if c := job.Spec.Cause; c != nil {
			key := c.Rebuild + " " + job.Spec.Name
			built[key] = append(built[key], job)
		}
	})
	list, err := f.truth.Rebuilds(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, head := range list {
		_, images, err := f.truth.Rebuild(t.Context(), head.ID)
		if err != nil {
			t.Error(err)
			continue
		}
		if !head.State.Terminal() {
			f.oracle.Violation("I12 rebuild %s never ended, it is %s: %+v", head.ID, head.State, images)
			continue
		}
		for _, img := range images {
			if why := wrongImage(head, img, images, built); why != "" {
				f.oracle.Violation("I12 rebuild %s, %s, which is %s: %s", head.ID, img.Name, img.State, why)
			}
		}
	}
}

// wrongImage says what is wrong with an image of a rebuild that has ended, "" for nothing.
func wrongImage(head jobs.Rebuild, img jobs.RebuildImage, images []jobs.RebuildImage, built map[string][]jobs.Job) string {
	of := built[head.ID+" "+img.Name]
	switch {
	case !img.State.Terminal():
		return "it never ended"
	case len(of) != img.Try:
		return fmt.Sprintf("it has %d jobs, and was begun %d times", len(of), img.Try)
	case img.Try == 0:
		return ""
	case (img.State == jobs.ImageDone) != (of[0].State == jobs.Succeeded):
		return fmt.Sprintf("its job is %s", of[0].State)
	}
	for _, name := range img.After {
		i := slices.IndexFunc(images, func(other jobs.RebuildImage) bool { return other.Name == name })
		if on := built[head.ID+" "+name]; images[i].State != jobs.ImageDone || of[0].Queued.Before(on[0].Finished) {
			return fmt.Sprintf("it was begun before %s was done", name)
		}
	}
	return ""
}
