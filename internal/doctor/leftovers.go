package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// leftover is something of ours that nobody needs any more.
type leftover struct {
	name   string
	remove func(ctx context.Context) error
}

// finder lists leftovers of one kind.
type finder func(ctx context.Context) ([]leftover, error)

func leftContainers(ctx context.Context, e *exam) Finding {
	return e.farmLeftovers(ctx, "containers that no job owns", e.strays(e.Daemon.List, jobs.ContainerName,
		func(ctx context.Context, c engine.Listed) error { return e.Daemon.Remove(ctx, c.ID) }))
}

func leftImages(ctx context.Context, e *exam) Finding {
	return e.farmLeftovers(ctx, "images that no job owns", e.strayImages)
}

// strayImages finds the private names of attempts that are over.
func (e *exam) strayImages(ctx context.Context) ([]leftover, error) {
	working, err := e.working(ctx)
	if err != nil {
		return nil, err
	}
	all, err := e.Daemon.Images(ctx, jobs.ImageRepository(e.Farm))
	if err != nil {
		return nil, err
	}
	var found []leftover
	for _, img := range all {
		id, attempt, ours := jobs.ImageAttempt(img.Name)
		if !ours || working[attemptOf{id, attempt}] {
			continue
		}
		job, err := e.Records.Get(ctx, id)
		switch {
		case err != nil && !errors.Is(err, jobs.ErrNotFound):
			return nil, err
		case err == nil && (job.Keeps(e.host, attempt) || job.State == jobs.Running && job.Attempt == attempt):
			continue
		}
		found = append(found, leftover{img.Name, func(ctx context.Context) error { return e.Daemon.RemoveImage(ctx, img.Name) }})
	}
	return found, nil
}

func leftSpool(ctx context.Context, e *exam) Finding {
	return e.farmLeftovers(ctx, "logs of jobs that do not run here", e.spools)
}

// leftProbes looks for what a doctor that was killed made. What a worker made is
// among its own leftovers.
func leftProbes(ctx context.Context, e *exam) Finding {
	return leftovers(ctx, "things that a killed doctor made", "--fix removes them", func(ctx context.Context) ([]leftover, error) {
		labels := map[string]string{engine.LabelProbe: engine.ProbeName}
		containers, err := e.Daemon.List(ctx, labels)
		if err != nil {
			return nil, err
		}
		images, err := e.Daemon.Images(ctx, engine.ProbeName)
		if err != nil {
			return nil, err
		}
		var found []leftover
		for _, c := range containers {
			if c.OfProbe() && c.Labels[engine.LabelHost] == "" {
				found = append(found, leftover{c.Name, func(ctx context.Context) error { return e.Daemon.Remove(ctx, c.ID) }})
			}
		}
		for _, i := range images {
			if !strings.HasPrefix(i.Name, engine.ProbeImage("")) {
				continue
			}
			found = append(found, leftover{i.Name, func(ctx context.Context) error { return e.Daemon.RemoveImage(ctx, i.Name) }})
		}
		return found, nil
	}, func(do func() error) error { return do() })
}

// errBusy says that a worker looks after its leftovers itself.
var errBusy = errors.New("a worker runs on this state directory and looks after them")

// farmLeftovers are those of this state directory's worker, while it does not
// run: it knows of jobs that it is just about to take on.
func (e *exam) farmLeftovers(ctx context.Context, what string, find finder) Finding {
	if e.host == "" {
		return ok("none: no worker has used this state directory yet")
	}
	return leftovers(ctx, what, "the worker removes them when it starts, and so does --fix", find, func(do func() error) error {
		release, running, err := e.Lock()
		switch {
		case err != nil:
			return err
		case running:
			return errBusy
		}
		return errors.Join(do(), release())
	})
}

// leftovers looks for leftovers, each time within guard.
func leftovers(ctx context.Context, what, advice string, find finder, guard func(do func() error) error) Finding {
	var found []leftover
	err := guard(func() (err error) {
		found, err = find(ctx)
		return err
	})
	switch {
	case errors.Is(err, errBusy):
		return ok("%s", err)
	case err != nil:
		return broken(fmt.Errorf("look for %s: %w", what, err), "look again as the worker's user, with Redis and Docker at hand")
	case len(found) == 0:
		return ok("no %s", what)
	}
	f := warn(advice, "%s: %d (%s)", what, len(found), names(found))
	f.repair = func(ctx context.Context) (did string, err error) {
		// Found anew: what was a leftover may have an owner by now.
		err = guard(func() error {
			var removed []leftover
			found, err := find(ctx)
			for i := 0; err == nil && i < len(found); i++ {
				if err = found[i].remove(ctx); err == nil {
					removed = append(removed, found[i])
				}
			}
			if len(removed) > 0 {
				did = "removed " + names(removed)
			}
			return err
		})
		return did, err
	}
	return f
}

// strays finds what carries the labels of this farm and host and the name of an
// attempt that is over. Labels find candidates; name and record decide, as in
// package worker.
func (e *exam) strays(list func(context.Context, map[string]string) ([]engine.Listed, error), name func(string, int) string, remove func(context.Context, engine.Listed) error) finder {
	return func(ctx context.Context) ([]leftover, error) {
		working, err := e.working(ctx)
		if err != nil {
			return nil, err
		}
		all, err := list(ctx, map[string]string{engine.LabelFarm: e.Farm, engine.LabelHost: e.host})
		if err != nil {
			return nil, err
		}
		var found []leftover
		for _, l := range all {
			if l.OfProbe() && l.Name != "" {
				found = append(found, leftover{l.Name, func(ctx context.Context) error { return remove(ctx, l) }})
				continue
			}
			id, attempt, ours := l.Attempt(name)
			if !ours || working[attemptOf{id, attempt}] {
				continue
			}
			job, err := e.Records.Get(ctx, id)
			if err != nil && !errors.Is(err, jobs.ErrNotFound) {
				return nil, err
			}
			if err != nil || !job.Keeps(e.host, attempt) {
				found = append(found, leftover{l.Name, func(ctx context.Context) error { return remove(ctx, l) }})
			}
		}
		return found, nil
	}
}

type attemptOf struct {
	id string
	n  int
}

// working are the attempts that a worker adopts when it starts here.
func (e *exam) working(ctx context.Context) (map[attemptOf]bool, error) {
	owned, err := e.Records.Owned(ctx, e.host)
	if err != nil {
		return nil, err
	}
	all := map[attemptOf]bool{}
	for _, job := range owned {
		all[attemptOf{job.ID, job.Attempt}] = true
	}
	return all, nil
}

// spools finds log files of attempts that are over.
func (e *exam) spools(ctx context.Context) ([]leftover, error) {
	entries, err := os.ReadDir(e.spoolDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	working, err := e.working(ctx)
	if err != nil {
		return nil, err
	}
	var found []leftover
	for _, entry := range entries {
		a, isSpool := spoolOf(entry.Name())
		if !isSpool || !entry.Type().IsRegular() || working[a] {
			continue
		}
		job, err := e.Records.Get(ctx, a.id)
		if err != nil && !errors.Is(err, jobs.ErrNotFound) {
			return nil, err
		}
		if err == nil && job.Keeps(e.host, a.n) {
			continue
		}
		path := filepath.Join(e.spoolDir(), entry.Name())
		found = append(found, leftover{entry.Name(), func(context.Context) error { return os.Remove(path) }})
	}
	return found, nil
}

// spoolOf reads the name of a log spool, <id>-a<attempt>.log.
func spoolOf(name string) (attemptOf, bool) {
	rest, isLog := strings.CutSuffix(name, ".log")
	i := strings.LastIndex(rest, "-a")
	if !isLog || i < 0 || !jobs.IsID(rest[:i]) {
		return attemptOf{}, false
	}
	n, err := strconv.Atoi(rest[i+len("-a"):])
	return attemptOf{rest[:i], n}, err == nil
}

// names lists a few leftovers.
func names(all []leftover) string {
	const few = 5
	var list []string
	for _, l := range all[:min(few, len(all))] {
		list = append(list, l.name)
	}
	text := strings.Join(list, ", ")
	if len(all) > few {
		text += fmt.Sprintf(" and %d more", len(all)-few)
	}
	return text
}
