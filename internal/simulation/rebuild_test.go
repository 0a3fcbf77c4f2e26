package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
		if r.IntN(3) == 0 {
			f.rollRebuildBack(ctx)
		}
		recipes, err := f.truth.AllRecipes(ctx)
		if err != nil || len(recipes) == 0 {
			continue
		}
		head := jobs.Rebuild{
			ID: fmt.Sprint("rebuild-", n), Priority: jobs.PriorityNormal, MaxParallel: 1 + r.IntN(3), AllOrNothing: r.IntN(3) == 0, State: jobs.RebuildRunning, Created: time.Now().UTC(),
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

// rollRebuildBack has the tags of a rebuild that has ended moved back, if there is one.
func (f *farm) rollRebuildBack(ctx context.Context) {
	list, _ := f.truth.Rebuilds(ctx)
	for _, head := range list {
		if began, _ := rebuild.NewRunner(f.log, f.truth, f.truth, nil, nil).Rollback(ctx, head.ID); began { // else it has moved none, or another builds its images
			return
		}
	}
}

// rebuilds are what moves rebuilds, and tags, on for a process.
func (p *process) rebuilds(records jobs.Records, queue jobs.Queue) (*rebuild.Runner, *rebuild.Promoter) {
	f := p.h.farm
	svc := jobs.NewService(records, queue, func() string { return fmt.Sprintf("rebuilt-%08d", f.rebuilt.Add(1)) })
	kept, recipes := rebuildsOf{f.truth, p.at}, recordsOf{f.truth, p, p.at}
	promoter := rebuild.NewPromoter(f.log, kept, recipes, svc, faults.Tags(f.images, p.at), rebuild.PromoterOptions{Nonce: fmt.Sprint(p.h.name, " ", p.number)})
	return rebuild.NewRunner(f.log, kept, recipes, svc, promoter.Wake), promoter
}

// rebuildsOf is what the runner of a process works with.
type rebuildsOf struct {
	truth
	at faults.At
}

func (l rebuildsOf) Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if err := l.at(ctx, faults.Call{Name: "rebuild"}); err != nil {
		return jobs.Rebuild{}, nil, err
	}
	return l.Memory.Rebuild(ctx, id, names...)
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

func (l recordsOf) ReplaceRecipe(ctx context.Context, job string, r jobs.Recipe) error {
	if err := l.at(ctx, faults.Call{Name: "replacerecipe"}); err != nil {
		return err
	}
	if err := l.Memory.ReplaceRecipe(ctx, job, r); err != nil {
		return err
	}
	return l.at(ctx, faults.Call{Name: "replacerecipe", After: true})
}

func (l rebuildsOf) PromoteTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "promoteturn"}); err != nil {
		return false, err
	}
	return l.Memory.PromoteTurn(ctx, nonce, ttl)
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
		if why := halfDone(head, images); why != "" {
			f.oracle.Violation("I12 rebuild %s, which is %s: %s", head.ID, head.State, why)
		}
		for _, img := range images {
			if why := wrongImage(head, img, images, built); why != "" {
				f.oracle.Violation("I12 rebuild %s, %s, which is %s: %s", head.ID, img.Name, img.State, why)
			}
		}
	}
}

// halfDone says what is wrong with a rebuild that is all or nothing, "" for nothing.
func halfDone(head jobs.Rebuild, images []jobs.RebuildImage) string {
	if !head.AllOrNothing || head.State == jobs.RebuildDone || head.State == jobs.RebuildRolledBack {
		return ""
	}
	if head.Why == "" {
		return "it was undone for no reason"
	}
	for _, img := range images {
		if img.State == jobs.ImageDone && len(img.Moves) > 0 {
			return fmt.Sprintf("the tags of %s stayed, and %s", img.Name, head.Why)
		}
	}
	return ""
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
	case head.Why != "" && img.State == jobs.ImageSkipped: // when it was undone
	case of[0].State != jobs.Succeeded && img.State != jobs.ImageFailed:
		return fmt.Sprintf("its job is %s", of[0].State)
	case of[0].State == jobs.Succeeded && img.State == jobs.ImageFailed && !taken(img.Why):
		return fmt.Sprintf("its job is %s, and it failed (%s)", of[0].State, img.Why)
	}
	for _, name := range img.After {
		i := slices.IndexFunc(images, func(other jobs.RebuildImage) bool { return other.Name == name })
		on := built[head.ID+" "+name]
		if good := images[i].State.Good() || images[i].State == jobs.ImageRolledBack; !good || of[0].Queued.Before(on[0].Finished) {
			return fmt.Sprintf("it was begun before %s was done", name)
		}
	}
	return ""
}

// taken reports whether an image failed because another has built it, or moved its tags,
// meanwhile.
func taken(why string) bool {
	return strings.Contains(why, "meanwhile") || strings.Contains(why, "another has moved it") || strings.Contains(why, "by another while")
}

// promoted are the jobs whose images have got the tags of a rebuild, and again the names
// whose images have lost them again.
func (f *farm) promoted(t *testing.T) (byJob map[string]bool, again map[string]bool) {
	byJob, again = map[string]bool{}, map[string]bool{}
	list, err := f.truth.Rebuilds(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, head := range list {
		_, images, err := f.truth.Rebuild(t.Context(), head.ID)
		if err != nil {
			t.Error(err)
		}
		for _, img := range images {
			switch {
			case img.State == jobs.ImageDone:
				byJob[img.Job] = true
			case img.State == jobs.ImageRolledBack:
				again[img.Name] = true
			}
		}
	}
	return byJob, again
}

// auditTags checks that the registry has each image of a recipe under its tags: what a
// rebuild has promoted, or what was there before.
func (f *farm) auditTags(t *testing.T) {
	recipes, err := f.truth.AllRecipes(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, r := range recipes {
		if r.Spec.Build == nil || !r.Spec.Build.Push {
			continue
		}
		for _, tag := range r.Tags {
			_, want, _ := strings.Cut(r.RepoDigests[0], "@")
			if got := f.images.At(tag); got != want {
				f.oracle.Violation("I13 the registry has %s under %s, and the recipe %s of job %s has %s", got, tag, r.Name, r.Job, want)
			}
		}
	}
}
