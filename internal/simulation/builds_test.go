package simulation

import (
	"context"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// admission reads Dockerfiles: a build has a key only when it is known what goes into it.
type admission struct{ worker.Fetch }

func (admission) Build(_ context.Context, _ jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error) {
	sources, err := dockerfile.Check(d, b, dockerfile.Defaults())
	return dockerfile.Admitted{Build: b, Sources: sources}, err
}

// buildsOf are the builds with keys as a process knows them.
type buildsOf struct {
	truth
	at faults.At
}

func (l buildsOf) BeginBuild(ctx context.Context, key string, b jobs.KeyedBuild) (jobs.KeyedBuild, error) {
	if err := l.at(ctx, faults.Call{Name: "beginbuild"}); err != nil {
		return jobs.KeyedBuild{}, err
	}
	has, err := l.Memory.BeginBuild(ctx, key, b)
	if err != nil {
		return has, err
	}
	return has, l.at(ctx, faults.Call{Name: "beginbuild", After: true})
}

func (l buildsOf) HoldBuild(ctx context.Context, key string, b jobs.KeyedBuild) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "holdbuild"}); err != nil {
		return false, err
	}
	return l.Memory.HoldBuild(ctx, key, b)
}

func (l buildsOf) EndBuild(ctx context.Context, key string, b jobs.KeyedBuild) error {
	if err := l.at(ctx, faults.Call{Name: "endbuild"}); err != nil {
		return err
	}
	if err := l.Memory.EndBuild(ctx, key, b); err != nil {
		return err
	}
	return l.at(ctx, faults.Call{Name: "endbuild", After: true})
}
