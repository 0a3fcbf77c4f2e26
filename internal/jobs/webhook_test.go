package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestHookFilter(t *testing.T) {
	t.Parallel()
	job := jobs.EndedJob{ID: "job-1", State: jobs.Failed, Job: &jobs.Job{
		ID: "job-1", Spec: jobs.Spec{Name: "app-web", Tenant: "blue", Queue: "builds", Labels: map[string]string{"team": "web", "env": ""}},
		Result: &jobs.Result{State: jobs.Failed, Failure: jobs.Fail(jobs.KindBuildFailed, nil, "", "no")},
	}}
	for _, tt := range []struct {
		name  string
		f     jobs.HookFilter
		takes bool
		// gone is whether it takes a job of which only the state is known.
		gone bool
	}{
		{"no filter", jobs.HookFilter{}, true, true},
		{"its state", jobs.HookFilter{States: []jobs.State{jobs.Cancelled, jobs.Failed}}, true, true},
		{"another state", jobs.HookFilter{States: []jobs.State{jobs.Succeeded}}, false, false},
		{"its name", jobs.HookFilter{Names: []string{"other", "app-*"}}, true, false},
		{"any name", jobs.HookFilter{Names: []string{"*"}}, true, false},
		{"another name", jobs.HookFilter{Names: []string{"app"}}, false, false},
		{"its labels", jobs.HookFilter{Labels: map[string]string{"team": "web", "env": ""}}, true, false},
		{"one label is not its", jobs.HookFilter{Labels: map[string]string{"team": "web", "tier": ""}}, false, false},
		{"its tenant", jobs.HookFilter{Tenants: []string{"blue"}}, true, false},
		{"another tenant", jobs.HookFilter{Tenants: []string{"red"}}, false, false},
		{"its fault", jobs.HookFilter{Faults: []jobs.Fault{jobs.UserFault}}, true, false},
		{"another fault", jobs.HookFilter{Faults: []jobs.Fault{jobs.InfraFault}}, false, false},
		{"its queue", jobs.HookFilter{Queues: []string{"builds"}}, true, false},
		{"another queue", jobs.HookFilter{Queues: []string{"slow"}}, false, false},
		{"one of two does not fit", jobs.HookFilter{States: []jobs.State{jobs.Failed}, Tenants: []string{"red"}}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.f.Takes(job); got != tt.takes {
				t.Errorf("Takes = %t; want %t", got, tt.takes)
			}
			if got := tt.f.Takes(jobs.EndedJob{ID: "job-1", State: jobs.Failed}); got != tt.gone {
				t.Errorf("Takes of a job without record = %t; want %t", got, tt.gone)
			}
		})
	}
}

func TestWebhookIsChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		change   func(w *jobs.Webhook)
		pointers []string
	}{
		{"nothing wrong", func(*jobs.Webhook) {}, nil},
		{"http", func(w *jobs.Webhook) { w.URL = "http://127.0.0.1:8080/x?y=z" }, nil}, // the operator decides
		{"all there is", func(w *jobs.Webhook) {
			w.Secrets = []string{"new", "old"}
			w.Only = jobs.HookFilter{
				States: jobs.EndStates(), Names: []string{"*", "app-*.x"}, Labels: map[string]string{"a": "b"}, Tenants: []string{"blue"},
				Faults: []jobs.Fault{jobs.UserFault, jobs.InfraFault}, Queues: []string{"builds"},
			}
		}, nil},
		{"no name", func(w *jobs.Webhook) { w.Name = "" }, []string{"/name"}},
		{"bad name", func(w *jobs.Webhook) { w.Name = "A b" }, []string{"/name"}},
		{"no URL", func(w *jobs.Webhook) { w.URL = "" }, []string{"/url"}},
		{"no host", func(w *jobs.Webhook) { w.URL = "https:///x" }, []string{"/url"}},
		{"a space", func(w *jobs.Webhook) { w.URL = "https://a.example.com/x y" }, []string{"/url"}},
		{"another scheme", func(w *jobs.Webhook) { w.URL = "file:///etc/passwd" }, []string{"/url"}},
		{"a password", func(w *jobs.Webhook) { w.URL = "https://me:s3cret@a.example.com/" }, []string{"/url"}},
		{"a fragment", func(w *jobs.Webhook) { w.URL = "https://a.example.com/#x" }, []string{"/url"}},
		{"a long URL", func(w *jobs.Webhook) { w.URL = "https://a.example.com/" + strings.Repeat("s3cret", 400) }, []string{"/url"}},
		{"a secret's value", func(w *jobs.Webhook) { w.Secrets = []string{"whsec_a+b"} }, []string{"/secrets/0"}},
		{"many secrets", func(w *jobs.Webhook) { w.Secrets = []string{"a", "b", "c", "d", "e"} }, []string{"/secrets"}},
		{"a state of a living job", func(w *jobs.Webhook) { w.Only.States = []jobs.State{jobs.Failed, jobs.Running} }, []string{"/only/states/1"}},
		{"a state twice", func(w *jobs.Webhook) { w.Only.States = []jobs.State{jobs.Failed, jobs.Failed} }, []string{"/only/states/1"}},
		{"filters", func(w *jobs.Webhook) {
			w.Only = jobs.HookFilter{Names: []string{"A"}, Tenants: []string{"B"}, Faults: []jobs.Fault{"mine"}, Queues: []string{"C"}, Labels: map[string]string{"a b": ""}}
		}, []string{"/only/faults/0", "/only/labels/a b", "/only/names/0", "/only/queues/0", "/only/tenants/0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := jobs.Webhook{Name: "ci", URL: "https://ci.example.com/hook"}
			tt.change(&w)
			err := w.Validate()
			var got []string
			if invalid, ok := errors.AsType[*jobs.Invalid](err); ok {
				for _, p := range invalid.Problems {
					got = append(got, p.Pointer)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%v tells a secret", err)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.pointers) || err != nil && got == nil {
				t.Errorf("%v; want problems at %q", err, tt.pointers)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for c, want := range map[*jobs.HookCall]string{
		{Hook: "ci", URL: "https://a"}:           "hook:ci",
		{URL: "https://A.example.com:8443/x?y"}:  "url:a.example.com:8443",
		{URL: "https://a.example.com/another#x"}: "url:a.example.com",
	} {
		if got := c.Endpoint(); got != want {
			t.Errorf("Endpoint of %+v = %q; want %q", *c, got, want)
		}
	}
}
