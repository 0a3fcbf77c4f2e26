package worker

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

// journal is a directory with one file per attempt of this host. It holds what
// a restarted worker needs when it cannot ask Redis, or when Redis was
// not told: how long the lease holds, and what became of the work.
//
// A file is written whole or not at all. A verdict is on the disk before it is
// reported, and its file goes when the report is acknowledged and the container
// is gone.
type journal struct{ dir string }

// entry is what the journal knows of an attempt.
type entry struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	// Nonce is what the verdict is reported under.
	Nonce string `json:"nonce"`
	// LeaseUntil is until when nobody else can be given the job, on the host's clock
	// that Deps.Uptime reads.
	LeaseUntil time.Duration `json:"held"`
	// Started says that the container has been told to run. The record names it
	// then, unless Redis lost its last second.
	Started bool `json:"started,omitempty"`
	// Halted is why the container is being stopped, when that is not its own
	// doing: its exit code means nothing then.
	Halted *halt `json:"halted,omitempty"`
	ended  bool  // its container, stopped before the lease ended, by a process that came later
	// Result or Release is the verdict; both are nil while the attempt works.
	Result  *jobs.Result  `json:"result,omitempty"`
	Release *jobs.Release `json:"release,omitempty"`
	// Ending is why a kept service is ended. Such entries have a directory of their
	// own.
	Ending *ending `json:"ending,omitempty"`
}

// halt is a reason to stop a container: a drain, or else a failure.
type halt struct {
	Drain   bool          `json:"drain,omitempty"`
	Failure *jobs.Failure `json:"failure,omitempty"`
}

// why is the error that the attempt ends with.
func (h halt) why() error {
	if h.Drain {
		return errDrain
	}
	return h.Failure
}

// of reports whether it is about the attempt that a job is at.
func (e entry) of(job jobs.Job) bool { return e.Job == job.ID && e.Attempt == job.Attempt }

func (e entry) decided() bool { return e.Result != nil || e.Release != nil }

// mayRun reports whether something of the attempt may be at work: also when it is
// decided, what was told to end may not have, and a service goes on.
func (e entry) mayRun() bool {
	return !e.ended && (e.Result == nil || e.Halted != nil || e.serves())
}

// serves reports whether the verdict is that a service runs.
func (e entry) serves() bool { return e.Result != nil && !e.Result.KeepUntil.IsZero() }

// LeftSomething reports whether an earlier worker of a state directory left
// attempts that are not settled.
func LeftSomething(stateDir string) bool {
	files, err := os.ReadDir(journalDir(stateDir))
	return err == nil && len(files) > 0
}

func journalDir(stateDir string) string { return filepath.Join(stateDir, "journal") }

func endingsDir(stateDir string) string { return filepath.Join(stateDir, "services") }

func (j journal) path(id string, attempt int) string {
	return filepath.Join(j.dir, fmt.Sprintf("%s-a%d.json", id, attempt))
}

// write stores an entry; with durable set it also survives a power failure.
func (j journal) write(e entry, durable bool) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode journal entry of job %s: %w", e.Job, err)
	}
	save := atomicfile.Write
	if durable {
		save = atomicfile.WriteDurable
	}
	if err = os.MkdirAll(j.dir, 0o700); err == nil {
		err = save(j.path(e.Job, e.Attempt), raw)
	}
	if err != nil {
		return fmt.Errorf("write journal entry of job %s: %w", e.Job, err)
	}
	return nil
}

// get returns the entry of an attempt, zero when there is none.
func (j journal) get(id string, attempt int) (e entry, err error) {
	raw, err := os.ReadFile(j.path(id, attempt))
	if errors.Is(err, os.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		return entry{}, fmt.Errorf("read journal entry of job %s: %w", id, err)
	}
	return e, nil
}

// remove forgets an attempt; one that is not there is forgotten already.
func (j journal) remove(id string, attempt int) error {
	err := os.Remove(j.path(id, attempt))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove journal entry of job %s: %w", id, err)
	}
	return nil
}

// read returns every entry. What cannot be read is handed to odd and put aside, as
// <name>.odd: it must not keep the host from working.
func (j journal) read(odd func(name string, err error)) ([]entry, error) {
	files, err := os.ReadDir(j.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var all []entry
	for _, f := range files {
		path := filepath.Join(j.dir, f.Name())
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
		raw, err := os.ReadFile(path)
		var e entry
		if err == nil {
			err = json.Unmarshal(raw, &e)
		}
		if err != nil || j.path(e.Job, e.Attempt) != path {
			odd(f.Name(), errors.Join(err, os.Rename(path, path+".odd")))
			continue
		}
		all = append(all, e)
	}
	return all, nil
}

// leaseHolds notes that the lease was good at a time of the host's clock. Without the
// note a restarted worker would only know less.
func (a *attempt) leaseHolds(since time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entry.decided() || a.settled {
		return
	}
	a.entry.LeaseUntil = since + a.w.opts.Lease
	a.write(false)
}

// starting notes that the container runs from now on, so that nothing of it is
// taken for a beginning when Redis forgets it and the engine has lost it.
func (a *attempt) starting() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry.Started = true
	a.write(false)
}

// halting notes that the container is stopped, and why, before it is. Without
// the note a restarted worker would take the exit code for the program's own.
func (a *attempt) halting(why error) {
	h := halt{Drain: errors.Is(why, errDrain)}
	if !h.Drain {
		h.Failure = haltFailure(why)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry.Halted = &h
	a.write(true)
}

func haltFailure(why error) *jobs.Failure {
	var f *jobs.Failure
	if errors.As(why, &f) {
		return f
	}
	return jobs.Fail(jobs.KindWorkerLost, why, "", "the worker stopped the container, because %v", why)
}

// noted is a copy of the journal's entry.
func (a *attempt) noted() entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.entry
}

// decide notes the verdict before it is reported. A journal that cannot be
// written must not keep the report back: it only covers for its loss.
func (a *attempt) decide(result *jobs.Result, release *jobs.Release) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry.Result, a.entry.Release = result, release
	a.write(true)
}

func (a *attempt) write(durable bool) {
	if err := a.w.journal.write(a.entry, durable); err != nil {
		a.log.Warn("keep the journal", "err", err)
	}
}

// settle forgets the attempt: its verdict is acknowledged, or nobody's concern.
// A renewal that is under way must not bring it back.
func (a *attempt) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled = true
	if err := a.w.journal.remove(a.job.ID, a.job.Attempt); err != nil {
		a.log.Warn("keep the journal", "err", err)
	}
}
