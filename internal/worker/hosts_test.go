package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// registered waits until the registry says this of the only host.
func (f *farm) registered(what string, ok func(jobs.Host) bool) {
	f.t.Helper()
	f.eventually(what, func() bool {
		list, _, err := f.memory.Hosts(f.t.Context())
		return err == nil && len(list) == 1 && list[0].Name == "host-1" && ok(list[0])
	})
}

func TestHostIsRegistered(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.hosts = f.memory
	var full, down atomic.Bool
	down.Store(true)
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "info" && down.Load() {
			return errors.New("no daemon")
		}
		return nil
	})
	f.room = func() error {
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	w := f.start(func(o *worker.Options) { o.Queues, o.Labels = []string{"builds"}, map[string]string{"disk": "ssd"} })
	f.registered("a host without an engine is unfit", func(h jobs.Host) bool {
		return h.State == jobs.HostUnfit && strings.Contains(h.Reason, "no daemon") && h.Engine == ""
	})
	down.Store(false)
	f.registered("the host is ready", func(h jobs.Host) bool {
		return h.State == jobs.HostReady && h.Engine != "" && h.Platform != "" && h.Slots == 4 && h.Running == 0 &&
			len(h.Queues) == 1 && h.Labels["disk"] == "ssd"
	})
	id := f.submit(shell("sleep 60"))
	f.registered("the host runs a job", func(h jobs.Host) bool { return h.Running == 1 })
	full.Store(true)
	f.registered("the host is unfit", func(h jobs.Host) bool {
		return h.State == jobs.HostUnfit && h.Reason == "the disk is full" && h.Running == 1
	})
	w.stop()
	f.registered("the host drains", func(h jobs.Host) bool { return h.State == jobs.HostDraining && h.Running == 1 })
	if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
		t.Fatal(err)
	}
	w.end(t)
	if list, _, err := f.memory.Hosts(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("the registry has %+v, %v after the end", list, err)
	}
}
