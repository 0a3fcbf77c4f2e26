package seat

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options of a Holder; the zero value works.
type Options struct {
	// Worker is the name of this process for people.
	Worker string
	// Lease is how long this process may be silent before its jobs are given away.
	Lease time.Duration
	// Machine is where this process runs, [ThisMachine] when zero.
	Machine Machine
}

// Holder takes and keeps the seat of a directory's host for this process. It is safe
// for concurrent use.
type Holder struct {
	log   *slog.Logger
	dir   *Directory
	seats jobs.Seats
	opts  Options

	// deciding holds a token during a decision, which may wait for an answer. The
	// decision alone touches what follows, and changes the directory.
	deciding chan struct{}
	// silent is the nonce of a holder that did not answer a call, asked when that was.
	silent string
	asked  time.Time
	// gone is why the identity is not this process's; it stays.
	gone error

	mu   sync.Mutex // guards mine
	mine jobs.Seat  // the seat that this process took, zero before
}

// New makes a Holder. A nil logger is silent.
func New(lg *slog.Logger, dir *Directory, seats jobs.Seats, opts Options) *Holder {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if opts.Machine.Lives == nil {
		opts.Machine = ThisMachine()
	}
	return &Holder{log: lg, dir: dir, seats: seats, opts: opts, deciding: make(chan struct{}, 1)}
}

// Check finds out whether the directory's identity is this process's to take, as far
// as that can be told before the engine answers. [jobs.ErrDisplaced] means that it
// is not: the directory has a new one then, for a new Holder. Another error says
// nothing; call it again.
func (h *Holder) Check(ctx context.Context) error {
	h.deciding <- struct{}{}
	defer func() { <-h.deciding }()
	_, err := h.decide(ctx, "")
	return err
}

// Take takes the seat for a host whose engine has the ID daemon. The errors are
// those of Check.
func (h *Holder) Take(ctx context.Context, daemon string) error {
	h.deciding <- struct{}{}
	defer func() { <-h.deciding }()
	for {
		seat, err := h.decide(ctx, daemon)
		if err != nil {
			return err
		}
		next := incarnation{
			Host: h.dir.host, Turn: max(seat.Turn, h.dir.last.Turn) + 1, Nonce: rand.Text(), Daemon: daemon,
			Process: h.opts.Machine.Self, Lock: h.dir.lockID(),
		}
		if err := h.dir.remember(next); err != nil {
			return err
		}
		mine := jobs.Seat{Host: next.Host, Worker: h.opts.Worker, Nonce: next.Nonce, Turn: next.Turn, Daemon: daemon, Lease: h.opts.Lease}
		now, err := h.seats.TakeSeat(ctx, mine, seat.Nonce)
		if err != nil {
			return err
		}
		if now.Nonce == mine.Nonce {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.mine = mine
			return nil
		} // another process was quicker
	}
}

// decide returns the seat as it was when it was found to be this process's to take.
func (h *Holder) decide(ctx context.Context, daemon string) (jobs.Seat, error) {
	if h.gone != nil {
		return jobs.Seat{}, h.gone
	}
	e := evidence{last: h.dir.last, made: h.dir.made, daemon: daemon, machine: h.opts.Machine, lock: h.dir.lockID()}
	// This much is known without Redis, and what a worker does while it has none
	// would be done to the original.
	if e.besideOriginal() {
		_, why := e.verdict()
		return jobs.Seat{}, h.displaced(ctx, why)
	}
	var err error
	if e.seat, _, err = h.seats.Seat(ctx, h.dir.host); err != nil {
		return jobs.Seat{}, err
	}
	v, why := e.verdict()
	if v == unsure {
		mark := h.dir.readMark()
		answers, err := h.call(ctx, e.seat)
		if err != nil {
			return jobs.Seat{}, err
		}
		if answers && h.dir.readMark() != mark {
			return jobs.Seat{}, fmt.Errorf("%w: worker %s uses %s from another machine or container; give each worker its own with --state",
				jobs.ErrShared, e.seat.Worker, h.dir.path)
		}
		if answers {
			v, why = others, fmt.Sprintf("worker %s is at work as this host, and answers", e.seat.Worker)
		}
	}
	if v == others {
		return jobs.Seat{}, h.displaced(ctx, why)
	}
	return e.seat, nil
}

// memoryOfSilence is how long a call without an answer need not be repeated.
const memoryOfSilence = 10 * time.Second

// call asks whether the seat's holder lives. One that was not there a moment ago is
// not asked again.
func (h *Holder) call(ctx context.Context, seat jobs.Seat) (answers bool, err error) {
	if !h.asked.IsZero() && h.silent == seat.Nonce && time.Since(h.asked) < memoryOfSilence {
		return false, nil
	}
	h.log.InfoContext(ctx, "asked whether another worker is this host", "host", h.dir.host)
	if answers, err = jobs.Answers(ctx, h.seats, h.dir.host, jobs.AnswerTime); err == nil && !answers {
		h.silent, h.asked = seat.Nonce, time.Now()
	}
	return answers, err
}

// displaced gives the directory a new identity, because the one it has is another
// host's. The error is ErrDisplaced once that is done.
func (h *Holder) displaced(ctx context.Context, why string) error {
	was := h.dir.host
	aside, err := h.dir.renew()
	if err != nil {
		return fmt.Errorf("%s: %w", why, err)
	}
	h.log.WarnContext(ctx, "took a new identity", "reason", why, "host", h.dir.host, "was", was, "put_aside", aside)
	h.gone = fmt.Errorf("%w: %s", jobs.ErrDisplaced, why)
	return h.gone
}

// Keep says that this process lives and has the seat. [jobs.ErrDisplaced] means that
// it has it no more, or that the state directory is gone from its place. Before the
// seat is taken there is nothing to keep.
func (h *Holder) Keep(ctx context.Context) error {
	mine := h.held()
	if mine.Nonce == "" {
		return nil
	}
	if h.dir.replaced() {
		return fmt.Errorf("%w: the state directory %s was removed or replaced while this worker used it", jobs.ErrDisplaced, h.dir.path)
	}
	// Before the answer: who called looks at the mark when it has one.
	if err := h.dir.mark(); err != nil {
		h.log.WarnContext(ctx, "writing to the state directory failed", "err", err)
	}
	seat, err := h.seats.KeepSeat(ctx, mine.Host, mine.Nonce)
	// Redis may have lost that the seat was taken.
	if err == nil && seat.Nonce != mine.Nonce && (seat.Nonce == "" || seat.Turn < mine.Turn) {
		seat, err = h.seats.TakeSeat(ctx, mine, seat.Nonce)
	}
	if err == nil && seat.Nonce != mine.Nonce {
		err = fmt.Errorf("%w: worker %s took it at %s", jobs.ErrDisplaced, seat.Worker, seat.Taken.Format(time.RFC3339))
	}
	return err
}

func (h *Holder) held() jobs.Seat {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mine
}

// Leave says that this process ends in order.
func (h *Holder) Leave(ctx context.Context) error {
	mine := h.held()
	if mine.Nonce == "" {
		return nil
	}
	return h.seats.LeaveSeat(ctx, mine.Host, mine.Nonce)
}
