package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Tenants says what the jobs of each tenant may name; nil has no rules for any job.
//
// The rules of [OtherTenants] are for tenants that are not named, and for jobs without
// a tenant: a job must not get out of the rules by leaving its tenant out. Where there
// are none, such jobs are refused.
type Tenants map[string]Tenant

// OtherTenants is the name for all that have no rules of their own.
const OtherTenants = "*"

// Tenant is what jobs of one tenant may name. A list that is nil adds nothing to the
// rest of the policy, an empty one allows none.
type Tenant struct {
	// Queues by name; * at the end stands for any characters, as in Secrets.
	Queues []string `yaml:"queues,omitzero"`
	// Push are how the names begin under which images may be pushed: with a / at the
	// end all names below it, without one the name itself, too.
	Push []string `yaml:"push,omitzero"`
	// Secrets are those of builds and runs, the keys for SSH, the credentials of contexts, and
	// those that sign what tells of the end of a job.
	Secrets []string `yaml:"secrets,omitzero"`
}

// The names of the lists in the file.
const (
	queuesList  = "queues"
	pushList    = "push"
	secretsList = "secrets"
)

// list is the list of a name, nil when there is none of it.
func (t *Tenant) list(name string) *[]string {
	switch name {
	case queuesList:
		return &t.Queues
	case pushList:
		return &t.Push
	case secretsList:
		return &t.Secrets
	}
	return nil
}

// Check refuses a job that names what its tenant may not use. It looks at the document
// alone, so that the answer is the same wherever it is asked for.
func (t Tenants) Check(job jobs.Spec) error {
	if t == nil {
		return nil
	}
	rules, key, ok := t.of(job.Tenant)
	if !ok {
		return unknownTenant(job.Tenant)
	}
	for _, w := range wishes(job.Normalize()) {
		if allowed := *rules.list(w.list); allowed != nil && !slices.ContainsFunc(allowed, w.coveredBy) {
			return w.refusal(job.Tenant, key, allowed)
		}
	}
	return nil
}

// of returns the rules for the jobs of a tenant, and the name that they have in the file.
func (t Tenants) of(tenant string) (rules Tenant, key string, ok bool) {
	if rules, ok = t[tenant]; ok {
		return rules, tenant, true
	}
	rules, ok = t[OtherTenants]
	return rules, OtherTenants, ok
}

// MaySign reports whether what tells of the jobs of a tenant may be signed with a secret. A
// job that Check refuses ends, too, and must not have by its end what it may not name.
func (t Tenants) MaySign(tenant, secret string) bool {
	if t == nil {
		return true
	}
	rules, _, ok := t.of(tenant)
	w := wish{list: secretsList, name: secret}
	return ok && (rules.Secrets == nil || slices.ContainsFunc(rules.Secrets, w.coveredBy))
}

// wish is one thing that a document names.
type wish struct {
	list  string
	name  string
	field string
	stage jobs.Stage // that would use it
}

// wishes are all that a document names which a tenant may or may not use, in the order
// of a job's life. Logins at registries are not among them: a job cannot name one.
func wishes(job jobs.Spec) []wish {
	all := []wish{{queuesList, job.Queue, "queue", jobs.StageQueue}}
	for _, n := range job.Notify {
		if n.Secret != "" {
			all = append(all, wish{secretsList, n.Secret, "notify.secret", jobs.StageQueue})
		}
	}
	if job.Context != nil && job.Context.Credential != "" {
		all = append(all, wish{secretsList, job.Context.Credential, "context.credential", jobs.StageFetch})
	}
	if b := job.Build; b != nil {
		for _, s := range b.Secrets {
			all = append(all, wish{secretsList, s.SecretName(), "build.secrets", jobs.StageBuild})
		}
		for _, s := range b.SSH {
			all = append(all, wish{secretsList, s.SecretName(), "build.ssh", jobs.StageBuild})
		}
		for _, tag := range b.Tags {
			if b.Push {
				all = append(all, wish{pushList, tag, "build.tags", jobs.StagePush})
			}
		}
	}
	if job.Run != nil {
		for _, s := range job.Run.Secrets {
			all = append(all, wish{secretsList, s.SecretName(), "run.secrets", jobs.StageRun})
		}
	}
	if job.Cause != nil { // the farm moves these once the image is pushed under others
		for _, tag := range job.Cause.Tags {
			all = append(all, wish{pushList, tag, "cause.tags", jobs.StagePush})
		}
	}
	return all
}

// coveredBy reports whether an entry of a list allows it.
func (w wish) coveredBy(entry string) bool {
	if w.list == pushList {
		return pushes(entry, w.name)
	}
	beginning, open := strings.CutSuffix(entry, "*")
	return entry == w.name || open && strings.HasPrefix(w.name, beginning)
}

// pushes reports whether the name of an image is below a prefix, or is the prefix. Parts
// of a path count as a whole, and a registry is the same in upper case.
func pushes(prefix, tag string) bool {
	repository := strings.ToLower(imagename.Repository(tag))
	return imagename.IsName(tag) && (repository == prefix || strings.HasPrefix(repository, strings.TrimSuffix(prefix, "/")+"/"))
}

func (w wish) refusal(tenant, key string, allowed []string) error {
	found, only := fmt.Sprintf("%q", jobs.Clip(w.name)), "none"
	if full := imagename.Repository(w.name); w.list == pushList && !strings.HasPrefix(w.name, full) {
		found += " (" + jobs.Clip(full) + ")"
	}
	if len(allowed) > 0 {
		only = "only " + jobs.Clip(jobs.Either(allowed))
	}
	f := jobs.Fail(jobs.KindTenantNotAllowed, nil, fmt.Sprintf("use what is allowed, or have the operator add it to tenants.%s.%s in the policy", quoted(key), w.list),
		"%s: the job asks for %s, and %s may have %s: ask the operator for more", w.field, found, jobsOf(tenant), only)
	f.Stage = w.stage
	return f
}

// unknownTenant does not say which tenants there are: they need not know of each other.
func unknownTenant(tenant string) error {
	hint := "have the operator add it to tenants in the policy"
	if tenant == "" {
		hint = "name the tenant that the job is for"
	}
	f := jobs.Fail(jobs.KindTenantNotAllowed, nil, hint, "tenant: %s are not taken here, as the operator allows only those of named tenants: ask the operator", jobsOf(tenant))
	f.Stage = jobs.StageQueue
	return f
}

func jobsOf(tenant string) string {
	if tenant == "" {
		return "jobs without a tenant"
	}
	return fmt.Sprintf("jobs of the tenant %q", jobs.Clip(tenant))
}

// quoted is a key as it stands in the file: * alone would be an alias.
func quoted(key string) string {
	if key == OtherTenants {
		return `"*"`
	}
	return key
}
