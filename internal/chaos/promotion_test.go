//go:build integration && chaos

package chaos_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// redisKilled is the third thing that is done while a worker is at a step.
const redisKilled = "redis killed"

// The steps at which a tag is moved: the worker there is killed for good, or stopped until
// another has ended the rebuild, or Redis is killed and started again.
func TestMatrixOfRebuilds(t *testing.T) {
	t.Parallel()
	var hosts []*hosttest.Host
	for _, name := range []string{"mr-a", "mr-b"} {
		h := hosttest.StartHost(t, name)
		hosttest.Busybox(t, h)
		hosts = append(hosts, h)
	}
	s := startRegistry(t, hosts...)
	t.Run("cells", func(t *testing.T) {
		for _, fault := range []string{killed, stopped, redisKilled} {
			for _, step := range faults.RebuildSteps() {
				t.Run(fault+"/"+string(step), func(t *testing.T) {
					t.Parallel()
					promotion(t, hosts, s, step, fault)
				})
			}
		}
	})
}

// promotion is one step with one fault, while the tag of the first of two images is moved.
func promotion(t *testing.T, hosts []*hosttest.Host, s *shelf, step faults.Step, fault string) {
	redis := startRedis(t)
	name := fmt.Sprintf("%.5s-%s", fault, step)
	f := farmOn(t, name, redis.SocketURL(), redis.SocketURL())
	held := filepath.Join(f.dir, "held")
	for i, h := range hosts {
		f.worker(h, fmt.Sprint("w", i), h.DockerHost(), held, "--lease", lease.String(), "--slots", "1").start()
	}
	two := [][]baked{waves[0][:1], waves[1][:1]}
	b := stock(t, f, s, "/"+name, two, func(task task) string { return must(f.submit(t.Context(), task.args...))(t) })
	o := &operator{monkey: &monkey{farm: f, Oracle: oracle.New(), tasks: map[string]task{}}, batch: b}

	p := arm(t, held, step)
	o.id = must(f.command(t.Context(), "rebuild", "apply", "--base", b.baseTag(), "-o", "name"))(t)
	pid := p.hit()
	at := slices.IndexFunc(f.workers, func(w *worker) bool { return w.Pid() == pid })
	if at < 0 {
		t.Fatalf("process %d is at step %s, which is no worker", pid, step)
	}
	since := time.Now()
	switch fault {
	case killed:
		f.workers[at].Kill()
	case stopped:
		f.workers[at].Signal(syscall.SIGSTOP)
	case redisKilled:
		if err := errors.Join(redis.Kill(), redis.Start()); err != nil {
			t.Fatal(err)
		}
	}
	p.release()
	farmtest.Eventually(t, 2*time.Minute, "the end of the rebuild", func() error {
		head, images, err := f.records.Rebuild(t.Context(), o.id)
		if err == nil && head.State != jobs.RebuildDone {
			err = fmt.Errorf("it is %s: %s", head.State, states(images))
		}
		return err
	})
	within(t, 45*time.Second, "the rebuild was done", time.Since(since))
	puts := len(b.under(b.images["os"].tags[0], b.changed))
	if fault == stopped {
		f.workers[at].Signal(syscall.SIGCONT)
		time.Sleep(2 * time.Second) // it does what it was about to do
	} else if step == "tagged" && puts != 1 {
		t.Errorf("the tag was moved %d times, want once", puts)
	}
	o.audit(t.Context(), o.acknowledge(t.Context()))
	for _, v := range o.Violations() {
		t.Error(v)
	}
}
