package webhooks_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

func TestAnEndIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci(), jobs.Webhook{Name: "other", URL: "https://x.example.com", Only: jobs.HookFilter{States: []jobs.State{jobs.Cancelled}}})
		stop := f.run()
		f.end("job-1", jobs.Spec{Name: "app", Tenant: "blue", Labels: map[string]string{"team": "web"}}, failed())
		time.Sleep(3 * time.Second)
		stop()
		all := f.requests()
		if len(all) != 1 || all[0].url != ci().URL {
			t.Fatalf("the receiver got %+v; want one request of the webhook that it matches", all)
		}
		data := all[0].event["data"].(map[string]any)
		for _, at := range []string{"created", "started", "finished"} {
			if _, err := time.Parse(time.RFC3339, data[at].(string)); err != nil {
				t.Errorf("%s: %v", at, err)
			}
			delete(data, at)
		}
		delete(all[0].event, "time")
		want := map[string]any{
			"specversion": "1.0", "id": all[0].id, "source": "urn:slipway:farm:one", "type": "slipway.job.failed", "subject": "job-1", "datacontenttype": "application/json",
			"data": map[string]any{
				"id": "job-1", "state": "failed", "name": "app", "tenant": "blue", "queue": "builds", "labels": map[string]any{"team": "web"}, "attempt": 1.0, "exit_code": 3.0,
				"failure": map[string]any{"stage": "run", "kind": "exit_nonzero", "fault": "user", "message": "the container ended with exit code 3"},
			},
		}
		if diff := cmp.Diff(want, all[0].event); diff != "" {
			t.Errorf("the event (-want +got):\n%s", diff)
		}
		c := f.log()[0]
		if c.State != jobs.CallDelivered || c.Tries != 1 || c.Status != http.StatusNoContent || c.Hook != "ci" || c.Job != "job-1" || c.ID != all[0].id {
			t.Errorf("the log has %+v", c)
		}
	})
}

func TestReceiverThatFailsFiveTimes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.answer = func(n int, _ got) *http.Response {
			switch n {
			case 1:
				return nil
			case 2, 3, 4, 5:
				return answer(http.StatusInternalServerError, "not\x1b[31m yet\nplease")
			}
			return answer(http.StatusOK, "")
		}
		defer f.run()()
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(2 * time.Minute)
		if c := f.log()[0]; c.State != jobs.CallDue || c.Tries != 4 || c.Status != 500 || c.Said != "not\uFFFD[31m yet please" || !c.Next.After(time.Now()) {
			t.Errorf("meanwhile the log has %+v", c)
		}
		time.Sleep(23 * time.Hour)
		all := f.requests()
		if len(all) != 6 {
			t.Fatalf("the receiver got %d requests; want six", len(all))
		}
		var pauses []time.Duration
		for i := range all[1:] {
			pauses = append(pauses, all[i+1].at.Sub(all[i].at).Round(5*time.Second))
			if all[i+1].id != all[0].id {
				t.Errorf("the ID of try %d is another one", i+2)
			}
		}
		// Halves of 10 s and three times that each.
		if want := []time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second, 135 * time.Second, 405 * time.Second}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %s; want %s", pauses, want)
		}
		if c := f.log()[0]; c.State != jobs.CallDelivered || c.Tries != 6 || !c.Next.IsZero() {
			t.Errorf("the log has %+v; want it delivered", c)
		}
	})
}

// A webhook that accepts nothing is disabled, and hears of jobs again when it is enabled.
func TestDisabled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		down := true
		f.answer = func(int, got) *http.Response {
			if down {
				return answer(http.StatusBadGateway, "the backend is away")
			}
			return answer(http.StatusOK, "")
		}
		defer f.run()()
		for _, id := range []string{"job-1", "job-2", "job-3", "job-4"} {
			f.end(id, jobs.Spec{}, succeeded())
		}
		time.Sleep(25 * time.Hour)
		for _, c := range f.log() {
			if c.State != jobs.CallGivenUp || c.Tries < 10 || c.Tries > 25 || c.Last.Sub(c.First) < 24*time.Hour {
				t.Errorf("%s is %s after %d tries in %s; want it given up after a day", c.Job, c.State, c.Tries, c.Last.Sub(c.First))
			}
		}
		if w := f.hook("ci"); w.Disabled != "" {
			t.Errorf("it is disabled after four: %s", w.Disabled)
		}
		f.end("job-5", jobs.Spec{}, succeeded())
		time.Sleep(23 * time.Hour)
		f.end("job-6", jobs.Spec{}, succeeded()) // its call is due when the webhook is disabled
		time.Sleep(6 * time.Hour)
		w := f.hook("ci")
		if !strings.Contains(w.Disabled, "5 calls in a row") || !strings.Contains(w.Disabled, "the backend is away") || time.Since(w.DisabledAt) > 6*time.Hour {
			t.Errorf("it is disabled since %s: %q", w.DisabledAt, w.Disabled)
		}
		tried := len(f.requests())
		f.end("job-7", jobs.Spec{}, succeeded())
		time.Sleep(24 * time.Hour)
		if now := len(f.requests()); now != tried {
			t.Errorf("%d requests came after it was disabled", now-tried)
		}
		last := f.log()[0]
		if last.Job != "job-6" || last.State != jobs.CallDropped {
			t.Errorf("the call that was due then is %+v", last)
		}
		down = false
		if err := f.ChangeWebhook(t.Context(), "ci", func(w *jobs.Webhook) error { w.Disabled, w.DisabledAt = "", time.Time{}; return nil }); err != nil {
			t.Fatal(err)
		}
		f.end("job-8", jobs.Spec{}, succeeded())
		if err := f.Redeliver(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var jobsOf []string
		for _, g := range f.requests()[tried:] {
			jobsOf = append(jobsOf, g.event["subject"].(string))
		}
		slices.Sort(jobsOf)
		if want := []string{"job-6", "job-8"}; !slices.Equal(jobsOf, want) {
			t.Errorf("after it was enabled %q came; want %q", jobsOf, want)
		}
	})
}

func TestGoneAndTests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.answer = func(int, got) *http.Response { return answer(http.StatusGone, "") }
		defer f.run()()
		test := func(id string) jobs.HookCall {
			t.Helper()
			c := jobs.NewTestCall("ci", id)
			if _, err := f.AddCalls(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			c, err := f.Call(t.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if c := test("1"); c.State != jobs.CallGivenUp || c.Tries != 1 || c.Status != http.StatusGone {
			t.Errorf("the test is %+v; want one try", c)
		}
		if w := f.hook("ci"); w.Disabled != "" {
			t.Errorf("a test has disabled it: %s", w.Disabled)
		}
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(10 * time.Second)
		if w := f.hook("ci"); w.Disabled != "it answered 410 Gone" || len(f.requests()) != 2 {
			t.Errorf("disabled %q after %d requests", w.Disabled, len(f.requests()))
		}
		f.answer = nil
		if c := test("2"); c.State != jobs.CallDelivered {
			t.Errorf("the test of a disabled webhook is %+v", c)
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		wants := []string{"3600", "9999999", "1", "soon"}
		f.answer = func(n int, _ got) *http.Response {
			if n > len(wants) {
				return answer(http.StatusOK, "")
			}
			resp := answer(http.StatusTooManyRequests, "")
			resp.Header.Set("Retry-After", wants[n-1])
			return resp
		}
		defer f.run()()
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(12 * time.Hour)
		all := f.requests()
		if len(all) != 5 {
			t.Fatalf("%d requests", len(all))
		}
		for i, want := range []time.Duration{time.Hour, 4 * time.Hour, 45 * time.Second, 135 * time.Second} {
			if p := all[i+1].at.Sub(all[i].at); p < want || p > want+10*time.Second {
				t.Errorf("pause %d is %s; want %s", i+1, p, want)
			}
		}
	})
}

// A receiver that takes its time is not in the way of others.
func TestSlowReceiver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		slow := ci()
		slow.Name, slow.URL = "a-slow-one", "https://slow.example.com/"
		f := newFarm(t, ci(), slow)
		f.answer = func(_ int, g got) *http.Response {
			if g.url == slow.URL {
				time.Sleep(14 * time.Second)
			}
			return answer(http.StatusOK, "")
		}
		defer f.run()()
		for i := range 40 {
			f.end("job-"+string(rune('a'+i%26))+string(rune('a'+i/26)), jobs.Spec{}, succeeded())
		}
		time.Sleep(5 * time.Second)
		count := func() (quick, slowOnes int) {
			for _, g := range f.requests() {
				if g.url == slow.URL {
					slowOnes++
				} else {
					quick++
				}
			}
			return quick, slowOnes
		}
		if quick, slow := count(); quick != 40 || slow != 4 {
			t.Errorf("after 5 s %d and %d of the slow one; want all 40, and four at once", quick, slow)
		}
		time.Sleep(3 * time.Minute)
		if quick, slow := count(); quick != 40 || slow != 40 {
			t.Errorf("in the end %d and %d; want each once", quick, slow)
		}
	})
}

// What was ended before a webhook was added is none of its business, and what does not exist
// any more is dropped.
func TestAddedAndRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.end("before", jobs.Spec{}, succeeded())
		time.Sleep(time.Second)
		if err := f.AddWebhook(t.Context(), ci()); err != nil {
			t.Fatal(err)
		}
		f.answer = func(int, got) *http.Response { return answer(http.StatusServiceUnavailable, "") }
		defer f.run()()
		f.end("after", jobs.Spec{}, succeeded())
		time.Sleep(time.Minute)
		if err := f.RemoveWebhook(t.Context(), "ci"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		log := f.log()
		if len(log) != 1 || log[0].Job != "after" || log[0].State != jobs.CallDropped || log[0].Said != "the webhook was removed" {
			t.Errorf("the log has %+v", log)
		}
	})
}

// When the process ends in order, a try that is under way is not cut off.
func TestStopLetsTriesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.answer = func(int, got) *http.Response { time.Sleep(2 * time.Second); return answer(http.StatusOK, "") }
		stop := f.run()
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(1500 * time.Millisecond)
		stop()
		if c := f.log()[0]; c.State != jobs.CallDelivered {
			t.Errorf("the call is %+v; want it delivered", c)
		}
		synctest.Wait()
	})
}

// Redis is away for a while after a try.
func TestRedisAwayAfterATry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.answer = func(int, got) *http.Response { f.Break(jobs.ErrUnreachable); return answer(http.StatusOK, "") }
		defer f.run()()
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(20 * time.Second)
		f.Break(nil)
		time.Sleep(10 * time.Second)
		if c := f.log()[0]; c.State != jobs.CallDelivered || len(f.requests()) != 1 {
			t.Errorf("after %d requests the call is %+v; want it delivered once", len(f.requests()), c)
		}
	})
}

// Two processes call: one at a time has the turn, and none is called twice.
func TestTwoCallers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		one := f.run()
		defer f.run()()
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(time.Minute)
		one()
		f.end("job-2", jobs.Spec{}, succeeded())
		time.Sleep(time.Minute)
		if all := f.requests(); len(all) != 2 || all[1].event["subject"] != "job-2" {
			t.Errorf("the receiver got %+v; want each end once", all)
		}
	})
}

// countCalls counts what an observer is told.
type countCalls struct{ n map[jobs.CallState]int }

func (c countCalls) Called(s jobs.CallState) { c.n[s]++ }

func TestTriesAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.answer = func(n int, _ got) *http.Response {
			if n == 1 {
				return answer(http.StatusTeapot, "")
			}
			return answer(http.StatusOK, "")
		}
		counted := countCalls{map[jobs.CallState]int{}}
		stop := f.run(func(_ *webhooks.Deps, o *webhooks.Options) { o.Observer = counted })
		f.end("job-1", jobs.Spec{}, succeeded())
		time.Sleep(time.Minute)
		stop()
		if diff := cmp.Diff(map[jobs.CallState]int{jobs.CallDue: 1, jobs.CallDelivered: 1}, counted.n); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

// A job whose record is gone is told of by its state alone.
func TestForgottenJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		named := ci()
		named.Name, named.Only.Names = "named", []string{"*"}
		f := newFarm(t, ci(), named)
		f.end("job-1", jobs.Spec{Name: "app"}, succeeded())
		defer f.run(func(d *webhooks.Deps, _ *webhooks.Options) { d.Endings = forgotten{d.Endings} })()
		time.Sleep(10 * time.Second)
		all := f.requests()
		if len(all) != 1 {
			t.Fatalf("%d requests; want one", len(all))
		}
		if diff := cmp.Diff(map[string]any{"id": "job-1", "state": "succeeded"}, all[0].event["data"]); diff != "" {
			t.Errorf("the event (-want +got):\n%s", diff)
		}
	})
}

type forgotten struct{ jobs.Endings }

func (f forgotten) Ended(ctx context.Context, reader string, limit int) (jobs.EndedPage, error) {
	p, err := f.Endings.Ended(ctx, reader, limit)
	for i := range p.Jobs {
		p.Jobs[i].Job = nil
	}
	return p, err
}

// A worker without a secret of a webhook, or with one that cannot sign, is told of before
// calls fail.
func TestCheckSecrets(t *testing.T) {
	t.Parallel()
	hook := func(name string, secrets ...string) jobs.Webhook {
		return jobs.Webhook{Name: name, URL: "https://a", Secrets: secrets}
	}
	f := newFarm(t, hook("open"), hook("signed", "ci", "next"))
	check := func() string {
		n, err := webhooks.CheckSecrets(t.Context(), f.Memory, secrets)
		return fmt.Sprint(n, " ", err)
	}
	if got := check(); got != "2 <nil>" {
		t.Errorf("checked: %s", got)
	}
	for _, w := range []jobs.Webhook{hook("bad", "damaged"), hook("away", "ci", "none")} {
		if err := f.AddWebhook(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"4 ", "webhook bad: the worker's secret webhooks/damaged is not one of Standard Webhooks: want whsec_", `webhook away: the worker has no secret named "webhooks/none"`} {
		if got := check(); !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("checked: %s; want %q, and no secret", got, want)
		}
	}
}
