package jobstest

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Seat implements jobs.Seats.
func (m *Memory) Seat(ctx context.Context, host string) (jobs.Seat, time.Time, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Seat{}, time.Time{}, err
	}
	defer m.mu.Unlock()
	return m.seat(host), m.clock.now(), nil
}

// seat is the seat of a host as it is now. The caller holds the lock.
func (m *Memory) seat(host string) jobs.Seat {
	s := m.seats[host]
	if m.clock.now().Sub(s.Seen) > jobs.SeatForgotten {
		return jobs.Seat{Host: host}
	}
	return s
}

// TakeSeat implements jobs.Seats.
func (m *Memory) TakeSeat(ctx context.Context, s jobs.Seat, from string) (jobs.Seat, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Seat{}, err
	}
	defer m.mu.Unlock()
	if have := m.seat(s.Host); have.Nonce == s.Nonce || have.Nonce != from {
		return have, nil
	}
	s.Taken = m.clock.now()
	s.Seen, s.Left = s.Taken, time.Time{}
	m.seats[s.Host] = s
	return s, nil
}

// KeepSeat implements jobs.Seats.
func (m *Memory) KeepSeat(ctx context.Context, host, nonce string) (jobs.Seat, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Seat{}, err
	}
	defer m.mu.Unlock()
	s := m.keepSeat(host, nonce, false)
	if s.Nonce == nonce && nonce != "" {
		s = jobs.Seat{Host: s.Host, Nonce: s.Nonce, Seen: s.Seen}
	}
	return s, nil
}

// LeaveSeat implements jobs.Seats.
func (m *Memory) LeaveSeat(ctx context.Context, host, nonce string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.keepSeat(host, nonce, true)
	return nil
}

func (m *Memory) keepSeat(host, nonce string, leave bool) jobs.Seat {
	s := m.seat(host)
	if s.Nonce == "" || s.Nonce != nonce {
		return s
	}
	s.Seen = m.clock.now()
	if leave {
		s.Left = s.Seen
	}
	m.seats[host] = s
	return s
}

// CallHost implements jobs.Seats.
func (m *Memory) CallHost(ctx context.Context, host string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.hint(host)
	return nil
}
