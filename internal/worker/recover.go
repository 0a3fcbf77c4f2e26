package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// recover makes the host consistent with the records before any work is taken:
// jobs that an earlier incarnation ran are adopted, and containers and files
// that belong to no living job go.
func (w *Worker) recover(ctx context.Context) error {
	owned, err := w.Claims.Owned(ctx, w.opts.Host)
	if err != nil {
		return err
	}
	for _, job := range owned {
		o := w.owner()
		job, err := w.Claims.Adopt(ctx, job.ID, o)
		if errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		a := w.start(job, o.Nonce)
		a.log.InfoContext(ctx, "adopting a job of an earlier worker", "stage", job.Stage, "container_id", job.Container.ID)
		go a.live(a.adopted)
	}
	if err := w.removeStrays(ctx); err != nil {
		return err
	}
	return w.removeSpools()
}

// adopted is the work of a job that an earlier incarnation began. A container
// that was started is followed to its end; anything else starts again, on the
// farm's account.
func (a *attempt) adopted(ctx context.Context) error {
	lost := jobs.Fail(jobs.KindWorkerLost, nil, "", "the worker was restarted during %s", orWord(a.job.Stage, "the start"))
	if a.job.Container.Name == "" {
		return staged(a.job.Stage, lost)
	}
	state, err := a.findContainer(ctx)
	if err != nil {
		return err
	}
	if state.ID != "" {
		a.container, a.res.ContainerID = state.ID, state.ID
	}
	if err := a.restore(ctx); err != nil {
		return err
	}
	if state.ID == "" || state.Status == engine.StatusCreated {
		return staged(a.job.Stage, lost)
	}
	left := a.w.opts.Lease
	if !a.job.Container.Deadline.IsZero() {
		now, err := a.w.Claims.Now(ctx)
		if err != nil {
			return err
		}
		left = max(a.job.Container.Deadline.Sub(now), time.Millisecond)
	}
	err = a.stage(ctx, jobs.StageRun, left, func(ctx context.Context) error {
		proc, err := a.w.Engine.Reattach(ctx, state.ID, a.joblog.skip, a.output())
		if err != nil {
			return err
		}
		return a.supervise(ctx, proc)
	})
	if err != nil {
		return err
	}
	return a.collect(ctx)
}

// restore puts into the result what the earlier incarnation found out.
func (a *attempt) restore(ctx context.Context) error {
	if p := a.job.Partial; p != nil {
		a.res.Context, a.res.ImageID, a.res.Tags, a.res.Bases = p.Context, p.ImageID, p.Tags, p.Bases
		a.res.RepoDigests, a.res.Times = p.RepoDigests, p.Times
		return nil
	}
	if a.job.Spec.Build != nil {
		return nil
	}
	id, err := a.w.Engine.Image(ctx, a.job.Spec.Run.Image, io.Discard)
	a.res.ImageID = id
	return err
}

// findContainer looks for the attempt's container: by its recorded ID, or by
// its name when the worker died between creating and recording it. A zero
// State means that there is none.
func (a *attempt) findContainer(ctx context.Context) (engine.State, error) {
	id := a.job.Container.ID
	if id == "" {
		found, err := a.w.Engine.List(ctx, a.w.labels(a.job.ID, a.job.Attempt))
		if err != nil {
			return engine.State{}, err
		}
		for _, c := range found {
			if c.Name == a.job.Container.Name {
				id = c.ID
			}
		}
	}
	if id == "" {
		return engine.State{}, nil
	}
	state, err := a.w.Engine.Inspect(ctx, id)
	if err != nil && jobs.AsFailure(err).Kind == jobs.KindContainerLost {
		return engine.State{}, nil
	}
	return state, err
}

// removeSpools removes log files of attempts that are over.
func (w *Worker) removeSpools() error {
	dir := filepath.Join(w.opts.StateDir, "spool")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list log spools: %w", err)
	}
	w.mu.Lock()
	used := make(map[string]bool, len(w.running))
	for id, a := range w.running {
		used[filepath.Base(w.spoolPath(id, a.job.Attempt))] = true
	}
	w.mu.Unlock()
	for _, e := range entries {
		if used[e.Name()] {
			continue
		}
		// An adopted attempt that ends right now removes its own.
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove log spool: %w", err)
		}
	}
	return nil
}

func orWord(s jobs.Stage, word string) string {
	if s == "" {
		return word
	}
	return string(s)
}
