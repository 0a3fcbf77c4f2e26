//go:build integration

package docker

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
)

// TestNamedContexts: a name in FROM, COPY --from and a mount is a tar beside the context. No
// frontend that knows of no such names builds without them.
func TestNamedContexts(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	info, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const dockerfile = `FROM busybox:latest AS work
RUN --mount=from=shared,target=/s cat /s/dir/a > /mounted
FROM shared
COPY --from=work /mounted /bin/busybox /
COPY --from=shared/two:1 /b /copied
COPY main /
`
	got, err := e.Build(t.Context(), engine.Build{
		Name:    "named-contexts:1",
		Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", dockerfile, "main", "m")),
		Contexts: map[string]io.Reader{
			"shared":       bytes.NewReader(enginetest.Archive(t, "dir/a", "one")),
			"shared/two:1": bytes.NewReader(enginetest.Archive(t, "b", "two")),
			"unused":       bytes.NewReader(nil),
		},
	})
	if !info.Contexts {
		if err == nil || !strings.Contains(err.Error(), "unsupported frontend capability") {
			t.Errorf("got %v of an engine whose frontend knows of no contexts by names", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.RemoveImage(t.Context(), "named-contexts:1") })
	t.Cleanup(func() { _ = e.RemoveImage(context.Background(), "named-contexts:1") })
	var out bytes.Buffer
	c := spec(t, "")
	c.Image, c.Spec.Command = got.ImageID, []string{"/busybox", "sh", "-c", "/busybox cat /dir/a /mounted /copied /main; /busybox ls /"}
	if s := run(t, e, c, engine.Output{Stdout: &out}); s.ExitCode != 0 || !strings.HasPrefix(out.String(), "oneonetwom") || strings.Contains(out.String(), "Dockerfile") {
		t.Errorf("exit code %d, output %q", s.ExitCode, out.String())
	}
}
