package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
	"github.com/slipway-farm/slipway/internal/worker"
)

// newProvenance returns what attaches to pushed images how they were built, nil when the
// operator does not want that.
func newProvenance(c config, e attacher) (worker.Provenance, error) {
	if !c.Provenance {
		return nil, nil
	}
	if err := e.CanAttach(); err != nil {
		return nil, fmt.Errorf("--provenance: %w; leave it out, or run the worker beside its daemon", err)
	}
	return attestations{e, c.ProvenanceKey}, nil
}

// attacher is what attaches to images at their registries. Package engine/docker documents
// the promises.
type attacher interface {
	CanAttach() error
	Attach(ctx context.Context, image string, a engine.Attachment) error
}

// attestations implements worker.Provenance.
type attestations struct {
	engine attacher
	key    string // the file, "" for none
}

// Seal implements worker.Provenance. The key is read anew each time, so that it can be
// replaced while the worker runs.
func (p attestations) Seal(ctx context.Context, s provenance.Statement) (provenance.Document, error) {
	var key ed25519.PrivateKey
	if p.key != "" {
		var err error
		if key, err = provenance.ReadKey(p.key); err != nil {
			return provenance.Document{}, jobs.Fail(jobs.KindEngine, err, "ask the operator to look at the worker's --provenance-key", "the worker cannot read its key for provenance")
		}
	}
	return provenance.Seal(ctx, s, key)
}

// Attach implements worker.Provenance.
func (p attestations) Attach(ctx context.Context, repoDigest string, d provenance.Document) error {
	return p.engine.Attach(ctx, repoDigest, engine.Attachment{
		MediaType: d.MediaType, Content: d.Content, Annotations: map[string]string{provenance.AnnotationPredicate: provenance.PredicateType},
	})
}

// checkProvenance finds a key that cannot sign.
func checkProvenance(c config) error {
	switch {
	case c.ProvenanceKey == "":
		return nil
	case !c.Provenance:
		return errors.New("--provenance-key: nothing is signed without --provenance; give both, or neither")
	}
	if _, err := provenance.ReadKey(c.ProvenanceKey); err != nil {
		return fmt.Errorf("--provenance-key: %w", err)
	}
	return nil
}
