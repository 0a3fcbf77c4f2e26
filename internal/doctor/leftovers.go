package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/strays"
)

// leftover is something of ours that no job needs any more.
type leftover struct {
	name   string
	remove func(ctx context.Context) error
}

// finder lists leftovers of one kind.
type finder func(ctx context.Context) ([]leftover, error)

func leftContainers(ctx context.Context, e *exam) Finding {
	return e.farmLeftovers(ctx, "containers that no job owns", e.strayContainers)
}

func leftImages(ctx context.Context, e *exam) Finding {
	return e.farmLeftovers(ctx, "images that no job owns", func(ctx context.Context) ([]leftover, error) {
		round, err := e.judge(ctx)
		if err != nil {
			return nil, err
		}
		all, err := e.Daemon.Images(ctx, jobs.ImageRepository(e.Farm))
		if err != nil {
			return nil, err
		}
		var found []leftover
		for _, img := range all {
			v, err := round.Image(ctx, img.Name)
			if err != nil {
				return nil, err
			}
			if v.Why != "" {
				found = append(found, leftover{img.Name, func(ctx context.Context) error { return e.Daemon.RemoveImage(ctx, img.Name) }})
			}
		}
		return found, nil
	})
}

func leftSpool(ctx context.Context, e *exam) Finding {
	if e.host == "" {
		return ok("none: no worker has used this state directory yet")
	}
	return e.farmLeftovers(ctx, "logs of jobs that do not run here", e.spools)
}

// leftFormer looks for what a worker put aside when it took a new identity.
func leftFormer(ctx context.Context, e *exam) Finding {
	return leftovers(ctx, "files of hosts that the state directory was before", "a copied state directory leaves them; --fix removes them", func(context.Context) ([]leftover, error) {
		dirs, err := e.Former()
		var found []leftover
		for _, dir := range dirs {
			found = append(found, leftover{filepath.Base(dir), func(context.Context) error { return os.RemoveAll(dir) }})
		}
		return found, err
	}, func(do func() error) error { return do() })
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
// run: it knows of jobs that it is just about to take on. What is on the daemon can be
// of other workers, too.
func (e *exam) farmLeftovers(ctx context.Context, what string, find finder) Finding {
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

// judge judges what attempts have left, as a worker would.
func (e *exam) judge(ctx context.Context) (*strays.Judge, error) {
	working, err := e.working(ctx)
	if err != nil {
		return nil, err
	}
	return strays.New(e.Records, strays.Options{Host: e.host, Mine: func(id string, n int) bool { return working[attemptOf{id, n}] }}), nil
}

// strayContainers finds what attempts of this farm, and probes of this host, left on
// the daemon.
func (e *exam) strayContainers(ctx context.Context) ([]leftover, error) {
	round, err := e.judge(ctx)
	if err != nil {
		return nil, err
	}
	all, err := e.candidates(ctx)
	if err != nil {
		return nil, err
	}
	var found []leftover
	for _, c := range all {
		v, err := round.Container(ctx, c)
		if err != nil {
			return nil, err
		}
		if v.Why == "" && !(c.OfProbe() && c.Labels[engine.LabelHost] == e.host) {
			continue
		}
		found = append(found, leftover{c.Name, func(ctx context.Context) error {
			if err := strays.Stop(ctx, e.Daemon, c, v); err != nil {
				return err
			}
			return strays.Remove(ctx, e.Daemon, e.Records, c, v)
		}})
	}
	return found, nil
}

// candidates are the containers with the label of this host, and of this farm
// whichever worker made them.
func (e *exam) candidates(ctx context.Context) ([]engine.Listed, error) {
	farm, err := e.Records.FarmID(ctx, true)
	if err != nil {
		return nil, err
	}
	var all, others []engine.Listed
	if e.host != "" {
		if all, err = e.Daemon.List(ctx, map[string]string{engine.LabelHost: e.host}); err != nil {
			return nil, err
		}
	}
	if farm != "" {
		if others, err = e.Daemon.List(ctx, map[string]string{engine.LabelFarmID: farm}); err != nil {
			return nil, err
		}
	}
	return append(all, slices.DeleteFunc(others, func(l engine.Listed) bool { return l.Labels[engine.LabelHost] == e.host })...), nil
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
