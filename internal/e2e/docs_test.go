//go:build integration

package e2e_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/doctest"
)

// updateDocs is set by -docs.update.
var updateDocs = flag.Bool("docs.update", false, "write the outputs of commands to the pages of the documentation")

// onFreshHost are options for a page whose reader has a Docker daemon, the programs, and no
// farm. The page has the addresses of a host to itself.
func onFreshHost(t *testing.T) doctest.Options {
	t.Helper()
	h := hosts.Take(t)
	home := t.TempDir()
	return doctest.Options{
		Dir: home, Update: *updateDocs,
		Env: []string{"HOME=" + home, "PATH=" + bins + ":" + os.Getenv("PATH"), "DOCKER_HOST=" + h.DockerHost(), "TERM=dumb", "LANG=C.UTF-8", "TMPDIR=" + t.TempDir()},
		Command: func(ctx context.Context, argv ...string) *exec.Cmd {
			named := []string{"--uts", "sh", "-c", `hostname anvil && exec "$@"`, "sh"}
			return h.Command(ctx, "unshare", slices.Concat(named, argv)...)
		},
		Replace: []string{home, "/home/ada"},
	}
}

// The tour says what a farm does.
func TestTour(t *testing.T) {
	t.Parallel()
	doctest.Run(t, "../../docs/tour.md", onFreshHost(t))
}
