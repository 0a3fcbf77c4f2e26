package policy_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
)

const tenantsFile = `version: 1
tenants:
  acme:
    queues: [builds, acme]
    push: [registry.example/acme/, registry.example/tool, docker.io/acme/]
    secrets: [acme-npm, shared-*]
  free: {}
  closed: {queues: [], push: [], secrets: []}
  pusher: {queues: [pushes]}
  "*":
    queues: [public-*]
    push: []
    secrets: []
`

// TestTenants: everything that a document can name which is a tenant's or is not.
func TestTenants(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(tenantsFile))
	if err != nil {
		t.Fatal(err)
	}
	push := func(tags ...string) jobs.Build { return jobs.Build{Tags: tags, Push: true} }
	acme := func(b jobs.Build) jobs.Spec { return jobs.Spec{Tenant: "acme", Build: &b} }
	running := func(secrets []jobs.Secret) jobs.Spec {
		return jobs.Spec{Tenant: "acme", Run: &jobs.Run{Image: "busybox", Secrets: secrets}}
	}
	secret := func(names ...string) (list []jobs.Secret) {
		for _, n := range names {
			list = append(list, jobs.Secret{ID: "npm", Name: n})
		}
		return list
	}
	const allowed = ""
	for _, tt := range []struct {
		name  string
		job   jobs.Spec
		says  string // in the message, allowed when there is none
		stage jobs.Stage
	}{
		{"queue by its name", jobs.Spec{Tenant: "acme", Queue: "acme"}, allowed, ""},
		{"default queue", jobs.Spec{Tenant: "acme"}, allowed, ""},
		{"other queue", jobs.Spec{Tenant: "acme", Queue: "acme2"}, `queue: the job asks for "acme2", and jobs of the tenant "acme" may have only builds or acme: ask the operator for more`, jobs.StageQueue},
		{"default queue of a tenant that has it not", jobs.Spec{Tenant: "pusher"}, `queue: the job asks for "builds", and jobs of the tenant "pusher" may have only pushes`, jobs.StageQueue},
		{"no queue at all", jobs.Spec{Tenant: "closed", Queue: "builds"}, `jobs of the tenant "closed" may have none`, jobs.StageQueue},

		{"secret of what hears of the end", jobs.Spec{Tenant: "acme", Notify: []jobs.Notify{{URL: "https://a"}, {URL: "https://b", Secret: "other"}}}, `notify.secret: the job asks for "other"`, jobs.StageQueue},

		{"no rules", jobs.Spec{Tenant: "free", Queue: "any", Build: &jobs.Build{Tags: []string{"evil.example/x"}, Push: true, Secrets: secret("any")}}, allowed, ""},
		{"no rule for pushes", jobs.Spec{Tenant: "pusher", Queue: "pushes", Build: &jobs.Build{Tags: []string{"evil.example/x"}, Push: true}}, allowed, ""},
		{"no tenant", jobs.Spec{Queue: "public-1"}, allowed, ""},
		{"no tenant in the queue of one", jobs.Spec{Queue: "acme"}, `"acme", and jobs without a tenant may have only public-*`, jobs.StageQueue},
		{"no tenant in the default queue", jobs.Spec{}, `"builds", and jobs without a tenant`, jobs.StageQueue},
		{"tenant that is not named", jobs.Spec{Tenant: "acme2", Queue: "acme"}, `jobs of the tenant "acme2" may have only public-*`, jobs.StageQueue},
		{"tenant in upper case", jobs.Spec{Tenant: "Acme", Queue: "acme"}, `jobs of the tenant "Acme" may`, jobs.StageQueue},
		{"tenant by the name of the others", jobs.Spec{Tenant: "*", Queue: "acme"}, `may have only public-*`, jobs.StageQueue},

		{"push below a prefix", acme(push("registry.example/acme/app:1", "registry.example/acme/a/b")), allowed, ""},
		{"push of a prefix without a slash", acme(push("registry.example/tool", "registry.example/tool:1", "registry.example/tool/x")), allowed, ""},
		{"push of a prefix with one", acme(push("registry.example/acme")), `build.tags: the job asks for "registry.example/acme", and jobs of the tenant "acme" may have only registry.example/acme/, registry.example/tool or docker.io/acme/`, jobs.StagePush},
		{"part of a part", acme(push("registry.example/tool-evil")), `"registry.example/tool-evil"`, jobs.StagePush},
		{"part of a part, below", acme(push("registry.example/acme-evil/x")), `"registry.example/acme-evil/x"`, jobs.StagePush},
		{"one of many outside", acme(push("registry.example/acme/x", "registry.example/acme/y", "registry.example/blue/x")), `"registry.example/blue/x"`, jobs.StagePush},
		{"tags that are not pushed", acme(jobs.Build{Tags: []string{"registry.example/blue/x"}}), allowed, ""},
		{"the Hub's default", acme(push("acme/x", "docker.io/acme/x", "index.docker.io/acme/x")), allowed, ""},
		{"another's on the Hub", acme(push("blue/x")), `"blue/x" (docker.io/blue/x), and`, jobs.StagePush},
		{"the Hub's official", acme(push("acme")), `"acme" (docker.io/library/acme), and`, jobs.StagePush},
		{"registry in upper case", acme(push("Registry.EXAMPLE/acme/x")), allowed, ""},
		{"other port", acme(push("registry.example:5000/acme/x")), "registry.example:5000/acme/x", jobs.StagePush},
		{"registry below another's", acme(push("evil.example/registry.example/acme/x")), "evil.example", jobs.StagePush},
		{"prefix in the registry's name", acme(push("registry.example.evil/acme/x")), "registry.example.evil", jobs.StagePush},
		{"way up", acme(push("registry.example/acme/../blue/x")), "registry.example/acme/../blue/x", jobs.StagePush},
		{"no push at all", jobs.Spec{Queue: "public-1", Build: &jobs.Build{Tags: []string{"x"}, Push: true}}, "jobs without a tenant may have none", jobs.StagePush},

		{"secrets", acme(jobs.Build{Secrets: secret("acme-npm", "shared-", "shared-x")}), allowed, ""},
		{"secret that is named by its ID", acme(jobs.Build{Secrets: []jobs.Secret{{ID: "acme-npm"}}}), allowed, ""},
		{"secret behind an ID that is allowed", acme(jobs.Build{Secrets: []jobs.Secret{{ID: "acme-npm", Name: "blue-npm"}}}), `build.secrets: the job asks for "blue-npm", and jobs of the tenant "acme" may have only acme-npm or shared-*: ask`, jobs.StageBuild},
		{"secret of a run", running(secret("acme-npm", "shared-x")), allowed, ""},
		{"secret of a run that is another's", running(secret("acme-npm", "blue-npm")), `run.secrets: the job asks for "blue-npm", and jobs of the tenant "acme" may have only`, jobs.StageRun},
		{"one ID twice", acme(jobs.Build{Secrets: secret("acme-npm", "blue-npm")}), `"blue-npm"`, jobs.StageBuild},
		{"one secret twice", acme(jobs.Build{Secrets: secret("acme-npm", "acme-npm")}), allowed, ""},
		{"longer name", acme(jobs.Build{Secrets: secret("acme-npm2")}), `"acme-npm2"`, jobs.StageBuild},
		{"other case", acme(jobs.Build{Secrets: secret("ACME-NPM")}), `"ACME-NPM"`, jobs.StageBuild},
		{"key for SSH", acme(jobs.Build{SSH: secret("shared-key")}), allowed, ""},
		{"another's key for SSH", acme(jobs.Build{SSH: []jobs.Secret{{ID: "default"}}}), `build.ssh: the job asks for "default"`, jobs.StageBuild},
		{"credential", jobs.Spec{Tenant: "acme", Context: &jobs.Context{Ref: "https://forge.example/x", Credential: "shared-forge"}}, allowed, ""},
		{"another's credential", jobs.Spec{Tenant: "acme", Context: &jobs.Context{Ref: "https://forge.example/x", Credential: "blue"}}, `context.credential: the job asks for "blue"`, jobs.StageFetch},
		{"no secret at all", jobs.Spec{Queue: "public-1", Build: &jobs.Build{Secrets: secret("acme-npm")}}, "jobs without a tenant may have none", jobs.StageBuild},

		{"tags of a rebuild", jobs.Spec{Tenant: "acme", Cause: &jobs.Cause{Rebuild: "r", Tags: []string{"registry.example/acme/x"}}}, allowed, ""},
		{"tags that a rebuild would move", jobs.Spec{
			Tenant: "acme", Build: &jobs.Build{Tags: []string{"registry.example/acme/x:slipway-1"}, Push: true},
			Cause: &jobs.Cause{Rebuild: "r", Tags: []string{"registry.example/acme/x", "registry.example/blue/x"}},
		}, `cause.tags: the job asks for "registry.example/blue/x"`, jobs.StagePush},
		{"run", jobs.Spec{Tenant: "acme", Run: &jobs.Run{Image: "registry.example/blue/x"}}, allowed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := jobs.SpecDigest(tt.job)
			refused(t, p.Tenants.Check(tt.job), tt.says, tt.stage)
			refused(t, p.Tenants.Check(tt.job.Normalize()), tt.says, tt.stage)
			if jobs.SpecDigest(tt.job) != before {
				t.Error("the document was changed")
			}
			if err := policy.Defaults().Tenants.Check(tt.job); err != nil {
				t.Errorf("without rules: %v", err)
			}
		})
	}
}

// refused wants a refusal that says something, none when that is "".
func refused(t *testing.T, err error, says string, stage jobs.Stage) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	f := jobs.AsFailure(err)
	if err == nil || f.Kind != jobs.KindTenantNotAllowed || f.Stage != stage || !strings.Contains(f.Message, says) || !strings.Contains(f.Message, "ask the operator") || f.Hint == "" {
		t.Errorf("got %+v, want at stage %q %q", f, stage, says)
	}
}

// Without rules for the others their jobs are not taken: a document must not get out of
// the rules with another tenant, or with none.
func TestTenantsWithoutOthers(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte("version: 1\ntenants: {acme: {}, blue: {push: []}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, p.Tenants.Check(jobs.Spec{Tenant: "acme"}), "", "")
	refused(t, p.Tenants.Check(jobs.Spec{}), "jobs without a tenant are not taken here", jobs.StageQueue)
	err = p.Tenants.Check(jobs.Spec{Tenant: "red"})
	refused(t, err, `jobs of the tenant "red" are not taken here`, jobs.StageQueue)
	if f := jobs.AsFailure(err); strings.Contains(f.Message+f.Hint, "acme") {
		t.Errorf("it tells who else has jobs here: %+v", f)
	}
}

// What a tenant may name signs what tells of its jobs, and nothing else does.
func TestMaySign(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`{version: 1, tenants: {acme: {secrets: [own, "acme-*"]}, free: {}, closed: {secrets: []}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		tenant, secret string
		may            bool
	}{
		{"acme", "own", true}, {"acme", "acme-ci", true}, {"acme", "other", false}, {"free", "any", true}, {"closed", "own", false}, {"", "own", false}, {"red", "own", false},
	} {
		if may := p.Tenants.MaySign(tt.tenant, tt.secret); may != tt.may {
			t.Errorf("MaySign(%q, %q) = %t", tt.tenant, tt.secret, may)
		}
	}
	if !policy.Defaults().Tenants.MaySign("", "any") {
		t.Error("without rules for tenants a secret is refused")
	}
}

// The hint names the place in the file, and the kind is the user's fault and final.
func TestTenantsHint(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(tenantsFile))
	if err != nil {
		t.Fatal(err)
	}
	for place, job := range map[string]jobs.Spec{
		"tenants.closed.queues":   {Tenant: "closed"},
		"tenants.acme.push":       {Tenant: "acme", Build: &jobs.Build{Tags: []string{"x"}, Push: true}},
		`tenants."*".secrets in `: {Tenant: "red", Queue: "public-1", Build: &jobs.Build{Secrets: []jobs.Secret{{ID: "x"}}}},
	} {
		f := jobs.AsFailure(p.Tenants.Check(job))
		if info := f.Kind.Info(); !strings.Contains(f.Hint, place) || info.Fault != jobs.UserFault || info.Retryable || info.State != jobs.Refused {
			t.Errorf("got %+v of %+v, want %s in the hint", f, info, place)
		}
	}
}

// A field that names a queue, a secret or what is pushed is judged. One that is new and
// looks like that has to be among the wishes, or here with the reason why not.
func TestTenantsJudgeEachField(t *testing.T) {
	t.Parallel()
	judged := []string{"queue", "context.credential", "build.tags", "build.secrets", "build.ssh", "build.push", "run.secrets", "cause.tags", "notify.secret"}
	telling := regexp.MustCompile(`queue|credential|tag|push|secret|ssh|login|auth|token|key`)
	var found []string
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Type == reflect.TypeFor[[]jobs.Secret](), telling.MatchString(name):
				found = append(found, at+name)
			default:
				walk(at+name+".", f.Type)
			}
		}
	}
	walk("", reflect.TypeFor[jobs.Spec]())
	others := []string{
		"idempotency_key", // names a submission
		"timeouts.queue",  // is a time
		"timeouts.push",
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(append(judged, others...))), slices.Sorted(slices.Values(found))); diff != "" {
		t.Errorf("fields of the document (-known +found):\n%s", diff)
	}
}
