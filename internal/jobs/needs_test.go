package jobs_test

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestNeeds(t *testing.T) {
	t.Parallel()
	spec := func(change func(*jobs.Spec)) jobs.Spec {
		s := jobs.Spec{Name: "app", Build: &jobs.Build{}, Run: &jobs.Run{}}
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name   string
		change func(*jobs.Spec)
		want   jobs.Route
	}{
		{"nothing", func(*jobs.Spec) {}, ""},
		{"an empty requirement", func(s *jobs.Spec) { s.Requires = &jobs.Requires{} }, ""},
		{"labels in order", func(s *jobs.Spec) {
			s.Requires = &jobs.Requires{Platform: "linux/arm64", Labels: map[string]string{"gpu": "yes", "disk": "ssd"}}
		}, `{"platform":"linux/arm64","labels":{"disk":"ssd","gpu":"yes"}}`},
		{"the larger size", func(s *jobs.Spec) {
			s.Build.Limits = jobs.BuildLimits{CPUs: 2, Memory: 1 << 20}
			s.Run.Limits = jobs.Limits{CPUs: 0.5, Memory: 1 << 30}
		}, `{"cpus":2,"memory":1073741824}`},
	} {
		s := spec(tt.change)
		got := s.Needs().Route()
		if got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
		back, err := got.Needs()
		if err != nil || back.Route() != got {
			t.Errorf("%s: %s is read as %+v, %v", tt.name, got, back, err)
		}
	}
	if _, err := jobs.Route("{").Needs(); err == nil {
		t.Error("a route that is no JSON was read")
	}
}

func TestTurn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		spec jobs.Spec
		want string
	}{{jobs.Spec{}, ""}, {jobs.Spec{Name: "app"}, "app"}, {jobs.Spec{Name: "app", Tenant: "blue"}, "blue"}} {
		if got := tt.spec.Turn(); got != tt.want {
			t.Errorf("%+v takes turns as %q; want %q", tt.spec, got, tt.want)
		}
	}
}

func TestLacks(t *testing.T) {
	t.Parallel()
	host := jobs.Offer{
		Host: "h-1", Platform: "linux/amd64", Labels: map[string]string{"gpu": "no", "host": "anvil", "": ""},
		CPUs: 4, Memory: 8 << 30,
	}
	only := host
	only.Labels = map[string]string{"gpu": "yes"}
	only.Only = map[string]string{"gpu": "yes"}
	label := func(k, v string) jobs.Needs { return jobs.Needs{Labels: map[string]string{k: v}} }
	for _, tt := range []struct {
		name  string
		offer jobs.Offer
		needs jobs.Needs
		want  string
	}{
		{"nothing", host, jobs.Needs{}, ""},
		{"its platform", host, jobs.Needs{Platform: "linux/amd64"}, ""},
		{"another platform", host, jobs.Needs{Platform: "linux/arm64"}, "platform: its platform is linux/amd64"},
		{"another value", host, label("gpu", "yes"), "labels: it has gpu=no, not gpu=yes"},
		{"no such label", host, label("disk", "ssd"), "labels: disk=ssd missing"},
		{"an empty value that is not there", host, label("disk", ""), "labels: disk= missing"},
		{"its name", host, label("host", "anvil"), ""},
		{"its identity", host, label("host", "h-1"), ""},
		{"another host", host, label("host", "h-2"), "labels: it has host=anvil, not host=h-2"},
		{"all of its size", host, jobs.Needs{CPUs: 4, Memory: 8 << 30}, ""},
		{"more", host, jobs.Needs{CPUs: 4.5, Memory: 9 << 30}, "size: it has 4 CPUs, not 4.5; size: it has 8GiB of memory, not 9GiB"},
		{"a size that is not known", jobs.Offer{}, jobs.Needs{CPUs: 64}, ""},
		{"not for all", only, jobs.Needs{}, "labels: it takes only jobs that require gpu=yes"},
		{"for those who ask", only, label("gpu", "yes"), ""},
		{"for those who ask for it", only, label("gpu", "no"), "labels: it has gpu=yes, not gpu=no; labels: it takes only jobs that require gpu=yes"},
	} {
		var got []string
		for _, l := range tt.offer.Lacks(tt.needs) {
			got = append(got, string(l.Blocker)+": "+l.Text)
		}
		if strings.Join(got, "; ") != tt.want || tt.offer.Meets(tt.needs) != (tt.want == "") {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}
