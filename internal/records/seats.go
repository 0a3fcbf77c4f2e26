package records

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Seat implements jobs.Seats.
func (db *DB) Seat(ctx context.Context, host string) (jobs.Seat, time.Time, error) {
	fields, err := db.rdb.HGetAll(ctx, seatKey(host)).Result()
	if err != nil {
		return jobs.Seat{}, time.Time{}, fmt.Errorf("read the seat of host %s: %w", host, err)
	}
	now, err := db.Now(ctx) // not before the times that were read
	return decodeSeat(host, fields), now, err
}

// TakeSeat implements jobs.Seats.
func (db *DB) TakeSeat(ctx context.Context, seat jobs.Seat, from string) (jobs.Seat, error) {
	return db.seatNow(ctx, db.scripts.takeSeat, seat.Host, "take",
		from, seat.Nonce, seat.Turn, seat.Worker, seat.Daemon, seat.Lease.Microseconds(), jobs.SeatForgotten.Milliseconds())
}

// KeepSeat implements jobs.Seats.
func (db *DB) KeepSeat(ctx context.Context, host, nonce string) (jobs.Seat, error) {
	return db.seatNow(ctx, db.scripts.keepSeat, host, "keep", nonce, flag(false), jobs.SeatForgotten.Milliseconds())
}

// LeaveSeat implements jobs.Seats.
func (db *DB) LeaveSeat(ctx context.Context, host, nonce string) error {
	_, err := db.seatNow(ctx, db.scripts.keepSeat, host, "leave", nonce, flag(true), jobs.SeatForgotten.Milliseconds())
	return err
}

// CallHost implements jobs.Seats.
func (db *DB) CallHost(ctx context.Context, host string) error {
	return wrapped("call host "+host, db.rdb.Publish(ctx, cancelChannel, host).Err())
}

// seatNow runs a script on a seat and returns the seat as it is then.
func (db *DB) seatNow(ctx context.Context, script *redis.Script, host, verb string, args ...any) (jobs.Seat, error) {
	reply, err := script.Run(ctx, db.rdb, []string{seatKey(host)}, args...).StringSlice()
	if err != nil {
		return jobs.Seat{}, fmt.Errorf("%s the seat of host %s: %w", verb, host, err)
	}
	fields := map[string]string{}
	for i := 0; i+1 < len(reply); i += 2 {
		fields[reply[i]] = reply[i+1]
	}
	return decodeSeat(host, fields), nil
}

func decodeSeat(host string, fields map[string]string) jobs.Seat {
	number := func(field string) int64 {
		n, _ := strconv.ParseInt(fields[field], 10, 64)
		return n
	}
	at := func(field string) time.Time {
		if us := number(field); us != 0 {
			return time.UnixMicro(us).UTC()
		}
		return time.Time{}
	}
	return jobs.Seat{
		Host: host, Worker: fields["worker"], Nonce: fields["nonce"], Turn: int(number("turn")), Daemon: fields["daemon"],
		Lease: time.Duration(number("lease")) * time.Microsecond, Taken: at("taken"), Seen: at("seen"), Left: at("left"),
	}
}
