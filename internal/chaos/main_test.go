//go:build integration && chaos

package chaos_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bins is where TestMain put the programs.
var bins string

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	flag.Parse()
	// Most of what the tests do is wait; those that work say how many at once.
	if err := flag.Set("test.parallel", "64"); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "slipway-chaos-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bins = dir
	build := exec.Command("go", "build", "-tags", "faults", "-o", dir, "../../cmd/worker", "../../cmd/enqueue")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// unsupervised is the flag for a worker without a process that looks after it:
// here the tests do that.
func unsupervised() []string {
	help, err := exec.Command(filepath.Join(bins, "worker"), "--help").CombinedOutput()
	if err == nil && bytes.Contains(help, []byte("--supervise")) {
		return []string{"--supervise=false"}
	}
	return nil
}
