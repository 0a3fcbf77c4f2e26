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

// Verbs begin rebuilds again, or back. A [Runner] carries out what they note.
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

// BusyError says that a rebuild is about to build an image already.
type BusyError struct {
	Rebuild jobs.Rebuild
	Image   string
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("rebuild %s is about to build %s already", e.Rebuild.ID, e.Image)
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
