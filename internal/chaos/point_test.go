//go:build integration && chaos

package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/faults"
)

// point is a step at which one process of those that share dir is held.
type point struct {
	t    *testing.T
	dir  string
	step faults.Step
}

// arm makes the next process that comes to the step wait there.
func arm(t *testing.T, dir string, s faults.Step) point {
	t.Helper()
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, string(s)), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return point{t, dir, s}
}

// hit waits for a process and returns its pid.
func (p point) hit() (pid int) {
	p.t.Helper()
	farmtest.Eventually(p.t, time.Minute, fmt.Sprintf("a process comes to step %s", p.step), func() error {
		raw, err := os.ReadFile(p.file())
		if err == nil {
			pid, err = strconv.Atoi(string(raw))
		}
		return err
	})
	return pid
}

// release lets it go on: at once, or when it is not stopped any more.
func (p point) release() {
	p.t.Helper()
	if err := os.Remove(p.file()); err != nil {
		p.t.Fatal(err)
	}
}

func (p point) file() string { return filepath.Join(p.dir, string(p.step)+".hit") }
