package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/systemd"
)

// seen is a worker that looks as a test says.
type seen struct {
	busy                   int
	unfit, ordered, taking error
	ending                 bool
}

func (s *seen) Busy() (busy, slots int) { return s.busy, 4 }
func (s *seen) Unfit() error            { return s.unfit }
func (s *seen) Ordered() error          { return s.ordered }
func (s *seen) Taking() error           { return s.taking }
func (s *seen) Ending() bool            { return s.ending }

func TestConditionOf(t *testing.T) {
	t.Parallel()
	full, early, out := errors.New("no room"), errors.New("it has just started"), errors.New("cordon by ann")
	for _, tt := range []struct {
		name     string
		w        seen
		stopping bool
		want     systemd.Condition
	}{
		{"it recovers", seen{taking: early}, false, systemd.Condition{Phase: systemd.Starting, Text: "takes no jobs: it has just started"}},
		{"it recovers, and knows what is wrong", seen{unfit: full, taking: early}, false, systemd.Condition{Phase: systemd.Up, Text: "takes no jobs: no room"}},
		{"it takes jobs", seen{busy: 1}, false, systemd.Condition{Phase: systemd.Up, Text: "takes jobs: 1 of 4 slots busy"}},
		{"it is unfit", seen{unfit: full}, false, systemd.Condition{Phase: systemd.Up, Text: "takes no jobs: no room"}},
		{"it is out of the farm", seen{ordered: out, busy: 1}, false, systemd.Condition{Phase: systemd.Up, Text: "takes no jobs: cordon by ann: 1 of 4 slots busy"}},
		{"it has a signal", seen{busy: 2, unfit: full}, true, systemd.Condition{Phase: systemd.Ending, Text: "drains: 2 of 4 slots busy"}},
		{"an operator drains it", seen{busy: 2, ending: true}, false, systemd.Condition{Phase: systemd.Ending, Text: "drains: 2 of 4 slots busy"}},
	} {
		if got := conditionOf(&tt.w, tt.stopping); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// heard is a watcher that counts.
type heard struct {
	count int
	last  systemd.Condition
}

func (*heard) Up() {}

func (h *heard) Is(_ context.Context, c systemd.Condition) {
	h.count++
	h.last = c
}

// The watcher hears how the worker is at once, each second, and at its end.
func TestTellCondition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		over, end := context.WithTimeout(t.Context(), 2*tellEvery+time.Millisecond)
		defer end()
		h := &heard{}
		stop()
		tellCondition(ctx, over, h, &seen{})
		if h.count != 3 || h.last.Phase != systemd.Ending {
			t.Errorf("heard %d times, last %q; want three times, and that it ends", h.count, h.last)
		}
	})
}
