package rebuild_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// A service that says when it is ready is tried; any other run is left out.
func TestSpecOfRuns(t *testing.T) {
	t.Parallel()
	service := jobs.Run{
		Command: []string{"serve"}, Keep: jobs.Duration(24 * time.Hour),
		Ports: []jobs.Port{{Container: 8080, Host: 80}}, Ready: &jobs.Ready{HTTP: "/", Port: 8080},
	}
	silent := service
	silent.Ready = nil
	for _, tt := range []struct {
		name string
		run  *jobs.Run
		want bool
	}{{"none", nil, false}, {"a program", &jobs.Run{Command: []string{"true"}}, false}, {"a service", &silent, false}, {"a service that gets ready", &service, true}} {
		r := recipe("app")
		r.Spec = jobs.Spec{Name: "app", Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("a", 64)}, Build: &jobs.Build{}, Run: tt.run}.Normalize()
		spec := rebuild.Spec(jobs.Rebuild{ID: "019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b", Priority: jobs.PriorityLow}, jobs.RebuildImage{Name: "app", Try: 1}, r)
		if err := spec.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var read jobs.Spec // a runner that is cut off leaves it to one that reads it
		if raw, err := json.Marshal(spec); err != nil || json.Unmarshal(raw, &read) != nil || jobs.SpecDigest(read.Normalize()) != jobs.SpecDigest(spec) {
			t.Errorf("%s: kept and read, it is another document: %+v, %v", tt.name, read, err)
		}
		switch {
		case (spec.Run != nil) != tt.want:
			t.Errorf("%s: the run is %+v", tt.name, spec.Run)
		case tt.want && (spec.Run.Keep.D() > time.Minute || spec.Run.Ports[0].Host != 0 || !slices.Equal(spec.Run.Command, service.Command)):
			t.Errorf("%s: the run is %+v; want it for a moment, on a port that is free", tt.name, spec.Run)
		case tt.want && (r.Spec.Run.Ports[0].Host != 80 || r.Spec.Run.Keep.D() != 24*time.Hour):
			t.Errorf("%s: the recipe was changed to %+v", tt.name, r.Spec.Run)
		}
	}
}

// Who asked to hear of a job has not asked to hear of the farm's own.
func TestSpecTellsNoOne(t *testing.T) {
	t.Parallel()
	r := recipe("app")
	r.Spec = jobs.Spec{Name: "app", Build: &jobs.Build{}, Notify: []jobs.Notify{{URL: "https://ci.example.com"}}}.Normalize()
	if spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app", Try: 1}, r); spec.Notify != nil || len(r.Spec.Notify) != 1 {
		t.Errorf("the job of a rebuild tells %v, and the recipe has %v", spec.Notify, r.Spec.Notify)
	}
}

// What stands on an image that only a host has is built there.
func TestSpecOfLocalBases(t *testing.T) {
	t.Parallel()
	r := recipe("app", "loaded:1")
	r.Host = "host-1"
	r.Spec = jobs.Spec{Name: "app", Build: &jobs.Build{}, Requires: &jobs.Requires{Labels: map[string]string{"disk": "ssd"}}}
	if spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app"}, r); !spec.Build.Pull || len(spec.Requires.Labels) != 1 {
		t.Errorf("pull is %t, required %v", spec.Build.Pull, spec.Requires)
	}
	r.Materials[0].Local = true
	spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app"}, r)
	if want := map[string]string{"disk": "ssd", jobs.HostLabel: "host-1"}; spec.Build.Pull || !maps.Equal(spec.Requires.Labels, want) || len(r.Spec.Requires.Labels) != 1 {
		t.Errorf("pull is %t, required %v; the recipe requires %v", spec.Build.Pull, spec.Requires, r.Spec.Requires)
	}
}

// What goes to registries is pushed under one tag of the recipe's own in each repository.
func TestSpecOfTags(t *testing.T) {
	t.Parallel()
	r := recipe("app")
	r.Spec = jobs.Spec{
		Name: "app", Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("a", 64)},
		Build: &jobs.Build{Push: true, Tags: []string{"team/app:1", "registry.example:5000/app:1", "docker.io/team/app:latest"}},
	}.Normalize()
	spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app"}, r)
	own := "slipway-" + strings.TrimPrefix(spec.Build.Tags[0], "docker.io/team/app:slipway-")
	if want := []string{"docker.io/team/app:" + own, "registry.example:5000/app:" + own}; !slices.Equal(spec.Build.Tags, want) || !slices.Equal(spec.Cause.Tags, r.Spec.Build.Tags) || len(own) != 24 {
		t.Errorf("pushed under %q, moved to %q; want %q", spec.Build.Tags, spec.Cause.Tags, want)
	}
	r.Spec.Build.Push = false
	if spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app"}, r); !slices.Equal(spec.Build.Tags, r.Spec.Build.Tags) || len(spec.Cause.Tags) > 0 {
		t.Errorf("an image that is not pushed gets %q", spec.Build.Tags)
	}
}

// The job of a rebuild is its tenant's as the job was that left the recipe. By the rules of
// that tenant it is judged, and with it the tags that the farm moves afterwards.
func TestSpecOfTenants(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`version: 1
tenants:
  acme: {queues: [acme], push: [registry.example/acme/], secrets: [acme-*]}
  "*": {queues: [], push: [], secrets: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, tag, secret string
		source            *jobs.Context // that an operator has set
		stage             jobs.Stage    // "" for none that refuses it
	}{
		{"its own", "registry.example/acme/app:1", "acme-npm", nil, ""},
		{"a tag that is not its any more", "registry.example/blue/app:1", "acme-npm", nil, jobs.StagePush},
		{"a secret that is not its any more", "registry.example/acme/app:1", "blue-npm", nil, jobs.StageBuild},
		{"another source", "registry.example/acme/app:1", "acme-npm", &jobs.Context{Ref: "https://forge.example/x", Credential: "blue-forge"}, jobs.StageFetch},
	} {
		job := jobs.Job{
			ID: "job-1", Result: &jobs.Result{ImageID: "sha256:" + strings.Repeat("b", 64)},
			Spec: jobs.Spec{
				Name: "app", Tenant: "acme", Queue: "acme", Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("a", 64)},
				Build: &jobs.Build{Push: true, Tags: []string{tt.tag}, Secrets: []jobs.Secret{{ID: "npm", Name: tt.secret}}},
			}.Normalize(),
		}
		r, ok := jobs.RecipeOf(job)
		if !ok {
			t.Fatal("the job leaves no recipe")
		}
		r.Settings.Source = tt.source
		spec := rebuild.Spec(jobs.Rebuild{ID: "r-1"}, jobs.RebuildImage{Name: "app"}, r)
		err := p.Tenants.Check(spec)
		switch f := jobs.AsFailure(err); {
		case spec.Tenant != "acme" || spec.Queue != "acme":
			t.Errorf("%s: the job is of the tenant %q in the queue %q", tt.name, spec.Tenant, spec.Queue)
		case (err == nil) != (tt.stage == ""), err != nil && (f.Kind != jobs.KindTenantNotAllowed || f.Stage != tt.stage):
			t.Errorf("%s: got %v; want a refusal at stage %q", tt.name, err, tt.stage)
		}
	}
}
