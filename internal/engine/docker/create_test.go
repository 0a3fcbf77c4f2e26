//go:build integration

package docker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
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
	ended := make(chan error, all)
	for i := range all {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*4*time.Millisecond+time.Millisecond)
			defer cancel()
			c := spec(t, "true")
			c.Name += fmt.Sprint("-", i)
			_, err := e.Create(ctx, c)
			ended <- err
		}()
	}
	failed := 0
	for range all {
		if <-ended != nil {
			failed++
		}
	}
	at := made()
	<-time.After(3 * time.Second)
	if after := made(); after != at {
		t.Errorf("%d of %d creates were called off; %d containers were there, and %d some seconds later", failed, all, at, after)
	}
	t.Logf("%d of %d creates were called off, %d containers", failed, all, at)
}
