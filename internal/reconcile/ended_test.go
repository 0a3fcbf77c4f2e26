package reconcile_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/reconcile"
)

// Who calls webhooks is woken for jobs that have ended and for calls that have not, and for
// nothing else.
func TestCallsAreWoken(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	woken := 0
	r := reconcile.New(nil, f.DB, f.queue, "caller", reconcile.Options{Readers: map[string]func(){jobs.CallsReader: func() { woken++ }}})
	pass := func(want int) {
		t.Helper()
		f.move(20 * time.Second) // the one of the farm leads no more
		woken = 0
		if err := r.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if woken != want {
			t.Errorf("woken %d times; want %d", woken, want)
		}
	}
	pass(1) // before jobs are forgotten it asks no question
	pass(0)
	f.built(t, "1", "app")
	pass(1)
	p, err := f.Ended(t.Context(), jobs.CallsReader, 10)
	if err != nil {
		t.Fatal(err)
	}
	call := jobs.HookCall{ID: "msg_1", Hook: "ci", Job: "1"}
	if mine, _, err := f.EndedCalls(t.Context(), jobs.CallsReader, "n", p, call); err != nil || !mine {
		t.Fatal(mine, err)
	}
	pass(1)
	calls, err := f.TakeCalls(t.Context(), call.Endpoint(), 1, time.Minute)
	if err != nil || len(calls) != 1 {
		t.Fatalf("took %+v, %v", calls, err)
	}
	pass(1)
	calls[0].State, calls[0].Last = jobs.CallDelivered, calls[0].Taken
	if kept, _, err := f.KeepCall(t.Context(), calls[0]); err != nil || !kept {
		t.Fatal(kept, err)
	}
	pass(0)
}
