//go:build integration && chaos

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// task is a job with what should come of it.
type task struct {
	oracle.Task
	args []string // of submit
}

// draw draws task number n of so many. Contexts are made below dir. The last third
// are none that are tried again, which would only be waited for.
func draw(r *rand.Rand, n, of int, dir string) (task, error) {
	seconds, retries := r.IntN(5), r.IntN(3)
	begin, end := fmt.Sprintf("job %d begins", n), fmt.Sprintf("job %d ends", n)
	body := fmt.Sprintf("echo %s; sleep %d; echo %s", begin, seconds, end)
	t := task{Task: oracle.Task{Key: fmt.Sprint("job-", n), State: jobs.Succeeded, Log: begin + "\n" + end + "\n", Retries: retries}}
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
	case k < 11 && n%3 == 0:
		body = fmt.Sprintf("echo %s; sleep %d; cat /run/secrets/it; echo %s", begin, seconds, end)
		t.Does, t.args = fmt.Sprintf("prints a secret after %d s", seconds), run(body, "--run-secret", "id=it,name=token")
		t.Log = begin + "\n" + strings.Repeat("*", len(token)) + "\n" + end + "\n"
	case k < 11:
		t.Does, t.args = fmt.Sprintf("runs for %d s", seconds), run(body)
	case k < 14:
		code := 1 + r.IntN(100)
		t.Does = fmt.Sprintf("ends with %d after %d s", code, seconds)
		t.args = run(body + "; exit " + strconv.Itoa(code))
		t.State, t.Kind = jobs.Failed, jobs.KindExitNonzero
	case k < 16:
		t.Does, t.Outputs = fmt.Sprintf("leaves an output after %d s", seconds), 1
		t.args = run(body+"; echo out >/tmp/out", "--output-path", "/tmp/out")
	case k < 17:
		t.Does, t.Log = "builds from scratch", ""
		t.args, err = directory(dir, strconv.Itoa(n), "FROM scratch\nCOPY Dockerfile /\n")
	case k < 19:
		t.Does = fmt.Sprintf("builds and runs for %d s", seconds)
		t.args, err = directory(dir, strconv.Itoa(n), fmt.Sprintf("FROM busybox\nRUN sleep 1; echo %d >/made\nCMD [\"sh\", \"-c\", \"%s\"]\n", n, body), "--run", "--init")
	default:
		t.Does, t.Log = "fails to build", ""
		t.State, t.Kind = jobs.Failed, jobs.KindBuildFailed
		t.args, err = directory(dir, strconv.Itoa(n), fmt.Sprintf("FROM busybox\nRUN sleep 1; echo %d; exit 3\n", n))
	}
	t.Does += fmt.Sprintf(", with %d retries", retries)
	t.args = slices.Concat([]string{"--retries", strconv.Itoa(retries), "--idempotency-key", t.Key}, wheres(n), t.args)
	return t, err
}

// wheres are the flags of task number n that decide where its ticket waits: turns, recipes
// and routes, which all hosts serve.
func wheres(n int) (flags []string) {
	r := rand.New(rand.NewPCG(uint64(n), 5))
	if r.IntN(2) == 0 {
		flags = append(flags, "--name", fmt.Sprint("app-", r.IntN(4)))
	}
	if r.IntN(3) == 0 {
		flags = append(flags, "--tenant", []string{"blue", "red"}[r.IntN(2)])
	}
	if r.IntN(5) == 0 {
		flags = append(flags, "--requires", "arch="+runtime.GOARCH)
	}
	if r.IntN(6) == 0 {
		flags = append(flags, "--priority", string(jobs.PriorityHigh))
	}
	return flags
}

// directory makes a context and returns the arguments that submit it.
func directory(dir, name, dockerfile string, flags ...string) ([]string, error) {
	path := filepath.Join(dir, "context-"+name)
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
