//go:build integration

package docker

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
)

// A container whose making was called off is there when Create returns, or never: its
// owner looks for it then and no more.
func TestCreateCalledOff(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	const all = 24
	job := spec(t, "true").Labels[engine.LabelJob]
	made := func() (n int) {
		found, err := e.List(t.Context(), map[string]string{engine.LabelJob: job})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	t.Cleanup(func() {
		found, err := e.List(context.Background(), map[string]string{engine.LabelJob: job})
		for _, c := range found {
			if err = e.Remove(context.Background(), c.ID); err != nil {
				break
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	ended := make(chan struct{}, all)
	for i := range all {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*4*time.Millisecond+time.Millisecond)
			defer cancel()
			c := spec(t, "true")
			c.Name += fmt.Sprint("-", i)
			_, _ = e.Create(ctx, c)
			ended <- struct{}{}
		}()
	}
	for range all {
		<-ended
	}
	at := made()
	<-time.After(3 * time.Second)
	if after := made(); after != at {
		t.Errorf("%d containers were there, and %d some seconds later", at, after)
	}
}

// A build that was called off has named its image when Build returns, or never will.
func TestBuildCalledOff(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	for _, way := range []string{"request", "control"} {
		t.Run(way, func(t *testing.T) {
			const dockerfile, repository = "FROM scratch\nCOPY x /\n", "called-off-"
			built := func(ctx context.Context, n int) error {
				b := engine.Build{
					Name:    fmt.Sprint(repository, way, ":", n),
					Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", dockerfile, "x", strings.Repeat(fmt.Sprint(way, n), 100_000))),
				}
				if way == "control" {
					b.Dockerfile = []byte(dockerfile)
				}
				t.Cleanup(func() { _ = e.RemoveImage(context.Background(), b.Name) }) // most have none
				_, err := e.Build(ctx, b)
				return err
			}
			names := func() []engine.Named {
				found, err := e.Images(t.Context(), repository+way)
				if err != nil {
					t.Fatal(err)
				}
				return found
			}
			var whole time.Duration // of a build that is not the daemon's first
			for i := range 2 {
				began := time.Now()
				if err := built(t.Context(), i); err != nil {
					t.Fatal(err)
				}
				whole = time.Since(began)
			}
			const all = 24
			failed := 0
			for i := range all {
				ctx, cancel := context.WithTimeout(t.Context(), whole/4+whole*time.Duration(i)/all)
				err := built(ctx, i+2)
				cancel()
				if err == nil {
					continue
				}
				failed++
				at := names()
				<-time.After(100 * time.Millisecond)
				if after := names(); len(after) != len(at) {
					t.Errorf("build %d failed with %v; %d images were there, and %d a moment later", i, err, len(at), len(after))
				}
			}
			if failed == 0 {
				t.Error("no build was called off")
			}
		})
	}
}
