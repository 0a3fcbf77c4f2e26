// Package admission judges by the operator's policy what jobs ask for: what their tenant
// may name, contexts, builds, images, registries, ports and limits.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/registries"
)

// inForce is a policy with what checks contexts and builds against it.
type inForce struct {
	policy  policy.Policy
	rules   dockerfile.Rules
	fetcher *contexts.Fetcher
}

// Admission judges jobs by the policy of the moment: it reads the policy file anew when
// that has changed, so that an operator need not restart workers. A file that is no good
// changes nothing. It implements worker.Admission and is safe for concurrent use.
type Admission struct {
	lg   *slog.Logger
	file string
	make func(policy.Policy) (*contexts.Fetcher, error)
	own  []int // ports of this host that the farm itself listens on
	// registries are those that jobs may make the farm talk to.
	registries *registries.Guard

	mu      sync.Mutex
	current *inForce
	stamp   stamp
	// rejected is why the changed file is not in force, nil when it is.
	rejected error
}

// stamp tells one state of a file from another.
type stamp struct {
	size     int64
	modified time.Time
}

// Open loads the policy file, "" for the default policy, and fails when it is no good.
// Registries that it names come on top of those of the options. fetcher opens the sources
// of contexts that a policy allows.
func Open(lg *slog.Logger, file string, o registries.Options, fetcher func(policy.Policy) (*contexts.Fetcher, error)) (*Admission, error) {
	a := &Admission{lg: lg, file: file, make: fetcher, own: o.Own}
	more := o.Named
	o.Named = func() []string {
		named := a.get(context.Background()).policy.Images.Registries
		if more != nil {
			named = append(slices.Clone(named), more()...)
		}
		return named
	}
	a.registries = registries.New(lg, o)
	if file != "" {
		abs, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		a.file = abs
	}
	return a, a.load()
}

func (a *Admission) load() error {
	now := a.look()
	p, err := policy.Load(a.file)
	if err != nil {
		return err
	}
	f, err := a.make(p)
	if err != nil {
		return fmt.Errorf("policy %s: %w", a.file, err)
	}
	a.current, a.stamp, a.rejected = &inForce{p, p.Rules(), f}, now, nil
	return nil
}

func (a *Admission) look() stamp {
	info, err := os.Stat(a.file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// get is the policy of this moment.
func (a *Admission) get(ctx context.Context) *inForce {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.look(); a.file != "" && now != a.stamp {
		if err := a.load(); err != nil {
			a.lg.ErrorContext(ctx, "loading the changed policy file failed; the one before stays in force", "err", err)
			a.stamp, a.rejected = now, err
		} else {
			a.lg.InfoContext(ctx, "loaded the changed policy file", "file", a.file)
		}
	}
	return a.current
}

// Rejected is why the policy in force is not the one in the file, nil when it is.
func (a *Admission) Rejected(ctx context.Context) error {
	a.get(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rejected
}

// Policy is the one in force.
func (a *Admission) Policy() policy.Policy { return a.get(context.Background()).policy }

// Registries says which registries the farm may be made to talk to.
func (a *Admission) Registries() *registries.Guard { return a.registries }

// Context implements worker.Admission.
func (a *Admission) Context(ctx context.Context, c jobs.Context, name string) (*contexts.Fetched, error) {
	return a.get(ctx).fetcher.Fetch(ctx, c, name)
}

// Job implements worker.Admission.
func (a *Admission) Job(ctx context.Context, job jobs.Spec) error {
	now := a.get(ctx)
	if err := now.policy.Tenants.Check(job); err != nil {
		return err
	}
	if job.Run != nil {
		if err := now.policy.Ports.Check(*job.Run, a.own); err != nil {
			return err
		}
		if err := a.checkRun(ctx, *job.Run); err != nil {
			return at(jobs.StageRun, err)
		}
	}
	if job.Build == nil {
		return a.checkRegistries(ctx, jobs.StageRun, job.Run.Image)
	}
	if err := now.rules.Pushes(*job.Build); err != nil {
		return at(jobs.StagePush, err)
	}
	if err := a.checkRegistries(ctx, jobs.StageBuild, job.Build.CacheFrom...); err != nil || !job.Build.Push {
		return err
	}
	return a.checkRegistries(ctx, jobs.StagePush, job.Build.Tags...)
}

// checkRegistries checks the registries of images before the Docker daemon or this
// process talks to one.
func (a *Admission) checkRegistries(ctx context.Context, s jobs.Stage, images ...string) error {
	return at(s, a.registries.Admit(ctx, images...))
}

// at says which stage a refusal is about.
func at(s jobs.Stage, err error) error {
	var f *jobs.Failure
	if errors.As(err, &f) {
		f.Stage = s
	}
	return err
}

// Build implements worker.Admission.
func (a *Admission) Build(ctx context.Context, job jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error) {
	now := a.get(ctx)
	b.Pull = b.Pull || now.policy.Images.Pull == "always"
	sources, err := dockerfile.Check(d, b, now.rules)
	if err == nil {
		err = a.checkRegistries(ctx, jobs.StageBuild, sources.Asked...)
	}
	return dockerfile.Admitted{Build: b, Sources: sources, CacheSpace: now.policy.CacheSpace(job)}, err
}

// Images implements worker.Admission.
func (a *Admission) Images(ctx context.Context, refs ...string) error {
	rules := a.get(ctx).rules
	for _, ref := range refs {
		if !rules.ImageAllowed(ref) {
			return jobs.Fail(jobs.KindImageNotAllowed, nil, "use another image, or ask the operator", "the image %q is not one that the operator allows", ref)
		}
	}
	return a.registries.Admit(ctx, refs...)
}

// checkRun checks the limits of a run against the policy.
func (a *Admission) checkRun(ctx context.Context, r jobs.Run) error {
	allowed := a.get(ctx).policy.Run
	refuse := func(field string, asked, highest int64) error {
		return limitRefused(field, policy.Bound(asked), policy.Bound(highest))
	}
	if highest := int64(allowed.Pids); r.Limits.Pids != 0 && jobs.Above(r.Limits.Pids, highest) {
		return refuse("run.limits.pids", r.Limits.Pids, highest)
	}
	if highest := jobs.Bytes(allowed.Disk); highest > 0 && r.Limits.Disk > highest {
		return limitRefused("run.limits.disk", r.Limits.Disk, highest)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Limits.Ulimits)) {
		if asked, highest := r.Limits.Ulimits[name].Hard, allowed.Ulimit(name); jobs.Above(asked, highest) {
			return refuse("run.limits.ulimits."+name, asked, highest)
		}
	}
	return nil
}

func limitRefused(field string, asked, highest fmt.Stringer) error {
	return jobs.Fail(jobs.KindLimitNotAllowed, nil, "ask for less, or ask the operator",
		"%s: the job asks for %s, and the operator allows %s", field, asked, highest)
}
