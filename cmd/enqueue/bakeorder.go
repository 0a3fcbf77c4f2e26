package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// waves are the targets that become jobs, so that each comes after all that it is built on.
// Without --in-order there is one wave.
func (b *baking) waves() ([][]*baked, error) {
	left := b.taken()
	if !b.options.InOrder {
		return [][]*baked{left}, nil
	}
	var waves [][]*baked
	for len(left) > 0 {
		var wave, later []*baked
		for _, t := range left {
			if slices.ContainsFunc(left, func(other *baked) bool { return slices.Contains(t.standsOn, other.Name) }) {
				later = append(later, t)
			} else {
				wave = append(wave, t)
			}
		}
		if len(wave) == 0 {
			return nil, usage("change one of their Dockerfiles, or leave out --in-order", "bake file %s: these targets are built on tags of each other: %s", b.options.Bake, namesOf(left))
		}
		waves, left = append(waves, wave), later
	}
	return waves, nil
}

func namesOf(targets []*baked) string {
	var names []string
	for _, t := range targets {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

// submitWaves submits the jobs of a wave in one go; with --in-order it waits for their ends
// before the next one, and leaves out what stands on one that did not succeed.
func (b *baking) submitWaves(ctx context.Context, waves [][]*baked) error {
	if !b.options.InOrder {
		return b.handOver(ctx, waves[0])
	}
	missing := map[string]bool{} // targets that are not built
	var lines []string
	for i, wave := range waves {
		var ready []*baked
		for _, t := range wave {
			on := slices.IndexFunc(t.standsOn, func(name string) bool { return missing[name] })
			if on < 0 {
				ready = append(ready, t)
				continue
			}
			missing[t.Name] = true
			lines = append(lines, fmt.Sprintf("%s: not submitted, it is built on %s", t.Name, t.standsOn[on]))
		}
		if len(ready) == 0 {
			continue
		}
		b.say("wave %d of %d: %s", i+1, len(waves), namesOf(ready))
		if err := b.handOver(ctx, ready); err != nil {
			return err
		}
		bad, err := b.await(ctx, ready)
		if err != nil {
			return err
		}
		for _, line := range bad {
			name, _, _ := strings.Cut(line, ":")
			missing[name] = true
		}
		lines = append(lines, bad...)
	}
	if len(lines) > 0 {
		return failure{
			code: jobs.ExitFailed, lines: lines, what: fmt.Sprintf("%d of %s are not built", len(missing), count(len(b.taken()), "target")),
			hint: "enqueue logs shows what the job printed; submit these targets once more when it is mended",
		}
	}
	return nil
}

// await waits for the ends of jobs, and says of each that did not succeed "target: why".
func (b *baking) await(ctx context.Context, wave []*baked) (bad []string, err error) {
	var ids []string
	for _, t := range wave {
		ids = append(ids, t.id)
	}
	list, err := b.waitAll(ctx, ids, 0)
	if err != nil {
		return nil, err
	}
	for i, job := range list {
		if job.State == jobs.Succeeded {
			continue
		}
		why := string(job.State)
		if r := job.Result; r != nil && r.Failure != nil {
			why = fmt.Sprintf("%s: %s", r.Failure.Kind, r.Failure.Message)
		}
		bad = append(bad, fmt.Sprintf("%s: job %s: %s", wave[i].Name, job.ID, why))
	}
	return bad, nil
}
