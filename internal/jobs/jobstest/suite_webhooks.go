package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestWebhooks checks a database for what users of webhooks and their calls are promised.
func TestWebhooks(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"webhooks are kept by their names", testKeepWebhooks},
		{"two changes of a webhook at once both count", testChangeWebhooksAtOnce},
		{"calls that are added again change nothing", testAddCallsAgain},
		{"calls of ended jobs are added with the cursor", testEndedCalls},
		{"calls that have not ended are something to do", testCallsLeft},
		{"a call that is taken is due again after a while", testTakeCalls},
		{"calls of one job keep their order", testCallOrder},
		{"endpoints do not stand before each other", testEndpoints},
		{"calls that are given up in a row are counted", testGivenUp},
		{"the log keeps the newest calls", testCallLog},
		{"a call that has ended is delivered again", testRedeliver},
		{"one calls at a time", testCallTurn},
	})
}

func hook(name string) jobs.Webhook {
	return jobs.Webhook{
		Name: name, URL: "https://ci.example.com/" + name, Secrets: []string{"ci"}, By: "ada",
		Only: jobs.HookFilter{States: []jobs.State{jobs.Failed}, Labels: map[string]string{"team": "blue"}},
	}
}

func hookCall(id, hook, job string) jobs.HookCall {
	return jobs.HookCall{
		ID: id, Hook: hook, Type: "slipway.job.failed", Job: job, Event: json.RawMessage(`{"id":"` + id + `","text":"\u003c"}`), State: jobs.CallDue,
	}
}

func testKeepWebhooks(f *farm) {
	for _, name := range []string{"two", "one"} {
		if err := f.Webhooks.AddWebhook(f.ctx, hook(name)); err != nil {
			f.t.Fatalf("AddWebhook(%s): %v", name, err)
		}
	}
	if err := f.Webhooks.AddWebhook(f.ctx, hook("one")); !errors.Is(err, jobs.ErrWebhookExists) {
		f.t.Errorf("AddWebhook = %v; want ErrWebhookExists", err)
	}
	disabled := hook("one")
	disabled.Disabled, disabled.DisabledAt = "it is gone", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := f.Webhooks.ChangeWebhook(f.ctx, "one", func(w *jobs.Webhook) error {
		w.Disabled, w.DisabledAt = disabled.Disabled, disabled.DisabledAt
		return nil
	}); err != nil {
		f.t.Fatalf("ChangeWebhook: %v", err)
	}
	if err := f.Webhooks.ChangeWebhook(f.ctx, "one", func(w *jobs.Webhook) error { w.URL = ""; return errRefused }); !errors.Is(err, errRefused) {
		f.t.Errorf("ChangeWebhook = %v; want the error of the change", err)
	}
	f.webhooks(disabled, hook("two"))
	if err := f.Webhooks.RemoveWebhook(f.ctx, "one"); err != nil {
		f.t.Fatalf("RemoveWebhook: %v", err)
	}
	f.webhooks(hook("two"))
	nothing := func(*jobs.Webhook) error { return nil }
	for what, err := range map[string]error{
		"ChangeWebhook": f.Webhooks.ChangeWebhook(f.ctx, "one", nothing), "RemoveWebhook": f.Webhooks.RemoveWebhook(f.ctx, "one"),
	} {
		if !errors.Is(err, jobs.ErrNoWebhook) {
			f.t.Errorf("%s = %v; want ErrNoWebhook", what, err)
		}
	}
	for i := range jobs.MaxWebhooks - 1 {
		if err := f.Webhooks.AddWebhook(f.ctx, hook(fmt.Sprint("more-", i))); err != nil {
			f.t.Fatalf("AddWebhook: %v", err)
		}
	}
	if err := f.Webhooks.AddWebhook(f.ctx, hook("one")); !errors.Is(err, jobs.ErrManyWebhooks) {
		f.t.Errorf("AddWebhook = %v; want ErrManyWebhooks", err)
	}
}

// webhooks fails the test unless exactly these are there.
func (f *farm) webhooks(want ...jobs.Webhook) {
	f.t.Helper()
	got, err := f.Webhooks.Webhooks(f.ctx)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(jobs.Webhook{}, "Created")); err != nil || diff != "" {
		f.t.Errorf("Webhooks, %v (-want +got):\n%s", err, diff)
	}
	for _, w := range got {
		if w.Created.IsZero() {
			f.t.Errorf("%s has no time", w.Name)
		}
	}
}

func testChangeWebhooksAtOnce(f *farm) {
	if err := f.Webhooks.AddWebhook(f.ctx, hook("ci")); err != nil {
		f.t.Fatalf("AddWebhook: %v", err)
	}
	var both sync.WaitGroup
	for _, change := range []func(*jobs.Webhook){func(w *jobs.Webhook) { w.Disabled = "why" }, func(w *jobs.Webhook) { w.URL = "https://other.example.com" }} {
		both.Go(func() {
			if err := f.Webhooks.ChangeWebhook(f.ctx, "ci", func(w *jobs.Webhook) error { change(w); return nil }); err != nil {
				f.t.Errorf("ChangeWebhook: %v", err)
			}
		})
	}
	both.Wait()
	want := hook("ci")
	want.Disabled, want.URL = "why", "https://other.example.com"
	f.webhooks(want)
}

func (f *farm) addCalls(calls ...jobs.HookCall) {
	f.t.Helper()
	if refused, err := f.Calls.AddCalls(f.ctx, calls...); err != nil || refused != 0 {
		f.t.Fatalf("AddCalls: %d refused, %v", refused, err)
	}
}

// takeCalls takes all calls that are due at an endpoint, and fails the test unless they have
// these IDs.
func (f *farm) takeCalls(endpoint string, want ...string) []jobs.HookCall {
	f.t.Helper()
	calls, err := f.DueCalls.TakeCalls(f.ctx, endpoint, 100, f.lease())
	var got []string
	for _, c := range calls {
		got = append(got, c.ID)
	}
	if err != nil || !slices.Equal(got, want) {
		f.t.Fatalf("TakeCalls(%s) = %q, %v; want %q", endpoint, got, err, want)
	}
	return calls
}

// endCall ends a call that was taken.
func (f *farm) endCall(c jobs.HookCall, s jobs.CallState) (givenUp int) {
	f.t.Helper()
	c.State, c.Last, c.Tries = s, c.Taken, c.Tries+1
	kept, givenUp, err := f.DueCalls.KeepCall(f.ctx, c)
	if err != nil || !kept {
		f.t.Fatalf("KeepCall(%s, %s) = %t, %v", c.ID, s, kept, err)
	}
	return givenUp
}

func testAddCallsAgain(f *farm) {
	f.addCalls()
	a, b := hookCall("a", "ci", "job-1"), hookCall("b", "", "job-2")
	b.URL, b.Secrets = "https://Ci.example.com:8443/x", []string{"s"}
	f.addCalls(a, b)
	f.addCalls(b, a)
	if got, next, err := f.DueCalls.DueEndpoints(f.ctx, 10); err != nil || len(got) != 2 || next != 0 {
		f.t.Errorf("DueEndpoints = %q, %s, %v", got, next, err)
	}
	taken := f.takeCalls("hook:ci", "a")[0]
	if diff := cmp.Diff(a, taken, cmpopts.IgnoreFields(jobs.HookCall{}, "Made", "Taken", "Until")); diff != "" || taken.Made.IsZero() || taken.Until.Sub(taken.Taken) != f.lease() {
		f.t.Errorf("took %+v (-want +got):\n%s", taken, diff)
	}
	f.endCall(taken, jobs.CallDelivered)
	f.addCalls(a)
	f.takeCalls("hook:ci")
	f.takeCalls("url:ci.example.com:8443", "b")
	if got, next, err := f.DueCalls.DueEndpoints(f.ctx, 10); err != nil || len(got) != 0 || next <= 0 || next > f.lease() {
		f.t.Errorf("DueEndpoints = %q, %s, %v; want none before the lease is over", got, next, err)
	}
}

func testEndedCalls(f *farm) {
	f.endThree()
	add := func(nonce string, p jobs.EndedPage, want bool, calls ...jobs.HookCall) {
		f.t.Helper()
		if mine, refused, err := f.DueCalls.EndedCalls(f.ctx, "webhooks", nonce, p, calls...); err != nil || mine != want || refused != 0 {
			f.t.Errorf("EndedCalls = %t, %d refused, %v; want %t", mine, refused, err, want)
		}
	}
	first := f.ended("webhooks", 2)
	a, b, other := hookCall("a", "ci", "job-1"), hookCall("b", "ci", "job-2"), hookCall("c", "other", "job-1")
	add("n1", first, true, a, other, b)
	add("n2", first, false, hookCall("late", "ci", "job-9"))
	add("n1", first, true, a, other, b) // its answer was lost
	f.takeCalls("hook:ci", "a", "b")
	f.takeCalls("hook:other", "c")
	rest := f.ended("webhooks", 2)
	if len(rest.Jobs) != 1 || rest.From != first.To {
		f.t.Fatalf("got %+v after %+v; want the third", rest, first)
	}
	add("n1", rest, true)
	if end := f.ended("webhooks", 2); len(end.Jobs) != 0 {
		f.t.Errorf("got %+v; want nothing more", end)
	}
	unknown := rest
	unknown.From, unknown.To, unknown.Mark = rest.To, rest.To+1, "lost"
	add("n1", unknown, false, hookCall("lost", "ci", "job-8"))
	f.takeCalls("hook:ci")
}

func testCallsLeft(f *farm) {
	left := func(want bool) {
		f.t.Helper()
		got, err := f.Endings.Unread(f.ctx, "metrics", jobs.CallsReader)
		if err != nil || slices.Contains(got, jobs.CallsReader) != want || slices.Contains(got, "metrics") {
			f.t.Errorf("Unread = %q, %v; want the one of calls: %t", got, err, want)
		}
	}
	left(false)
	f.addCalls(hookCall("a", "ci", "job-1"), hookCall("b", "other", "job-1"), hookCall("c", "ci", "job-1"))
	left(true)
	f.endCall(f.takeCalls("hook:ci", "a")[0], jobs.CallDelivered)
	taken := f.takeCalls("hook:ci", "c")[0]
	f.endCall(f.takeCalls("hook:other", "b")[0], jobs.CallDelivered)
	left(true)
	f.endCall(taken, jobs.CallGivenUp)
	left(false)
	if err := f.Calls.Redeliver(f.ctx, "a"); err != nil {
		f.t.Fatalf("Redeliver: %v", err)
	}
	left(true)
}

func testTakeCalls(f *farm) {
	f.addCalls(hookCall("a", "ci", "job-1"))
	first := f.takeCalls("hook:ci", "a")[0]
	f.takeCalls("hook:ci")
	f.outwait(f.lease())
	var second jobs.HookCall
	f.eventually("the call is due again", func() bool {
		calls, err := f.DueCalls.TakeCalls(f.ctx, "hook:ci", 1, time.Hour)
		if err != nil {
			f.t.Fatalf("TakeCalls: %v", err)
		}
		if len(calls) == 1 {
			second = calls[0]
		}
		return len(calls) == 1
	})
	first.State, first.Last = jobs.CallDelivered, first.Taken
	if kept, _, err := f.DueCalls.KeepCall(f.ctx, first); err != nil || kept {
		f.t.Errorf("KeepCall of the one before = %t, %v; want false", kept, err)
	}
	second.Last, second.Next, second.Tries, second.Status, second.Said = second.Taken, second.Taken.Add(f.lease()), 1, 500, "no"
	if kept, _, err := f.DueCalls.KeepCall(f.ctx, second); err != nil || !kept {
		f.t.Errorf("KeepCall = %t, %v", kept, err)
	}
	f.outwait(f.lease())
	f.eventually("the call is tried again", func() bool {
		calls, err := f.DueCalls.TakeCalls(f.ctx, "hook:ci", 1, time.Hour)
		if err != nil {
			f.t.Fatalf("TakeCalls: %v", err)
		}
		return len(calls) == 1 && calls[0].Tries == 1 && calls[0].Status == 500
	})
	if _, err := f.DueCalls.TakeCalls(canceled(f.ctx), "hook:ci", 1, time.Hour); !errors.Is(err, context.Canceled) {
		f.t.Errorf("TakeCalls with a context that has ended: %v", err)
	}
}

func testCallOrder(f *farm) {
	f.addCalls(hookCall("a", "ci", "job-1"), hookCall("b", "ci", "job-1"), hookCall("c", "ci", "job-2"), hookCall("d", "ci", "job-1"))
	taken := f.takeCalls("hook:ci", "a", "c")
	f.endCall(taken[1], jobs.CallDelivered)
	f.takeCalls("hook:ci")
	f.endCall(taken[0], jobs.CallGivenUp)
	f.endCall(f.takeCalls("hook:ci", "b")[0], jobs.CallDelivered)
	f.endCall(f.takeCalls("hook:ci", "d")[0], jobs.CallDelivered)
	f.takeCalls("hook:ci")
	f.addCalls(hookCall("e", "ci", "job-1"))
	f.takeCalls("hook:ci", "e")
}

func testEndpoints(f *farm) {
	for i := range 20 {
		f.addCalls(hookCall(fmt.Sprint("slow-", i), "slow", fmt.Sprint("job-", i)))
	}
	f.addCalls(hookCall("a", "quick", "job-1"))
	if calls, err := f.DueCalls.TakeCalls(f.ctx, "hook:slow", 3, time.Hour); err != nil || len(calls) != 3 {
		f.t.Errorf("TakeCalls = %+v, %v; want three", calls, err)
	}
	due, _, err := f.DueCalls.DueEndpoints(f.ctx, 10)
	slices.Sort(due)
	if want := []string{"hook:quick", "hook:slow"}; err != nil || !slices.Equal(due, want) {
		f.t.Errorf("DueEndpoints = %q, %v; want %q", due, err, want)
	}
	f.takeCalls("hook:quick", "a")
	if due, _, err := f.DueCalls.DueEndpoints(f.ctx, 1); err != nil || !slices.Equal(due, []string{"hook:slow"}) {
		f.t.Errorf("DueEndpoints = %q, %v", due, err)
	}
}

func testGivenUp(f *farm) {
	if err := f.Webhooks.AddWebhook(f.ctx, hook("ci")); err != nil {
		f.t.Fatalf("AddWebhook: %v", err)
	}
	n := 0
	end := func(s jobs.CallState, test bool, want int) {
		f.t.Helper()
		n++
		c := hookCall(fmt.Sprint("call-", n), "ci", fmt.Sprint("job-", n))
		c.Test = test
		f.addCalls(c)
		if got := f.endCall(f.takeCalls("hook:ci", c.ID)[0], s); got != want {
			f.t.Errorf("after call %d (%s) %d were given up; want %d", n, s, got, want)
		}
	}
	end(jobs.CallGivenUp, false, 1)
	end(jobs.CallGivenUp, true, 0)
	end(jobs.CallDelivered, true, 0)
	end(jobs.CallDropped, false, 0)
	end(jobs.CallGivenUp, false, 2)
	end(jobs.CallDelivered, false, 0)
	end(jobs.CallGivenUp, false, 1)
	if err := f.Webhooks.ChangeWebhook(f.ctx, "ci", func(*jobs.Webhook) error { return nil }); err != nil {
		f.t.Fatalf("ChangeWebhook: %v", err)
	}
	end(jobs.CallGivenUp, false, 1)
}

// logged fails the test unless the log lists these calls.
func (f *farm) logged(hook string, limit int, want ...string) {
	f.t.Helper()
	calls, err := f.Calls.Calls(f.ctx, hook, limit)
	var got []string
	for _, c := range calls {
		got = append(got, c.ID+" "+string(c.State))
	}
	if err != nil || !slices.Equal(got, want) {
		f.t.Errorf("Calls(%q) = %q, %v; want %q", hook, got, err, want)
	}
}

func testCallLog(f *farm) {
	f.logged("", 10)
	f.addCalls(hookCall("a", "ci", "job-1"), hookCall("aa-stays", "other", "job-1"))
	f.endCall(f.takeCalls("hook:ci", "a")[0], jobs.CallDelivered)
	f.logged("ci", 10, "a delivered")
	f.logged("other", 10, "aa-stays due")
	var many []jobs.HookCall
	for i := range jobs.CallsKept {
		many = append(many, hookCall(fmt.Sprintf("call-%04d", i), "ci", fmt.Sprint("job-", i)))
	}
	for part := range slices.Chunk(many, 100) {
		f.addCalls(part...)
	}
	if _, err := f.Calls.Call(f.ctx, "a"); !errors.Is(err, jobs.ErrNoCall) {
		f.t.Errorf("Call(a) = %v; want ErrNoCall", err)
	}
	if got, err := f.Calls.Calls(f.ctx, "", 2*jobs.CallsKept); err != nil || len(got) != jobs.CallsKept {
		f.t.Errorf("the log has %d calls, %v; want %d", len(got), err, jobs.CallsKept)
	}
	f.logged("other", 10)
	if f.Advance != nil { // calls of the same moment are in the order of their IDs
		f.Advance(time.Second)
	}
	f.endCall(f.takeCalls("hook:other", "aa-stays")[0], jobs.CallGivenUp)
	f.logged("other", 10, "aa-stays given_up")
	if f.Advance == nil {
		return
	}
	f.Advance(jobs.CallLogAge + time.Hour)
	f.addCalls(hookCall("new", "other", "job-2"))
	f.logged("other", 10, "new due")
}

func testRedeliver(f *farm) {
	redeliver := func(id string, want error) {
		f.t.Helper()
		if err := f.Calls.Redeliver(f.ctx, id); !errors.Is(err, want) {
			f.t.Errorf("Redeliver(%s) = %v; want %v", id, err, want)
		}
	}
	redeliver("none", jobs.ErrNoCall)
	first := hookCall("a", "ci", "job-1")
	f.addCalls(first, hookCall("b", "ci", "job-1"))
	redeliver("a", jobs.ErrCallDue)
	f.endCall(f.takeCalls("hook:ci", "a")[0], jobs.CallGivenUp)
	redeliver("a", nil)
	redeliver("a", jobs.ErrCallDue)
	f.endCall(f.takeCalls("hook:ci", "b")[0], jobs.CallDelivered) // it was before
	again := f.takeCalls("hook:ci", "a")[0]
	if diff := cmp.Diff(first, again, cmpopts.IgnoreFields(jobs.HookCall{}, "Made", "Taken", "Until")); diff != "" {
		f.t.Errorf("the call again (-want +got):\n%s", diff)
	}
	f.endCall(again, jobs.CallDelivered)
	c, err := f.Calls.Call(f.ctx, "a")
	if err != nil || c.State != jobs.CallDelivered || c.Tries != 1 || !strings.Contains(string(c.Event), "\\u003c") {
		f.t.Errorf("Call(a) = %+v, %v", c, err)
	}
}

func testCallTurn(f *farm) {
	take := func(nonce string) bool {
		f.t.Helper()
		mine, err := f.DueCalls.CallTurn(f.ctx, nonce, f.lease())
		if err != nil {
			f.t.Errorf("CallTurn(%s): %v", nonce, err)
		}
		return mine
	}
	if one, two, again := take("one"), take("two"), take("one"); !one || two || !again {
		f.t.Errorf("turns %t, %t, %t; want the first to have it", one, two, again)
	}
	f.outwait(f.lease())
	f.eventually("the turn is over", func() bool { return take("two") })
}
