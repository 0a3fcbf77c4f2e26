package jobs

import (
	"context"
	"errors"
	"time"
)

// ErrDisplaced says that the identity of a host is another process's: the caller cannot
// use it (any more).
var ErrDisplaced = errors.New("this host's identity belongs to another worker")

// ErrShared says that another worker uses the same state directory, from where its
// lock does not keep this one out.
var ErrShared = errors.New("the state directory is another worker's, too")

// ErrOtherFarm says that a worker knows the farm by another name than it has.
var ErrOtherFarm = errors.New("another farm")

// Seat says which process is a build host to the farm. There is one seat for each
// identity, so of two processes with copies of one identity only one can have it.
type Seat struct {
	// Host is the identity in the state directory, Worker is for people.
	Host, Worker string
	// Nonce is the holder's, "" when the seat is free. Turn grows with every
	// holder, so that of two seats of a host it is known which came later.
	Nonce string
	Turn  int
	// Daemon is the ID of the engine that has the host's containers.
	Daemon string
	// Lease is how long the holder may be silent before its jobs are given away.
	Lease time.Duration
	// Taken is when the holder took the seat, Seen when it last kept it, and Left
	// when it ended in order, zero if it has not: all on Redis time.
	Taken, Seen, Left time.Time
}

// SeatForgotten is after how long a seat is free that its holder does not keep.
const SeatForgotten = HostForgotten

// Seats keeps the seats. All methods are safe for concurrent use.
type Seats interface {
	// Seat returns the seat of a host, and Redis time to compare its times
	// with. A free seat has a Host and nothing else.
	Seat(ctx context.Context, host string) (s Seat, now time.Time, err error)
	// TakeSeat makes s.Nonce the holder if the seat is still held under the nonce
	// from, "" for a free one. It returns the seat as it is then: the caller has
	// it if the nonce is its own. Redis sets the times. Taking a seat again
	// that one has changes nothing.
	TakeSeat(ctx context.Context, s Seat, from string) (Seat, error)
	// KeepSeat records that the holder is alive, and returns Host, Nonce and Seen of
	// the seat. For a caller that is not the holder it changes nothing, and returns the
	// whole seat.
	KeepSeat(ctx context.Context, host, nonce string) (Seat, error)
	// LeaveSeat records that the holder ends in order. For a caller that is not the
	// holder it changes nothing.
	LeaveSeat(ctx context.Context, host, nonce string) error
	// CallHost asks the holder to keep its seat at once. It hears of that through
	// [Claims.Cancellations], where hints can be lost.
	CallHost(ctx context.Context, host string) error
}

// Caller is what [Answers] needs of [Seats].
type Caller interface {
	Seat(ctx context.Context, host string) (s Seat, now time.Time, err error)
	CallHost(ctx context.Context, host string) error
}

// AnswerTime is how long a living holder has to answer a call: many times what it
// needs, so that a moment of load is not taken for its end.
const AnswerTime = 3 * time.Second

// Answers calls the holder of a host's seat and reports whether it keeps the seat
// within the time. A store that fails now and then costs neither an answer nor a
// silence; an error says nothing about the holder.
func Answers(ctx context.Context, seats Caller, host string, within time.Duration) (bool, error) {
	const looks, looksPerCall = 30, 6
	var before Seat
	known, failed := false, 0
	for i := range looks + 1 {
		now, _, err := seats.Seat(ctx, host)
		switch {
		case err != nil:
			failed++
		case !known:
			before, known = now, true
		case now.Nonce != before.Nonce || now.Seen.After(before.Seen):
			return true, nil
		}
		if i%looksPerCall == 0 && i < looks {
			if callErr := seats.CallHost(ctx, host); callErr != nil {
				err, failed = callErr, failed+looksPerCall/2
			}
		}
		if failed > looks/3 {
			return false, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(within / (looks + 1)):
		}
	}
	return false, nil
}
