package webhooks_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// A job names addresses that hear of its end alone, beside the farm's webhooks. They are signed
// with secrets of a folder of their own.
func TestNotify(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.keys = []string{secretOf('c'), secretOf('o')}
		own := func(states ...jobs.State) []jobs.Notify {
			return []jobs.Notify{{URL: "https://own.example.com/a", Secret: "own", States: states}, {URL: "https://own.example.com/b", Secret: "ci"}}
		}
		defer f.run()()
		f.end("job-1", jobs.Spec{Notify: own(jobs.Failed, jobs.Expired)}, failed())
		f.end("job-2", jobs.Spec{Notify: own(jobs.Cancelled)}, succeeded())
		f.end("job-3", jobs.Spec{}, succeeded())
		time.Sleep(4 * time.Second)
		var got []string
		for _, g := range f.requests() {
			got = append(got, g.event["subject"].(string)+" "+g.url)
		}
		slices.Sort(got)
		want := []string{"job-1 " + ci().URL, "job-1 https://own.example.com/a", "job-2 " + ci().URL, "job-3 " + ci().URL}
		if !slices.Equal(got, want) {
			t.Errorf("came %q; want %q", got, want)
		}
		for _, c := range f.log() {
			if c.URL == "https://own.example.com/b" && (c.State != jobs.CallDue || !strings.Contains(c.Said, `no secret named "notify/ci"`)) {
				t.Errorf("the call with the secret of a webhook is %+v", c)
			}
		}
	})
}

// What makes a document unacceptable is not called.
func TestNotifyOfARefusedJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.keys = nil
		spec := jobs.Spec{Notify: []jobs.Notify{{URL: "gopher://x"}, {URL: "https://a.example.com"}, {URL: "https://b.example.com", Secret: "../x"}, {URL: "https://theirs.example.com", Secret: "own"}}, Tenant: "blue"}.Normalize()
		for i := range 10 {
			spec.Notify = append(spec.Notify, jobs.Notify{URL: "https://" + string(rune('c'+i)) + ".example.com"})
		}
		job := jobs.NewJob("job-1", spec)
		job.Result = &jobs.Result{State: jobs.Refused, Failure: jobs.Malformed(spec.Validate())}
		if _, err := f.Create(t.Context(), []jobs.Job{job}); err != nil {
			t.Fatal(err)
		}
		defer f.run(func(d *webhooks.Deps, _ *webhooks.Options) {
			d.MaySign = func(tenant, secret string) bool { return tenant != "blue" || secret != "own" }
		})()
		time.Sleep(4 * time.Second)
		var got []string
		for _, g := range f.requests() {
			got = append(got, g.url)
		}
		slices.Sort(got)
		if want := []string{"https://a.example.com"}; !slices.Equal(got, want) {
			t.Errorf("called were %q; want %q", got, want)
		}
	})
}

// Jobs that name receivers which take their time do not take up all connections.
func TestManyHosts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t, ci())
		f.keys = nil
		f.answer = func(_ int, g got) *http.Response {
			if g.url != ci().URL {
				time.Sleep(14 * time.Second)
			}
			return answer(http.StatusOK, "")
		}
		if err := f.ChangeWebhook(t.Context(), "ci", func(w *jobs.Webhook) error { w.Secrets = nil; return nil }); err != nil {
			t.Fatal(err)
		}
		defer f.run()()
		for i := range 60 {
			host := string(rune('a'+i%26)) + string(rune('a'+i/26))
			f.end("job-"+host, jobs.Spec{Notify: []jobs.Notify{{URL: "https://" + host + ".example.com"}}}, succeeded())
		}
		time.Sleep(6 * time.Second)
		hosts := 0
		for _, g := range f.requests() {
			if g.url != ci().URL {
				hosts++
			}
		}
		if all := len(f.requests()); hosts != 32 || all != 60+32 {
			t.Errorf("%d requests, %d of them to hosts of jobs; want all 60 of the webhook, and 32", all, hosts)
		}
	})
}
