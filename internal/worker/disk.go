package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// diskEvery is how often the worker looks at what containers write. The engine
	// walks over all of it, so one that takes long is looked at less often.
	diskEvery = 3 * time.Second
	// diskShare is how many times longer than a look the pause after it is.
	diskShare = 20
	// writtenTime bounds one look.
	writtenTime = time.Minute
	// roomTime is how long the worker waits for the room that the end of a container
	// gives back, before it ends another one.
	roomTime = 30 * time.Second
)

// overDisk is why a container is ended that wrote too much to the host's disk.
type overDisk struct {
	written jobs.Bytes
	// limit is 0 when it has none, and the disk is short of room.
	limit jobs.Bytes
}

func (o overDisk) Error() string {
	if o.limit > 0 {
		return fmt.Sprintf("the container wrote %s to the host's disk, more than its limit of %s", diskroom.Bytes(int64(o.written)), o.limit)
	}
	return fmt.Sprintf("the container wrote %s to the host's disk, the most of all, which is short of room", diskroom.Bytes(int64(o.written)))
}

func (o overDisk) failure(jobs.Stage, error) *jobs.Failure {
	hint := "raise run.limits.disk, or let the program write less"
	if o.limit == 0 {
		hint = "let the program write less, or ask for a host with more room"
	}
	return jobs.Fail(jobs.KindDiskLimit, nil, hint, "%s", o.Error())
}

// writer is a container that writes to the host's disk.
type writer struct {
	limit jobs.Bytes // 0 for none
	// end ends the container. Only the first call counts.
	end func(overDisk)
	// next is when to look again.
	next time.Time
}

// watchWriter has the disk's watch look at a container until done is called.
func (w *Worker) watchWriter(container string, job jobs.Job, end func(overDisk)) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writers[container] = &writer{limit: w.diskLimit(job), end: end}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.writers, container)
	}
}

// diskLimit is how much the container of a job may write, 0 for any amount.
func (w *Worker) diskLimit(job jobs.Job) jobs.Bytes {
	if own := job.Spec.Run.Limits.Disk; own > 0 {
		return own
	}
	return w.opts.Limits.Disk
}

// watchDisk ends containers that write more than their limit. When the engine's disk
// is short of room it ends the one that wrote most: the others would fail, too.
func (w *Worker) watchDisk(ctx context.Context) {
	var ended time.Time // when the last was ended because of a shortage
	for pause(ctx, diskEvery) {
		shortage, short := w.shortage()
		short = short && time.Since(ended) >= roomTime
		most, written := w.lookAtWriters(ctx, short)
		if !short || most == nil || uint64(written) <= shortage.Room.Least() { // it is not negative
			continue
		}
		ended = time.Now()
		most.end(overDisk{written: written})
	}
}

// fullDisk is the failure of what ended while a disk of the host was short of room: its
// own writes may have been told so. nil when there is room.
func (w *Worker) fullDisk(ended string) *jobs.Failure {
	err := w.Host.Room()
	if err == nil {
		return nil
	}
	return jobs.Fail(jobs.KindDiskFull, err, "ask the operator to make room on the host", "%s while the build host's disk was full", ended)
}

// shortage tells whether the engine's disk is short of room.
func (w *Worker) shortage() (s diskroom.Shortage, short bool) {
	short = errors.As(w.Host.Room(), &s) && s.Engine
	return s, short
}

// lookAtWriters ends the containers that are over their limits, and returns which of
// the others wrote most. Those without a limit count only while all are asked for.
func (w *Worker) lookAtWriters(ctx context.Context, all bool) (most *writer, written jobs.Bytes) {
	w.mu.Lock()
	due := map[string]*writer{}
	for id, c := range w.writers {
		if all || c.limit > 0 && !time.Now().Before(c.next) {
			due[id] = c
		}
	}
	w.mu.Unlock()
	for id, c := range due {
		began := time.Now()
		n, err := w.written(ctx, id)
		c.next = time.Now().Add(diskShare * time.Since(began))
		switch {
		case err != nil: // it may have ended meanwhile
			w.log.DebugContext(ctx, "measure what a container wrote failed", "container_id", id, "err", err)
		case c.limit > 0 && n > c.limit:
			c.end(overDisk{n, c.limit})
		case n > written:
			most, written = c, n
		}
	}
	return most, written
}

func (w *Worker) written(ctx context.Context, container string) (jobs.Bytes, error) {
	ctx, cancel := context.WithTimeout(ctx, writtenTime)
	defer cancel()
	n, err := w.Engine.Written(ctx, container)
	return jobs.Bytes(n), err
}

// wroteTooMuch is the failure of a container that has ended and was over its limit, or
// failed on a disk that it filled itself; nil otherwise.
func (a *attempt) wroteTooMuch(ctx context.Context, failed bool) error {
	limit := a.w.diskLimit(a.job)
	shortage, short := diskroom.Shortage{}, false
	if failed {
		shortage, short = a.w.shortage()
	}
	if limit == 0 && !short {
		return nil
	}
	n, err := a.w.written(ctx, a.container().ID)
	switch {
	case err != nil:
		a.log.WarnContext(ctx, "measure what the container wrote failed", "err", err)
	case limit > 0 && n > limit:
		return a.quote(overDisk{n, limit}.failure(jobs.StageRun, nil))
	case short && uint64(n) > shortage.Room.Least(): // it is not negative
		return a.quote(overDisk{written: n}.failure(jobs.StageRun, nil))
	}
	return nil
}
