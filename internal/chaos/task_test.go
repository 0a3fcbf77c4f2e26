//go:build integration && chaos

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// task is a job with what should come of it.
type task struct {
	n       int
	does    string
	args    []string // of submit
	state   jobs.State
	kind    jobs.Kind
	log     string // what its container prints
	retries int
	outputs int
	builds  bool
}

func (t task) String() string { return t.does }

// draw draws task number n of so many. Contexts are made below dir. The last third
// are none that are tried again, which would only be waited for.
func draw(r *rand.Rand, n, of int, dir string) (task, error) {
	seconds, retries := r.IntN(5), r.IntN(3)
	begin, end := fmt.Sprintf("job %d begins", n), fmt.Sprintf("job %d ends", n)
	body := fmt.Sprintf("echo %s; sleep %d; echo %s", begin, seconds, end)
	t := task{n: n, state: jobs.Succeeded, log: begin + "\n" + end + "\n", retries: retries}
	run := func(script string, flags ...string) []string {
		return append(flags, "--init", "--image", hosttest.BusyboxTag, "--", "sh", "-c", script)
	}
	var err error
	k := r.IntN(20)
	fails := k >= 11 && k < 14 || k == 19
	if fails && n > of*2/3 {
		k = 0
	}
	switch {
	case k < 11:
		t.does, t.args = fmt.Sprintf("runs for %d s", seconds), run(body)
	case k < 14:
		code := 1 + r.IntN(100)
		t.does = fmt.Sprintf("ends with %d after %d s", code, seconds)
		t.args = run(body + "; exit " + strconv.Itoa(code))
		t.state, t.kind = jobs.Failed, jobs.KindExitNonzero
	case k < 16:
		t.does, t.outputs = fmt.Sprintf("leaves an output after %d s", seconds), 1
		t.args = run(body+"; echo out >/tmp/out", "--output-path", "/tmp/out")
	case k < 17:
		t.does, t.log, t.builds = "builds from scratch", "", true
		t.args, err = directory(dir, n, "FROM scratch\nCOPY Dockerfile /\n")
	case k < 19:
		t.does, t.builds = fmt.Sprintf("builds and runs for %d s", seconds), true
		t.args, err = directory(dir, n, fmt.Sprintf("FROM busybox\nRUN sleep 1; echo %d >/made\nCMD [\"sh\", \"-c\", \"%s\"]\n", n, body), "--run", "--init")
	default:
		t.does, t.log, t.builds = "fails to build", "", true
		t.state, t.kind = jobs.Failed, jobs.KindBuildFailed
		t.args, err = directory(dir, n, fmt.Sprintf("FROM busybox\nRUN sleep 1; echo %d; exit 3\n", n))
	}
	t.does += fmt.Sprintf(", with %d retries", retries)
	t.args = append([]string{"--retries", strconv.Itoa(retries), "--idempotency-key", fmt.Sprint("job-", n)}, t.args...)
	return t, err
}

// directory makes a context and returns the arguments that submit it.
func directory(dir string, n int, dockerfile string, flags ...string) ([]string, error) {
	path := filepath.Join(dir, fmt.Sprint("context-", n))
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	err := os.WriteFile(filepath.Join(path, "Dockerfile"), []byte(dockerfile), 0o644)
	return append(flags, path), err
}

// patience is how long everything may take to end once nothing goes wrong any
// more, on a machine that has no more to give than two jobs a second.
func patience(jobCount int) time.Duration {
	return 3*time.Minute + time.Duration(jobCount)*2*time.Second
}
