//go:build integration && chaos

package chaos_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// lease is the shortest that workers take.
const lease = 6 * time.Second

// The two things that are done at a step.
const (
	killed  = "killed"
	stopped = "stopped"
)

// matrix is the ground that all cells share.
type matrix struct {
	hosts    []*hosttest.Host
	registry string
	witness  *witness

	mu   sync.Mutex
	rows []row
}

// atOnce is how many cells run at a time: most of what they do is wait.
const atOnce = 6

// row is what a cell found out.
type row struct {
	step     faults.Step
	fault    string
	attempts int
	// recovery is how long the farm took from the process' return to the job's
	// end, without the work that was left.
	recovery, total time.Duration
	note            string
}

func (r row) String() string {
	return fmt.Sprintf("%-11s %-7s  attempts %d  recovery %5.1f s  cell %5.1f s  %s",
		r.step, r.fault, r.attempts, r.recovery.Seconds(), r.total.Seconds(), r.note)
}

// Every named step, with the process that is there killed and started again, or
// stopped for longer than its lease.
func TestMatrix(t *testing.T) {
	t.Parallel()
	began := time.Now()
	m := &matrix{witness: &witness{}}
	for _, name := range []string{"mx-a", "mx-b"} {
		h := hosttest.StartHost(t, name)
		hosttest.Busybox(t, h)
		m.witness.watch(t, h)
		m.hosts = append(m.hosts, h)
	}
	m.registry = startRegistry(t, m.hosts...).addr
	var before [][]string
	for _, h := range m.hosts {
		before = append(before, must(things(t.Context(), h, ""))(t))
	}
	slots := make(chan struct{}, atOnce)
	for _, fault := range []string{stopped, killed} {
		t.Run(fault, func(t *testing.T) {
			for _, step := range faults.Steps() {
				t.Run(string(step), func(t *testing.T) {
					t.Parallel()
					slots <- struct{}{}
					defer func() { <-slots }()
					m.cell(t, step, fault)
				})
			}
		})
	}
	for i, h := range m.hosts {
		if now := must(things(t.Context(), h, ""))(t); !slices.Equal(now, before[i]) {
			t.Errorf("left behind on host %s:\n got %q\nwant %q", h.Name, now, before[i])
		}
	}
	order := faults.Steps()
	slices.SortFunc(m.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.fault, b.fault), cmp.Compare(slices.Index(order, a.step), slices.Index(order, b.step)))
	})
	var table strings.Builder
	for _, r := range m.rows {
		fmt.Fprintf(&table, "\n%s", r)
	}
	t.Logf("%d cells in %s:%s", len(m.rows), time.Since(began).Round(time.Second), table.String())
}

// must ends the test when there is an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// errand is a job that passes a step.
type errand struct {
	args   []string // of submit
	output string
	// builds is true when the job makes and pushes the image tag.
	builds bool
	tag    string
}

// errand writes the job for a cell.
func (m *matrix) errand(t *testing.T, name string, step faults.Step, fault string) errand {
	t.Helper()
	shell := func(script string, flags ...string) errand {
		args := append([]string{"--retries", "2", "--idempotency-key", name}, flags...)
		return errand{args: append(args, "--image", hosttest.BusyboxTag, "--", "sh", "-c", "echo one; "+script+"; echo two"), output: "one\ntwo\n"}
	}
	switch step {
	case "fetch", "verify", "validate", "build-start", "build-end", "push":
		dir := t.TempDir()
		dockerfile := "FROM busybox\nRUN echo " + name + " >/made\nCMD [\"sh\", \"-c\", \"echo one; cat /made; echo two\"]\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
			t.Fatal(err)
		}
		tag := m.registry + "/chaos/" + name + ":1"
		return errand{
			args:   []string{"--retries", "2", "--idempotency-key", name, "--run", "--push", "-t", tag, dir},
			output: "one\n" + name + "\ntwo\n", builds: true, tag: tag,
		}
	case "outputs":
		return shell("echo out >/tmp/out", "--output-path", "/tmp/out")
	case "running":
		if fault == stopped { // it has to run when the next attempt does
			return shell("sleep 26")
		}
		return shell("sleep 4")
	}
	return shell("sleep 1")
}
