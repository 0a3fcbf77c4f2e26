package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestHostStateOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ending, unfit bool
		order         jobs.OrderKind
		running       int
		want          jobs.HostState
	}{
		{want: jobs.HostReady},
		{running: 2, want: jobs.HostReady},
		{unfit: true, want: jobs.HostUnfit},
		{order: jobs.OrderCordon, running: 2, want: jobs.HostCordoned},
		{order: jobs.OrderCordon, unfit: true, want: jobs.HostCordoned},
		{order: jobs.OrderDrain, running: 1, want: jobs.HostDraining},
		{order: jobs.OrderDrain, want: jobs.HostDrained},
		{order: jobs.OrderDrain, unfit: true, want: jobs.HostDrained},
		{order: "of a later version", want: jobs.HostCordoned},
		{ending: true, want: jobs.HostDraining},
		{ending: true, unfit: true, order: jobs.OrderCordon, want: jobs.HostDraining},
	} {
		if got := jobs.HostStateOf(tt.ending, tt.unfit, jobs.HostOrder{Kind: tt.order}, tt.running); got != tt.want {
			t.Errorf("%+v: the host is %s", tt, got)
		}
	}
}

func TestOrderHandsBack(t *testing.T) {
	t.Parallel()
	given := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	minute := jobs.Duration(time.Minute)
	for _, tt := range []struct {
		order jobs.HostOrder
		at    time.Time
	}{
		{order: jobs.HostOrder{}},
		{order: jobs.HostOrder{Kind: jobs.OrderDrain, Since: given}},
		{order: jobs.HostOrder{Kind: jobs.OrderCordon, Since: given, Timeout: &minute}},
		{jobs.HostOrder{Kind: jobs.OrderDrain, Since: given, Timeout: new(jobs.Duration)}, given},
		{jobs.HostOrder{Kind: jobs.OrderDrain, Since: given, Timeout: &minute}, given.Add(time.Minute)},
	} {
		if at, ok := tt.order.HandsBack(); !at.Equal(tt.at) || ok != !tt.at.IsZero() {
			t.Errorf("%+v hands back at %s, %t; want %s", tt.order, at, ok, tt.at)
		}
	}
}
