package jobs_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// line is a store to which some looks and calls do not get through.
type line struct {
	seat         jobs.Seat
	answers      bool
	looks, calls int
	fails        func(look, call int) error
}

func (l *line) Seat(context.Context, string) (jobs.Seat, time.Time, error) {
	l.looks++
	return l.seat, time.Now(), l.fails(l.looks, 0)
}

func (l *line) CallHost(context.Context, string) error {
	l.calls++
	if err := l.fails(0, l.calls); err != nil {
		return err
	}
	if l.answers {
		l.seat.Seen = l.seat.Seen.Add(time.Millisecond)
	}
	return nil
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for _, tt := range []struct {
		name    string
		fails   func(look, call int) error
		answers bool
		err     bool
		took    time.Duration // of a silence, or of an answer
	}{
		{"a holder", func(int, int) error { return nil }, true, false, 100 * time.Millisecond},
		{"no holder", func(int, int) error { return nil }, false, false, jobs.AnswerTime},
		{"a holder, and every fourth look fails", func(look, _ int) error {
			if look > 0 && look%4 == 1 {
				return away
			}
			return nil
		}, true, false, 2 * time.Second},
		{"no holder, and every fourth look fails", func(look, _ int) error {
			if look > 0 && look%4 == 1 {
				return away
			}
			return nil
		}, false, false, jobs.AnswerTime},
		{"a holder that hears the third call", func(_, call int) error {
			if call == 1 || call == 2 {
				return away
			}
			return nil
		}, true, false, 2 * time.Second},
		{"a store that is away", func(int, int) error { return away }, true, true, 2 * time.Second},
		{"a store that takes no calls", func(_, call int) error {
			if call > 0 {
				return away
			}
			return nil
		}, false, true, jobs.AnswerTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ok, err := jobs.Answers(t.Context(), &line{answers: tt.answers, fails: tt.fails}, "h", jobs.AnswerTime)
				if want := tt.answers && !tt.err; ok != want || (err != nil) != tt.err {
					t.Errorf("answers: %t, %v; want %t", ok, err, want)
				}
				if took := time.Since(began); took > tt.took || took == 0 {
					t.Errorf("it took %s, want %s at most", took, tt.took)
				}
			})
		})
	}
}
