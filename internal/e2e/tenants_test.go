//go:build integration

package e2e_test

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestTenantsRules: a job that names what its tenant may not use is refused before its
// context is looked for, and leaves nothing; one that names its own is built.
func TestTenantsRules(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	w := newWatchedFarm(t, hostA, func(root string) string {
		return "context: {file_roots: [" + root + `]}
tenants:
  acme: {queues: [builds], push: [registry.example.com/acme/], secrets: [acme-*]}
  "*": {queues: [], push: [], secrets: []}
`
	})
	acme := func(change func(*jobs.Build)) jobs.Spec {
		spec := jobs.Spec{Tenant: "acme", Context: &jobs.Context{Ref: "file://" + w.root + "/none.tar"}, Build: &jobs.Build{}}
		change(spec.Build)
		return spec
	}
	credential := acme(func(*jobs.Build) {})
	credential.Context = &jobs.Context{Ref: "https://known.example/x", Credential: "known"}
	nameless := acme(func(*jobs.Build) {})
	nameless.Tenant = ""
	tests := []struct {
		name string
		spec jobs.Spec
		says string
	}{
		{"no tenant", nameless, `queue: the job asks for "builds", and jobs without a tenant may have none`},
		{"one tag of two", acme(func(b *jobs.Build) {
			b.Push, b.Tags = true, []string{"registry.example.com/acme/app", "registry.example.com/acme-evil/app"}
		}), `build.tags: the job asks for "registry.example.com/acme-evil/app"`},
		{"the Hub's", acme(func(b *jobs.Build) { b.Push, b.Tags = true, []string{"acme/app"} }), `"acme/app" (docker.io/acme/app)`},
		{"secret", acme(func(b *jobs.Build) { b.Secrets = []jobs.Secret{{ID: "acme-npm", Name: "blue-npm"}} }), `build.secrets: the job asks for "blue-npm"`},
		{"key for SSH", acme(func(b *jobs.Build) { b.SSH = []jobs.Secret{{ID: "default"}} }), `build.ssh: the job asks for "default"`},
		{"credential", credential, `context.credential: the job asks for "known"`},
	}
	// The first job of a tenant makes what all of its jobs share.
	for _, tt := range tests[:2] {
		w.refused(t, tt.spec, jobs.KindTenantNotAllowed, tt.says)
	}
	before := w.traces(t)
	var ids []string
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { ids = append(ids, w.refused(t, tt.spec, jobs.KindTenantNotAllowed, tt.says).ID) })
	}
	w.untouched(t, before, ids...)

	own := acme(func(b *jobs.Build) { b.Tags = []string{"registry.example.com/blue/app"} }) // it is not pushed
	own.Context.Ref = w.put(t, "own", contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\n")))
	if job, a := w.document(t, own); job.State != jobs.Succeeded {
		t.Errorf("a job with what its tenant may use is %s, want it to be built\n%s", job.State, a.stderr)
	}
}
