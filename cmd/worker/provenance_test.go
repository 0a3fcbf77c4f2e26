package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

// shelf keeps what is attached, unless it cannot.
type shelf struct {
	cannot error
	has    map[string]engine.Attachment
}

func (s *shelf) CanAttach() error { return s.cannot }

func (s *shelf) Attach(_ context.Context, image string, a engine.Attachment) error {
	s.has[image] = a
	return nil
}

// Provenance is signed with the key that is there when it is needed.
func TestProvenance(t *testing.T) {
	t.Parallel()
	s := &shelf{has: map[string]engine.Attachment{}}
	c := defaults()
	if p, err := newProvenance(c, s); p != nil || err != nil {
		t.Errorf("by default: %v, %v; want none", p, err)
	}
	c.Provenance, c.ProvenanceKey = true, filepath.Join(t.TempDir(), "key.pem")
	p, err := newProvenance(c, s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Seal(t.Context(), provenance.Statement{})
	if f := jobs.AsFailure(err); err == nil || f.Kind != jobs.KindEngine || strings.Contains(f.Message, c.ProvenanceKey) {
		t.Errorf("without a key: %v", err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.ProvenanceKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := p.Seal(t.Context(), provenance.Statement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), key.Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
	if err := p.Attach(t.Context(), "app@sha256:1", d); err != nil {
		t.Fatal(err)
	}
	got := s.has["app@sha256:1"]
	if got.MediaType != provenance.MediaTypeEnvelope || string(got.Content) != string(d.Content) || got.Annotations["in-toto.io/predicate-type"] != "https://slsa.dev/provenance/v1" {
		t.Errorf("attached %+v", got)
	}

	s.cannot = errors.New("the Docker daemon is on another host")
	if _, err := newProvenance(c, s); err == nil || err.Error() != "--provenance: the Docker daemon is on another host; leave it out, or run the worker beside its daemon" {
		t.Errorf("with a daemon elsewhere: %v", err)
	}
}
