package jobstest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestSeats holds a database to what is promised of the seats of hosts.
func TestSeats(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"take", testTakeSeat},
		{"take at once", testTakeSeatAtOnce},
		{"keep and leave", testKeepSeat},
		{"seats without a holder are forgotten", testSeatForgotten},
		{"call", testCallHost},
	})
}

// seated is a seat with something in every field that a holder sets.
func seated(nonce string, turn int) jobs.Seat {
	return jobs.Seat{Host: host, Worker: "one \u00e4", Nonce: nonce, Turn: turn, Daemon: "ID:1 /var/lib/docker", Lease: 90 * time.Second}
}

func (f *farm) take(s jobs.Seat, from string) jobs.Seat {
	f.t.Helper()
	got, err := f.Seats.TakeSeat(f.ctx, s, from)
	if err != nil {
		f.t.Fatalf("TakeSeat: %v", err)
	}
	return got
}

// seat returns the seat and Redis time.
func (f *farm) seat() (jobs.Seat, time.Time) {
	f.t.Helper()
	s, now, err := f.Seats.Seat(f.ctx, host)
	if err != nil {
		f.t.Fatalf("Seat: %v", err)
	}
	return s, now
}

func (f *farm) keep(nonce string) jobs.Seat {
	f.t.Helper()
	s, err := f.Seats.KeepSeat(f.ctx, host, nonce)
	if err != nil {
		f.t.Fatalf("KeepSeat: %v", err)
	}
	return s
}

func testTakeSeat(f *farm) {
	free, _ := f.seat()
	f.same("a free seat", free, jobs.Seat{Host: host})
	f.same("the seat after a try under a nonce that no worker has", f.take(seated("n1", 1), "n0"), jobs.Seat{Host: host})
	first := f.take(seated("n1", 1), "")
	s, now := f.seat()
	f.near("taken", s.Taken, now, 0)
	f.same("the seat that was taken", s, first)
	want := seated("n1", 1)
	want.Taken, want.Seen = s.Taken, s.Taken
	f.same("the seat that was taken", s, want)

	f.same("the seat when it is taken again", f.take(seated("n1", 1), ""), first)
	f.same("the seat when another one takes it for free", f.take(seated("n2", 2), ""), first)
	second := f.take(seated("n2", 2), "n1")
	if second.Nonce != "n2" || second.Turn != 2 {
		f.t.Errorf("seat %+v; want it taken over", second)
	}
	f.same("the seat when its first holder takes it again", f.take(seated("n1", 1), ""), second)
}

// Of many that take a seat at once, one has it.
func testTakeSeatAtOnce(f *farm) {
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			s, err := f.Seats.TakeSeat(f.ctx, seated(string(rune('a'+i)), 1), "")
			if err != nil {
				f.t.Errorf("TakeSeat: %v", err)
			}
			got[i] = s.Nonce
		})
	}
	wg.Wait()
	s, _ := f.seat()
	for i, nonce := range got {
		if nonce != s.Nonce || nonce == "" {
			f.t.Errorf("caller %d got the seat of %q; want %q", i, nonce, s.Nonce)
		}
	}
}

func testKeepSeat(f *farm) {
	f.same("a free seat that is kept", f.keep("n1"), jobs.Seat{Host: host})
	taken := f.take(seated("n1", 1), "")
	f.outwait(time.Minute)
	f.same("the seat that another one keeps", f.keep("n0"), taken)
	kept := f.keep("n1")
	if kept.Seen.Before(taken.Seen) || f.Advance != nil && !kept.Seen.After(taken.Seen) {
		f.t.Errorf("taken %+v, kept %+v; want it seen later", taken, kept)
	}
	f.same("what the holder is told", kept, jobs.Seat{Host: host, Nonce: "n1", Seen: kept.Seen})
	taken.Seen = kept.Seen
	now, _ := f.seat()
	f.same("the seat that was kept", now, taken)
	for _, nonce := range []string{"n0", "n1"} {
		if err := f.Seats.LeaveSeat(f.ctx, host, nonce); err != nil {
			f.t.Fatalf("LeaveSeat: %v", err)
		}
		if s, _ := f.seat(); s.Nonce != "n1" || s.Left.IsZero() != (nonce == "n0") {
			f.t.Errorf("seat %+v after %s left; want it left by n1 alone", s, nonce)
		}
	}
	if s := f.take(seated("n2", 2), "n1"); s.Nonce != "n2" || !s.Left.IsZero() {
		f.t.Errorf("seat %+v; want it taken", s)
	}
}

func testSeatForgotten(f *farm) {
	if f.Advance == nil {
		f.t.Skip("the clock cannot be moved")
	}
	f.take(seated("n1", 1), "")
	f.Advance(jobs.SeatForgotten - time.Minute)
	f.keep("n1")
	f.Advance(jobs.SeatForgotten - time.Minute)
	if s, _ := f.seat(); s.Nonce != "n1" {
		f.t.Errorf("seat %+v; want it kept", s)
	}
	f.Advance(2 * time.Minute)
	free, _ := f.seat()
	f.same("the seat after a long silence", free, jobs.Seat{Host: host})
}

// A holder hears that it is called, and its answer is seen.
func testCallHost(f *farm) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	f.take(seated("n1", 1), "")
	if ok, err := jobs.Answers(ctx, f.Seats, host, 100*time.Millisecond); ok || err != nil {
		f.t.Errorf("no worker listens: answered %t, %v", ok, err)
	}
	heard := f.Claims.Cancellations(ctx)
	go func() {
		for name := range heard {
			if name == host {
				if f.Advance != nil {
					f.Advance(time.Second)
				}
				_, _ = f.Seats.KeepSeat(ctx, host, "n1") // Answers tells whether it arrived
			}
		}
	}()
	f.eventually("the holder answers", func() bool {
		ok, err := jobs.Answers(ctx, f.Seats, host, time.Second)
		return ok && err == nil
	})
}
