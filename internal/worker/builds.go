package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/engine"
)

// builds is a directory with a file for each build that is under way. An engine
// makes an image before it names it. When it, or this process, dies in between,
// nothing says whose the image is; so the file says which images without a name
// there were before the build began.
//
// The file goes when the build ends in order. What is left of one that did not
// is looked after with the host's other strays.
type builds struct{ dir string }

func buildsDir(stateDir string) string { return filepath.Join(stateDir, "builds") }

// begin notes that a build begins; ended forgets it.
func (b builds) begin(ctx context.Context, e engine.Engine, id string, attempt int) (ended func(), err error) {
	untagged, err := e.Untagged(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, fmt.Sprintf("%s-a%d.json", id, attempt))
	raw, err := json.Marshal(untagged)
	if err == nil {
		err = os.MkdirAll(b.dir, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(file, raw)
	}
	if err != nil {
		return nil, stateFailure(err)
	}
	return func() { _ = os.Remove(file) }, nil
}

// left returns the notes of builds that did not end in order, by file. Builds of
// attempts that are at work are not among them.
func (b builds) left(atWork func(id string, attempt int) bool) (map[string][]string, error) {
	files, err := os.ReadDir(b.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list builds that were cut off: %w", err)
	}
	all := map[string][]string{}
	for _, f := range files {
		path := filepath.Join(b.dir, f.Name())
		if id, attempt, ok := attemptOf(f.Name(), ".json"); ok && atWork(id, attempt) {
			continue
		}
		raw, err := os.ReadFile(path)
		var before []string
		if err == nil {
			err = json.Unmarshal(raw, &before)
		}
		if err != nil { // of a process that died while it wrote it: nothing was built yet
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return all, fmt.Errorf("remove the note on a build: %w", err)
			}
			continue
		}
		all[path] = before
	}
	return all, nil
}

// attemptOf reads the name of an attempt's file.
func attemptOf(file, extension string) (id string, attempt int, ok bool) {
	rest, ok := strings.CutSuffix(file, extension)
	i := strings.LastIndex(rest, "-a")
	if !ok || i < 0 {
		return "", 0, false
	}
	attempt, err := strconv.Atoi(rest[i+len("-a"):])
	return rest[:i], attempt, err == nil
}

// removeUntagged removes images that a build made and could not name any more. It
// looks twice, so that it never meets one that another build names this moment.
func (w *Worker) removeUntagged(ctx context.Context) error {
	left, err := w.builds.left(w.isRunning)
	if err != nil || len(left) == 0 {
		w.suspects = nil
		return err
	}
	now, err := w.Engine.Untagged(ctx)
	if err != nil {
		return err
	}
	suspects := map[string][]string{}
	var errs []error
	for path, before := range left {
		mine := slices.DeleteFunc(slices.Clone(now), func(id string) bool { return slices.Contains(before, id) })
		again := slices.DeleteFunc(slices.Clone(mine), func(id string) bool { return !slices.Contains(w.suspects[path], id) })
		for _, id := range again {
			w.log.InfoContext(ctx, "removed an image that a build could not name", "image_id", id)
			errs = append(errs, w.Engine.RemoveImage(ctx, id))
		}
		if len(again) == len(mine) {
			errs = append(errs, os.Remove(path))
			continue
		}
		suspects[path] = mine
	}
	w.suspects = suspects
	return errors.Join(errs...)
}
