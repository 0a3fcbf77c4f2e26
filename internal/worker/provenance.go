package worker

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

// Provenance publishes how images were built. It is safe for concurrent use.
type Provenance interface {
	// Seal makes of a statement what is attached: it signs it, where the operator has given
	// a key.
	Seal(ctx context.Context, s provenance.Statement) (provenance.Document, error)
	// Attach attaches a document to an image of a registry, name@sha256:.... It does no harm
	// to do so again. KindRegistryUnavailable says that it may work in a while.
	Attach(ctx context.Context, repoDigest string, d provenance.Document) error
}

// attest attaches to each pushed image how it was built. Where an operator wants that, a
// pushed image without it is as good as not pushed.
func (a *attempt) attest(ctx context.Context) error {
	if a.w.Provenance == nil {
		return nil
	}
	d, err := a.w.Provenance.Seal(ctx, provenance.New(provenance.Build{
		Job: a.job, Result: a.res, Farm: a.w.opts.Farm, Version: a.w.opts.Version,
		Began: a.job.Claimed, Ended: a.job.Claimed.Add(a.built),
	}))
	if err != nil {
		return err
	}
	for i, image := range a.res.RepoDigests {
		if slices.Contains(a.res.RepoDigests[:i], image) {
			continue // another tag of it
		}
		err := a.patiently(ctx, func() error {
			return jobs.About("the provenance of the image was not attached", a.w.Provenance.Attach(ctx, image, d))
		})
		if err != nil {
			return fmt.Errorf("attach the provenance to %s: %w", image, err)
		}
		fmt.Fprintf(a.joblog.Writer(jobs.Note), "attached the provenance to %s\n", image)
	}
	return nil
}
