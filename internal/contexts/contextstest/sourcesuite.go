// Package contextstest has the suite that every contexts.Source passes, servers that
// misbehave, and the corpora of hostile archives and Dockerfiles. Tests call it.
package contextstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// SourceCase is a source with what the suite needs to try it.
type SourceCase struct {
	Source contexts.Source
	// Place makes content available and returns its reference.
	Place func(t *testing.T, content []byte) string
	// Decode makes the content of what the source yields; nil when they are the
	// same.
	Decode func(t *testing.T, raw []byte) []byte
	// Missing is a well-formed reference that leads to nothing.
	Missing string
	// Refused are references that must not be opened, by the kind of failure.
	Refused map[string]jobs.Kind
	// Secrets are texts that no message may contain, such as other paths of
	// the host.
	Secrets []string
}

// TestSource holds a source to the promises of contexts.Source.
func TestSource(t *testing.T, open func(t *testing.T) SourceCase) {
	t.Run("content comes as it is", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		for _, tt := range artifactstest.Contents() {
			if tt.Bytes == nil {
				continue
			}
			ref := c.Place(t, tt.Bytes)
			r, err := c.Source.Open(t.Context(), jobs.Context{Ref: ref})
			if err != nil {
				t.Fatalf("%s: Open(%q) = %v", tt.Name, ref, err)
			}
			if got := c.read(t, r); !bytes.Equal(got, tt.Bytes) {
				t.Errorf("%s: got %d bytes, want %d", tt.Name, len(got), len(tt.Bytes))
			}
			if again, ok := r.(artifacts.Rewinder); ok {
				if err := again.Rewind(t.Context()); err != nil {
					t.Errorf("%s: Rewind = %v", tt.Name, err)
				}
				if got := c.read(t, r); !bytes.Equal(got, tt.Bytes) {
					t.Errorf("%s: got %d bytes after Rewind, want %d", tt.Name, len(got), len(tt.Bytes))
				}
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s: Close = %v", tt.Name, err)
			}
		}
	})
	t.Run("schemes are those of its references", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		scheme, _, _ := strings.Cut(c.Missing, ":")
		known := false
		for _, s := range c.Source.Schemes() {
			known = known || s == scheme
			if s == "" || strings.ToLower(s) != s || strings.Contains(s, ":") {
				t.Errorf("Schemes has %q, want a lower-case name without colon", s)
			}
		}
		if !known {
			t.Errorf("Schemes = %q, want %q in it", c.Source.Schemes(), scheme)
		}
	})
	t.Run("failures have a kind, a hint and no secret", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		refs := map[string]jobs.Kind{c.Missing: jobs.KindContextNotFound}
		for ref, kind := range c.Refused {
			refs[ref] = kind
		}
		for ref, kind := range refs {
			r, err := c.Source.Open(t.Context(), jobs.Context{Ref: ref})
			if err == nil {
				_ = r.Close()
				t.Errorf("Open(%q) = nil, want %s", ref, kind)
				continue
			}
			f, ok := errors.AsType[*jobs.Failure](err)
			if !ok || f.Kind != kind {
				t.Errorf("Open(%q) = %v, want kind %s", ref, err, kind)
				continue
			}
			if f.Message == "" || f.Hint == "" {
				t.Errorf("Open(%q): message %q, hint %q, want both", ref, f.Message, f.Hint)
			}
			for _, secret := range c.Secrets {
				if strings.Contains(f.Message, secret) || strings.Contains(f.Hint, secret) {
					t.Errorf("Open(%q): %q, %q shows %q", ref, f.Message, f.Hint, secret)
				}
			}
		}
	})
	t.Run("a cancelled context opens nothing", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		ref := c.Place(t, []byte("late"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := c.Source.Open(ctx, jobs.Context{Ref: ref})
		if err == nil {
			_ = r.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Open = %v, want context.Canceled", err)
		}
	})
	t.Run("a reading ends with its context", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		ref := c.Place(t, artifactstest.Noise(3<<20))
		opened, cancelOpened := context.WithCancel(t.Context())
		r, err := c.Source.Open(opened, jobs.Context{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		again, ok := r.(artifacts.Rewinder)
		if ok {
			rewound, cancel := context.WithCancel(t.Context())
			if err := again.Rewind(rewound); err != nil {
				t.Fatal(err)
			}
			cancelOpened() // the reading before
			if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("Read = %d, %v after Rewind; it ends with the context of Open", n, err)
			}
			cancel()
		}
		cancelOpened()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("Read = %v after the end of its context, want context.Canceled", err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		content := artifactstest.Noise(100_000)
		ref := c.Place(t, content)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				r, err := c.Source.Open(t.Context(), jobs.Context{Ref: ref})
				if err != nil {
					t.Errorf("Open = %v", err)
					return
				}
				defer r.Close()
				if got := c.read(t, r); !bytes.Equal(got, content) {
					t.Errorf("got %d bytes, want %d", len(got), len(content))
				}
			})
		}
		wg.Wait()
	})
}

// read reads to the end.
func (c SourceCase) read(t *testing.T, r io.Reader) []byte {
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if c.Decode != nil {
		return c.Decode(t, raw)
	}
	return raw
}
