package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Jobs is what a rebuild needs of the farm: *jobs.Service.
type Jobs interface {
	SubmitBatch(ctx context.Context, specs []jobs.Spec) ([]jobs.Submitted, error)
	Get(ctx context.Context, id string) (jobs.Job, error)
	GetAll(ctx context.Context, ids []string) ([]jobs.Job, error)
	Cancel(ctx context.Context, id, by string) (jobs.Job, error)
}

// Recipes is what a rebuild needs of the recipes.
type Recipes interface {
	Recipe(ctx context.Context, name string) (jobs.Recipe, error)
}

// Runner moves rebuilds on. It keeps nothing: what is to be done next follows from what is
// kept of a rebuild and from the records of its jobs. So any number of runners may work on
// one rebuild, and each may be cut off at any step; the next one goes on.
type Runner struct {
	Verbs
	log      *slog.Logger
	rebuilds jobs.Rebuilds
	recipes  Recipes
	jobs     Jobs
	promote  func(id string, names []string)
}

// NewRunner makes a Runner. It calls promote, which must be quick, for each rebuild that has
// tags to move, with the names of those images; nil leaves them to other runners.
func NewRunner(lg *slog.Logger, rebuilds jobs.Rebuilds, recipes Recipes, js Jobs, promote func(id string, names []string)) *Runner {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if promote == nil {
		promote = func(string, []string) {}
	}
	return &Runner{NewVerbs(lg, rebuilds), lg, rebuilds, recipes, js, promote}
}

// keepEnded is how many rebuilds that have ended the farm remembers.
const keepEnded = 100

// AdvanceAll moves every rebuild on that has not ended, and forgets old ones.
func (r *Runner) AdvanceAll(ctx context.Context) error {
	list, err := r.rebuilds.Rebuilds(ctx)
	if err != nil {
		return err
	}
	ended := 0
	for _, b := range list { // the newest first; one that cannot be moved holds up no other
		if !b.State.Terminal() {
			err = errors.Join(err, r.Advance(ctx, b.ID))
			continue
		}
		if ended++; ended > keepEnded {
			err = errors.Join(err, r.rebuilds.ForgetRebuild(ctx, b))
		}
	}
	return err
}

// mostRounds bounds how often one call looks at a rebuild: others may move it, too.
const mostRounds = 100

// Advance does what can be done for a rebuild now: it submits the jobs of images whose turn
// it is, and takes note of those that have ended. A rebuild that is not there needs
// nothing.
func (r *Runner) Advance(ctx context.Context, id string) error {
	var s *step // nil when it has to be read: a rebuild may be large
	for range mostRounds {
		if s == nil {
			head, images, err := r.rebuilds.Rebuild(ctx, id)
			if errors.Is(err, jobs.ErrNoRebuild) {
				return nil
			} else if err != nil {
				return err
			}
			s = newStep(head, images)
		}
		if s.head.State.Terminal() {
			return nil
		}
		for _, do := range []func(context.Context, *step) error{r.learnJobs, r.readJobs, r.undo, r.spread, r.begin, r.end} {
			if err := do(ctx, s); err != nil {
				return fmt.Errorf("rebuild %s: %w", id, err)
			}
		}
		if !s.changed() {
			if names := s.underWay(); len(names) > 0 {
				r.promote(id, names)
			}
			return nil
		}
		kept, err := r.rebuilds.ChangeRebuild(ctx, s.head, s.next, s.list()...)
		switch {
		case err != nil:
			return err
		case !kept: // another runner was faster: look again
			s = nil
		default:
			r.tell(ctx, s)
			s.keep()
		}
	}
	return fmt.Errorf("rebuild %s has changed %d times while it was moved on", id, mostRounds)
}

// learnJobs submits the jobs that are not known to be. Their documents were noted before,
// and each has a key of its own, so that one that was submitted already is found.
func (r *Runner) learnJobs(ctx context.Context, s *step) error {
	var open []*jobs.RebuildImage
	var specs []jobs.Spec
	for _, img := range s.in(jobs.ImageBuilding) {
		if img.Spec != nil {
			open, specs = append(open, img), append(specs, *img.Spec)
		}
	}
	if len(open) == 0 {
		return nil
	}
	subs, err := r.jobs.SubmitBatch(ctx, specs)
	if err != nil {
		return fmt.Errorf("submit its jobs: %w", err)
	}
	for i, img := range open {
		s.set(img, func(next *jobs.RebuildImage) {
			if err := subs[i].Err; err != nil {
				next.State, next.Why = jobs.ImageFailed, fmt.Sprintf("its job was refused: %v", err)
				return
			}
			next.Spec, next.Job = nil, subs[i].ID
		})
	}
	return nil
}

const whyCancelled = "the rebuild was cancelled"

// givenUp says why no image of a rebuild comes further any more, "" when they do.
func givenUp(head jobs.Rebuild) string {
	switch {
	case head.State == jobs.RebuildCancelling:
		return whyCancelled
	case head.State == jobs.RebuildRollingBack && head.Why != "":
		return head.Why + ": all or nothing"
	}
	return ""
}

// readJobs takes note of jobs that have ended, and ends those of a rebuild that is given up.
func (r *Runner) readJobs(ctx context.Context, s *step) error {
	var ids []string
	building := slices.DeleteFunc(s.in(jobs.ImageBuilding), func(img *jobs.RebuildImage) bool { return s.read[img.Job] })
	for _, img := range building {
		ids = append(ids, img.Job)
	}
	found, err := r.jobs.GetAll(ctx, ids)
	if err != nil {
		return err
	}
	byID := map[string]jobs.Job{}
	for _, job := range found {
		byID[job.ID] = job
	}
	for _, img := range building {
		s.read[img.Job] = true
		job, there := byID[img.Job]
		if there && !job.State.Terminal() && givenUp(s.next) != "" {
			if job, err = r.jobs.Cancel(ctx, img.Job, cmp.Or(s.next.CancelledBy, "the farm")); errors.Is(err, jobs.ErrFinished) {
				job, err = r.jobs.Get(ctx, img.Job)
			}
			if there = !errors.Is(err, jobs.ErrNotFound); there && err != nil {
				return err
			}
		}
		switch {
		case !there:
			s.set(img, func(next *jobs.RebuildImage) {
				next.State, next.Why = jobs.ImageFailed, "the farm forgot its job before it saw how it ended"
			})
		case job.State.Terminal():
			s.set(img, func(next *jobs.RebuildImage) { s.settle(next, job) })
		}
	}
	return nil
}

// undo has the tags of a rebuild that is all or nothing moved back once an image of it is not
// to be done, as a rollback does; but it ends as failed, or cancelled.
func (r *Runner) undo(_ context.Context, s *step) error {
	if s.next.AllOrNothing && s.next.State != jobs.RebuildRollingBack {
		why := ""
		bad := s.any(func(img *jobs.RebuildImage) bool {
			why = fmt.Sprintf("%s is %s", img.Name, img.State)
			return img.State.Terminal() && !img.State.Good()
		})
		open := s.any(func(img *jobs.RebuildImage) bool { return !img.State.Good() })
		if s.next.State == jobs.RebuildCancelling && open {
			bad, why = true, whyCancelled
		}
		if bad {
			s.next.State, s.next.Why = jobs.RebuildRollingBack, why
			clear(s.read) // its jobs are to be ended
		}
	}
	if s.next.State == jobs.RebuildRollingBack && s.next.Why != "" {
		s.revertAll(givenUp(s.next))
	}
	return nil
}

// spread settles what is not going to be begun: everything once the rebuild is given up, a
// canary has failed, or an image with FailFast; else what stands on an image that is not
// done, and what nothing asks for any more.
func (r *Runner) spread(_ context.Context, s *step) error {
	stop := givenUp(s.next)
	switch failed := s.in(jobs.ImageFailed); {
	case stop != "":
	case s.head.FailFast && len(failed) > 0:
		stop = failed[0].Name + " failed"
	case !s.head.Tried:
		s.any(func(img *jobs.RebuildImage) bool {
			bad := img.Canary && img.State.Terminal() && !img.State.Good()
			if bad {
				stop = fmt.Sprintf("the canary %s is %s", img.Name, img.State)
			}
			return bad
		})
	}
	for _, img := range s.in(jobs.ImageWaiting) {
		if stop != "" {
			s.set(img, func(next *jobs.RebuildImage) { next.State, next.Why = jobs.ImageSkipped, stop })
			continue
		}
		unchanged := img.Inherited
		for _, name := range img.After {
			on := &s.images[s.at[name]]
			unchanged = unchanged && on.State == jobs.ImageUnchanged
			if on.State.Terminal() && !on.State.Good() {
				s.set(img, func(next *jobs.RebuildImage) {
					next.State, next.Why = jobs.ImageBlocked, fmt.Sprintf("it stands on %s, which is %s", name, on.State)
				})
			}
		}
		if unchanged {
			s.set(img, func(next *jobs.RebuildImage) {
				next.State, next.Why = jobs.ImageUnchanged, "nothing that it stands on has changed"
			})
		}
	}
	return nil
}

// begin notes the documents of the images whose turn it is. They are submitted only then:
// a runner that is cut off in between leaves the next one the same documents, whatever
// has become of the recipes meanwhile.
func (r *Runner) begin(ctx context.Context, s *step) error {
	if s.next.State != jobs.RebuildRunning {
		return nil
	}
	waiting, trying := s.in(jobs.ImageWaiting), false
	if !s.head.Tried {
		trying = s.any(func(img *jobs.RebuildImage) bool { return img.Canary && !img.State.Good() })
		canaries := s.any(func(img *jobs.RebuildImage) bool { return img.Canary })
		if canaries && !trying && len(waiting) > 0 {
			s.next.State, s.next.Tried = jobs.RebuildPaused, true
			return nil
		}
	}
	free := s.head.MaxParallel - len(s.in(jobs.ImageBuilding))
	for _, img := range waiting {
		if free <= 0 {
			return nil
		}
		if trying && !img.Canary || slices.ContainsFunc(img.After, func(name string) bool { return !s.images[s.at[name]].State.Good() }) {
			continue
		}
		recipe, err := r.recipes.Recipe(ctx, img.Name)
		why := ""
		switch {
		case errors.Is(err, jobs.ErrNoRecipe):
			why = "its recipe was removed"
		case err != nil:
			return err
		case recipe.Damaged != "":
			why = recipe.Damaged
		case recipe.Spec.Build == nil:
			why = "its recipe builds nothing"
		case recipe.Settings.Policy == jobs.RebuildNever:
			why = "its policy is never"
		}
		s.set(img, func(next *jobs.RebuildImage) {
			if why != "" {
				next.State, next.Why = jobs.ImageSkipped, why
				return
			}
			next.State, next.Why, next.Job, next.Is = jobs.ImageBuilding, "", "", ""
			next.Try++
			next.Of, next.Was = recipe.Job, recipe.ImageID
			spec := Spec(s.head, *next, recipe)
			next.Spec = &spec
			free--
		})
	}
	return nil
}

// end ends the rebuild once all of its images have ended.
func (r *Runner) end(_ context.Context, s *step) error {
	if s.any(func(img *jobs.RebuildImage) bool { return !img.State.Terminal() }) {
		return nil
	}
	good := !s.any(func(img *jobs.RebuildImage) bool { return !img.State.Good() })
	switch back := s.next.State == jobs.RebuildRollingBack; {
	case back && s.next.Why == "":
		s.next.State = jobs.RebuildRolledBack
	case good:
		s.next.State, s.next.Why = jobs.RebuildDone, ""
	case s.next.AllOrNothing && !back:
		return nil // what was done is undone first
	case s.next.State == jobs.RebuildCancelling, s.next.Why == whyCancelled:
		s.next.State = jobs.RebuildCancelled
	default:
		s.next.State = jobs.RebuildFailed
	}
	s.next.Ended = time.Now().UTC().Truncate(time.Microsecond)
	return nil
}

// tell logs what has changed.
func (r *Runner) tell(ctx context.Context, s *step) {
	for _, next := range s.list() {
		switch {
		case next.State == jobs.ImageBuilding && next.Job != "":
			r.log.InfoContext(ctx, "submitted the job of an image that is rebuilt", "rebuild", s.head.ID, "recipe", next.Name, "job_id", next.Job)
		case next.State.Terminal():
			r.log.InfoContext(ctx, "image of a rebuild ended", "rebuild", s.head.ID, "recipe", next.Name, "job_id", next.Job, "state", next.State, "reason", next.Why)
		}
	}
	if s.next.State.Terminal() {
		r.log.InfoContext(ctx, "rebuild ended", "rebuild", s.head.ID, "state", s.next.State)
	}
}
