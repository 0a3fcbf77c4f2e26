package webhooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// Whatever goes wrong, at whichever step between the end of a job and the log of its call:
// each call is delivered at least once, with a signature that holds, and those of one job in
// their order.
func TestEachStepGoesWrong(t *testing.T) {
	t.Parallel()
	for _, fault := range []fault{diesBefore, diesAfter, failsBefore, failsAfter, forgets} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			hit := map[string]int{}
			at := 1
			for ; ; at++ {
				what := ""
				if !t.Run(fmt.Sprint("step ", at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { what = goWrong(t, at, fault) })
				}) {
					return
				}
				if what == "" {
					break
				}
				name, _, _ := strings.Cut(what, " ")
				hit[name]++
			}
			for _, name := range []string{"CallTurn", "Unread", "Ended", "Webhooks", "EndedCalls", "DueEndpoints", "TakeCalls", "POST", "KeepCall"} {
				if hit[name] == 0 {
					t.Errorf("no %s went wrong", name)
				}
			}
			if at < 60 {
				t.Errorf("%d steps; want more", at)
			}
			t.Logf("%d steps went wrong: %v", at-1, hit)
		})
	}
}

// goWrong is one run in which a step goes wrong. It returns which, "" when there were not so
// many steps.
func goWrong(t *testing.T, at int, fault fault) string {
	f := newFarm(t, ci())
	tried := map[string]bool{}
	var mu sync.Mutex
	f.answer = func(_ int, g got) *http.Response { // it accepts no call at first
		mu.Lock()
		defer mu.Unlock()
		if !tried[g.id] {
			tried[g.id] = true
			return answer(http.StatusInternalServerError, "")
		}
		return answer(http.StatusOK, "")
	}
	addLine(t, f, "job-1", "a", "b", "c")
	f.end("job-1", jobs.Spec{}, failed()) // its own call comes behind those
	f.end("job-2", jobs.Spec{}, succeeded())
	ctx, die := context.WithCancel(t.Context())
	s := &steps{at: at, fault: fault, die: die, snapshot: f.Snapshot}
	d := stepping{f.Memory, f.Memory, f.Memory, s}
	var first sync.WaitGroup
	first.Go(func() {
		webhooks.New(nil, webhooks.Deps{Endings: d, Webhooks: hooksOf{d}, Calls: d, Sender: senderTo(steppingTo{f.receiver, s})},
			webhooks.Options{Nonce: "first", Farm: "one", Every: time.Second, Rand: func() float64 { return 0.5 }}).Run(ctx)
	})
	f.settle(func() bool { return ctx.Err() != nil })
	die()
	first.Wait()
	if s.hit() != "" {
		stop := f.run()
		f.settle(func() bool { return false })
		stop()
	}
	checkCalls(t, f.log(), 5)
	checkDeliveries(t, f.requests(), 5)
	if fault != forgets { // what Redis has forgotten is made again
		checkOrder(t, f.requests(), "a", "b", "c", "job-1")
	}
	return s.hit()
}

// settle waits until five calls are delivered, or for ten minutes.
func (f *farm) settle(over func() bool) {
	for range 600 {
		delivered := 0
		for _, c := range f.log() {
			if c.State == jobs.CallDelivered {
				delivered++
			}
		}
		if delivered == 5 || over() {
			return
		}
		time.Sleep(time.Second)
	}
}

// addLine adds calls of a job, each with the name of its event as its subject.
func addLine(t *testing.T, calls jobs.HookCalls, job string, names ...string) {
	t.Helper()
	for _, name := range names {
		raw, err := json.Marshal(map[string]any{
			"specversion": "1.0", "id": "msg_" + name, "source": "test", "type": "test", "subject": name, "datacontenttype": "application/json",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := calls.AddCalls(t.Context(), jobs.HookCall{ID: "msg_" + name, Hook: "ci", Type: "test", Job: job, Event: raw}); err != nil {
			t.Fatal(err)
		}
	}
}

// checkCalls checks that the log has so many calls, all delivered.
func checkCalls(t *testing.T, log []jobs.HookCall, want int) {
	t.Helper()
	if len(log) != want {
		t.Errorf("the log has %d calls; want %d", len(log), want)
	}
	for _, c := range log {
		if c.State != jobs.CallDelivered {
			t.Errorf("call %s of %s is %s after %d tries: %s", c.ID, c.Job, c.State, c.Tries, c.Said)
		}
	}
}

// checkDeliveries checks that so many different calls were accepted.
func checkDeliveries(t *testing.T, all []got, want int) {
	t.Helper()
	accepted := map[string]bool{}
	for _, g := range all {
		if g.answered < 300 {
			accepted[g.id] = true
		}
	}
	if len(accepted) != want {
		t.Errorf("%d calls were accepted; want %d", len(accepted), want)
	}
}

// checkOrder checks that the calls with these subjects came in their order: none before the
// one ahead of it was accepted, and none again after one behind it came.
func checkOrder(t *testing.T, all []got, subjects ...string) {
	t.Helper()
	accepted, last := map[string]bool{}, 0
	for _, g := range all {
		place := slices.Index(subjects, g.event["subject"].(string))
		if place < 0 {
			continue
		}
		if place < last || place > 0 && !accepted[subjects[place-1]] {
			t.Errorf("%s came in place %d; accepted were %v", subjects[place], last, accepted)
		}
		last = place
		if g.answered < 300 {
			accepted[subjects[place]] = true
		}
	}
}
