// Package journal keeps on the host's disk what a restarted worker needs when it cannot
// ask Redis, or when Redis was not told: how long the lease of an attempt holds, how far
// its container has come, and what the worker has decided about it.
//
// A directory has one file per attempt, which is written whole or not at all. A verdict
// is on the disk before the worker reports it, and the file goes when the report is
// acknowledged and the container is gone.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Keyed is what a directory keeps: something about one attempt.
type Keyed interface {
	Key() (job string, attempt int)
}

// Entry is what the journal knows of an attempt.
type Entry struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	// Nonce is what the verdict is reported under.
	Nonce string `json:"nonce"`
	// LeaseUntil is until when no other worker can be given the job, on the host's
	// clock.
	LeaseUntil time.Duration `json:"lease_until"`
	// Container is how far the container has come.
	Container Container `json:"container,omitzero"`
	// Result or Release is the verdict; both are nil while the attempt works.
	Result  *jobs.Result  `json:"result,omitempty"`
	Release *jobs.Release `json:"release,omitempty"`
}

// Key implements Keyed.
func (e Entry) Key() (job string, attempt int) { return e.Job, e.Attempt }

// Of reports whether it is about the attempt that a job is at.
func (e Entry) Of(job jobs.Job) bool { return e.Job == job.ID && e.Attempt == job.Attempt }

// Decided reports whether there is a verdict.
func (e Entry) Decided() bool { return e.Result != nil || e.Release != nil }

// Serves reports whether the verdict is that a service runs.
func (e Entry) Serves() bool { return e.Result != nil && !e.Result.KeepUntil.IsZero() }

// MayRun reports whether a container of the attempt may be at work. It may while there
// is no verdict, whatever the phase: a full disk keeps a later one out of the journal.
// A result means that the container had ended, unless it was only told to, or serves.
// A release is decided before the container is ended.
func (e Entry) MayRun() bool {
	switch {
	case e.Container.Phase == Gone:
		return false
	case e.Result != nil:
		return e.Serves() || e.Container.Phase == Stopping
	}
	return true
}

// Dir is a directory with one file per attempt.
type Dir[T Keyed] struct{ path string }

// At is the directory at a path, which the first write makes.
func At[T Keyed](path string) Dir[T] { return Dir[T]{path} }

// Path is where the directory is.
func (d Dir[T]) Path() string { return d.path }

// File is the path of the file about an attempt.
func (d Dir[T]) File(id string, attempt int) string {
	return filepath.Join(d.path, fmt.Sprintf("%s-a%d.json", id, attempt))
}

// Write stores an entry. After a crash of the machine it may be missing or old.
func (d Dir[T]) Write(e T) error { return d.write(e, atomicfile.Write) }

// WriteDurable is Write for an entry that also survives a power failure.
func (d Dir[T]) WriteDurable(e T) error { return d.write(e, atomicfile.WriteDurable) }

func (d Dir[T]) write(e T, save func(path string, data []byte) error) error {
	id, attempt := e.Key()
	raw, err := json.Marshal(e)
	if err == nil {
		err = os.MkdirAll(d.path, 0o700)
	}
	if err == nil {
		err = save(d.File(id, attempt), raw)
	}
	if err != nil {
		return fmt.Errorf("write journal entry of job %s: %w", id, err)
	}
	return nil
}

// Get returns the entry of an attempt, zero when there is none.
func (d Dir[T]) Get(id string, attempt int) (e T, err error) {
	e, err = readFile[T](d.File(id, attempt))
	if errors.Is(err, os.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("read journal entry of job %s: %w", id, err)
	}
	return e, nil
}

// Remove forgets an attempt; one that is not there is forgotten already.
func (d Dir[T]) Remove(id string, attempt int) error {
	err := os.Remove(d.File(id, attempt))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove journal entry of job %s: %w", id, err)
	}
	return nil
}

// Read returns every entry. One that cannot be read is handed to odd and renamed to
// <name>.odd: it must not keep the host from working.
func (d Dir[T]) Read(odd func(name string, err error)) ([]T, error) {
	files, err := os.ReadDir(d.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var all []T
	for _, f := range files {
		path := filepath.Join(d.path, f.Name())
		switch filepath.Ext(path) {
		case ".json":
		case atomicfile.Unfinished: // the process died while it wrote it
			if err := os.Remove(path); err != nil {
				odd(f.Name(), err)
			}
			continue
		default:
			continue
		}
		e, err := readFile[T](path)
		if id, attempt := e.Key(); err != nil || d.File(id, attempt) != path {
			odd(f.Name(), errors.Join(err, os.Rename(path, path+".odd")))
			continue
		}
		all = append(all, e)
	}
	return all, nil
}

func readFile[T any](path string) (e T, err error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	return e, err
}

// IsEmpty reports whether there is nothing in the directory.
func (d Dir[T]) IsEmpty() bool {
	files, err := os.ReadDir(d.path)
	return err != nil || len(files) == 0
}
