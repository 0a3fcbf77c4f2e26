package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/registries"
	"github.com/slipway-farm/slipway/internal/worker"
)

// admission is a policy with what holds contexts and builds to it.
type admission struct {
	policy  policy.Policy
	rules   dockerfile.Rules
	fetcher *contexts.Fetcher
}

// admissions reads the policy file anew when it has changed, so that an operator
// need not restart workers. A file that is no good changes nothing.
type admissions struct {
	lg   *slog.Logger
	file string
	make func(policy.Policy) (*contexts.Fetcher, error)
	own  []int // ports of this host that the farm itself listens on
	// registries are those that jobs may make the farm talk to.
	registries *registries.Guard

	mu      sync.Mutex
	current *admission
	stamp   stamp
}

// stamp tells one state of a file from another.
type stamp struct {
	size     int64
	modified time.Time
}

// openPolicy loads the policy, and fails when it is no good. Registries that it names
// come on top of those of the options.
func openPolicy(lg *slog.Logger, file string, o registries.Options, fetcher func(policy.Policy) (*contexts.Fetcher, error)) (*admissions, error) {
	a := &admissions{lg: lg, file: file, make: fetcher, own: o.Own}
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

func (a *admissions) load() error {
	now := a.look()
	p, err := policy.Load(a.file)
	if err != nil {
		return err
	}
	f, err := a.make(p)
	if err != nil {
		return fmt.Errorf("policy %s: %w", a.file, err)
	}
	a.current, a.stamp = &admission{p, p.Rules(), f}, now
	return nil
}

func (a *admissions) look() stamp {
	info, err := os.Stat(a.file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// get is the policy of this moment.
func (a *admissions) get(ctx context.Context) *admission {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.look(); a.file != "" && now != a.stamp {
		if err := a.load(); err != nil {
			a.lg.ErrorContext(ctx, "the policy file changed and cannot be used; the one before stays", "err", err)
			a.stamp = now
		} else {
			a.lg.InfoContext(ctx, "the policy file changed and is in force", "file", a.file)
		}
	}
	return a.current
}

// fetch reads a context under the policy.
func (a *admissions) fetch(ctx context.Context, c jobs.Context, name string) (*contexts.Fetched, error) {
	return a.get(ctx).fetcher.Fetch(ctx, c, name)
}

// admitJob checks what a job asks for in its document.
func (a *admissions) admitJob(ctx context.Context, job jobs.Spec) error {
	now := a.get(ctx)
	if job.Run != nil {
		if err := now.policy.Ports.Check(*job.Run, a.own); err != nil {
			return err
		}
		if err := a.admitRun(ctx, *job.Run); err != nil {
			return at(jobs.StageRun, err)
		}
	}
	if job.Build == nil {
		return a.admitRegistries(ctx, jobs.StageRun, job.Run.Image)
	}
	if err := now.rules.Pushes(*job.Build); err != nil {
		return at(jobs.StagePush, err)
	}
	if err := a.admitRegistries(ctx, jobs.StageBuild, job.Build.CacheFrom...); err != nil || !job.Build.Push {
		return err
	}
	return a.admitRegistries(ctx, jobs.StagePush, job.Build.Tags...)
}

// admitRegistries checks the registries of images before the Docker daemon or this
// process talks to one.
func (a *admissions) admitRegistries(ctx context.Context, s jobs.Stage, images ...string) error {
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

// admit checks a build against the policy.
func (a *admissions) admit(ctx context.Context, job jobs.Spec, b jobs.Build, d dockerfile.File) (worker.Admitted, error) {
	now := a.get(ctx)
	b.Pull = b.Pull || now.policy.Images.Pull == "always"
	sources, err := dockerfile.Check(d, b, now.rules)
	if err == nil {
		err = a.admitRegistries(ctx, jobs.StageBuild, sources.Asked...)
	}
	return worker.Admitted{Build: b, Sources: sources, CacheSpace: now.policy.CacheSpace(job)}, err
}

// names are the rules of names that jobs give to images.
func (a *admissions) names() images.Rules {
	p := a.get(context.Background()).policy
	return images.Rules{Tag: p.Images.Tag, Replace: p.Images.Replace, Frontends: p.Dockerfile.Frontends}
}

// admitImages checks images against the policy.
func (a *admissions) admitImages(ctx context.Context, refs ...string) error {
	rules := a.get(ctx).rules
	for _, ref := range refs {
		if !rules.ImageAllowed(ref) {
			return jobs.Fail(jobs.KindImageNotAllowed, nil, "use another image, or ask the operator", "the image %q is not one that the operator allows", ref)
		}
	}
	return a.registries.Admit(ctx, refs...)
}

// admitRun checks the limits of a run against the policy.
func (a *admissions) admitRun(ctx context.Context, r jobs.Run) error {
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

// networks are the exceptions of the address guard; policy.Load has checked
// them.
func networks(list []string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(list))
	for _, n := range list {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

// only are the schemes of a source that the policy allows.
func only(p policy.Policy, schemes ...string) []string {
	return slices.DeleteFunc(schemes, func(s string) bool { return !slices.Contains(p.Context.Schemes, s) })
}

// checkPolicy loads a policy as a worker on this host does: folders and keys that
// are missing here stop a worker here.
func checkPolicy(file string) (policy.Policy, error) {
	p, err := policy.Load(file)
	if err == nil {
		_, err = newFetcher(p, artifacts.NewBlobs(nil, ""), "")
	}
	return p, err
}

func policyCommand(getenv func(string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "policy [FILE]",
		Short: "Check a policy file and print the policy that comes of it, defaults included",
		Long:  "Checks a policy file as a worker on this host does, with the folders and keys that it names, and prints\nthe policy that comes of it. Without FILE it is that of SLIPWAY_POLICY, or the default.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := getenv("SLIPWAY_POLICY")
			if len(args) > 0 {
				file = args[0]
			}
			p, err := checkPolicy(file)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), p)
			return err
		},
	}
}
