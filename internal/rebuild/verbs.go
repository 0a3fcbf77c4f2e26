package rebuild

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Book is where rebuilds are kept, as far as what changes one that has ended needs it.
type Book interface {
	Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error)
	Rebuilds(ctx context.Context) ([]jobs.Rebuild, error)
	ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error)
}

// Verb is something that an operator does with a rebuild.
type Verb string

// The verbs. The last two are for rebuilds that have ended.
const (
	Pause    Verb = "pause"    // begin no more images
	Resume   Verb = "resume"   // go on
	Cancel   Verb = "cancel"   // end its jobs
	Retry    Verb = "retry"    // build the images again that are not done
	Rollback Verb = "rollback" // move the tags back where they were
)

// Verbs change rebuilds. A [Runner] carries out what they note.
type Verbs struct {
	log  *slog.Logger
	book Book
}

// NewVerbs works on a book; lg may be nil.
func NewVerbs(lg *slog.Logger, book Book) Verbs {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return Verbs{lg, book}
}

// Do does a verb with a rebuild, for an operator. It fails with a [Refusal] when the rebuild is
// in no state for that.
func (v Verbs) Do(ctx context.Context, verb Verb, id, by string) error {
	switch verb {
	case Pause:
		return v.change(ctx, verb, id, func(r *jobs.Rebuild) { r.State = jobs.RebuildPaused }, jobs.RebuildRunning)
	case Resume:
		return v.change(ctx, verb, id, func(r *jobs.Rebuild) { r.State = jobs.RebuildRunning }, jobs.RebuildPaused)
	case Cancel:
		return v.change(ctx, verb, id, func(r *jobs.Rebuild) { r.State, r.CancelledBy = jobs.RebuildCancelling, by }, jobs.RebuildRunning, jobs.RebuildPaused)
	case Retry:
		began, err := v.Retry(ctx, id)
		return done(began, err, "rebuild %s has not ended, or all of its images are done: there is nothing to retry", id)
	case Rollback:
		began, err := v.Rollback(ctx, id)
		return done(began, err, "rebuild %s has not ended, or has moved no tags: there is nothing to roll back", id)
	}
	return fmt.Errorf("rebuilds have no verb %q", verb)
}

// done is a refusal when nothing was done.
func done(was bool, err error, format string, args ...any) error {
	if err == nil && !was {
		return &Refused{Text: fmt.Sprintf(format, args...)}
	}
	return err
}

// change changes a rebuild that is in one of some states.
func (v Verbs) change(ctx context.Context, verb Verb, id string, change func(*jobs.Rebuild), from ...jobs.RebuildState) error {
	for {
		head, _, err := v.book.Rebuild(ctx, id)
		if err != nil {
			return err
		}
		if !slices.Contains(from, head.State) {
			return &Refused{Text: fmt.Sprintf("rebuild %s is %s: there is nothing to %s", id, head.State, verb)}
		}
		next := head
		change(&next)
		if changed, err := v.book.ChangeRebuild(ctx, head, next); err != nil || changed {
			return err
		}
	}
}

// Retry begins the images again that are not done, of a rebuild that has ended. false
// means that there is nothing to do. It fails with a [*BusyError] when another rebuild is
// about to build one of them.
func (v Verbs) Retry(ctx context.Context, id string) (bool, error) {
	for {
		head, images, err := v.book.Rebuild(ctx, id)
		if err != nil || head.State != jobs.RebuildFailed && head.State != jobs.RebuildCancelled {
			return false, err
		}
		s := newStep(head, images)
		s.next.State, s.next.Why, s.next.CancelledBy, s.next.Ended = jobs.RebuildRunning, "", "", time.Time{}
		for i := range images {
			if img := &images[i]; !img.State.Good() {
				s.set(img, func(next *jobs.RebuildImage) {
					next.State, next.Why, next.Job, next.Moves, next.Bases, next.Then, next.Trouble = jobs.ImageWaiting, "", "", nil, nil, "", time.Time{}
				})
			}
		}
		if err := v.Free(ctx, s.names()); err != nil {
			return false, err
		}
		if kept, err := v.book.ChangeRebuild(ctx, head, s.next, s.list()...); err != nil || kept {
			return kept, err
		}
	}
}

// Rollback moves the tags of a rebuild that has ended back where they were. false means that
// it has moved none. It fails with a [*BusyError] when a rebuild is about to build one of
// the images.
func (v Verbs) Rollback(ctx context.Context, id string) (bool, error) {
	for {
		head, images, err := v.book.Rebuild(ctx, id)
		if err != nil || !head.State.Terminal() {
			return false, err
		}
		s := newStep(head, images)
		s.next.State, s.next.Why, s.next.Ended = jobs.RebuildRollingBack, "", time.Time{}
		s.revertAll("")
		if len(s.changes) == 0 {
			return false, nil
		}
		if err := v.Free(ctx, s.names()); err != nil {
			return false, err
		}
		if kept, err := v.book.ChangeRebuild(ctx, head, s.next, s.list()...); err != nil || kept {
			return kept, err
		}
	}
}

// Free fails with a [*BusyError] when a rebuild is about to build one of the images.
func (v Verbs) Free(ctx context.Context, names []string) error {
	list, err := v.book.Rebuilds(ctx)
	if err != nil {
		return err
	}
	for _, b := range list {
		if b.State.Terminal() {
			continue
		}
		_, images, err := v.book.Rebuild(ctx, b.ID)
		if err != nil {
			v.log.WarnContext(ctx, "looking at a rebuild failed", "rebuild", b.ID, "err", err)
			continue
		}
		for _, img := range images {
			if !img.State.Terminal() && slices.Contains(names, img.Name) {
				return &BusyError{b, img.Name}
			}
		}
	}
	return nil
}
