package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// counted is a registry that counts beats and can be away.
type counted struct {
	*jobstest.Memory
	beats atomic.Int64
	away  atomic.Bool
}

func (c *counted) Beat(ctx context.Context, h jobs.Host) error {
	c.beats.Add(1)
	if c.away.Load() {
		return errors.New("connection refused")
	}
	return c.Memory.Beat(ctx, h)
}

// A host speaks when something changed, else seldom; a registry that is away costs
// one line in the log.
func TestRegistration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const renew = 5 * time.Second
		memory := jobstest.NewMemory(jobstest.Options{})
		registry := &counted{Memory: memory}
		var logged bytes.Buffer
		w := New(slog.New(slog.NewTextHandler(&logged, nil)), Deps{Claims: memory, Hosts: registry}, Options{Name: "one", HostID: "host-1", Slots: 2, Renew: renew})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.register(ctx) }()
		host := func() (jobs.Host, time.Time) {
			t.Helper()
			synctest.Wait()
			list, now, err := memory.Hosts(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("hosts %+v, %v; want one", list, err)
			}
			return list[0], now
		}
		wantBeats := func(what string, want int64) {
			t.Helper()
			synctest.Wait()
			if got := registry.beats.Swap(0); got != want {
				t.Errorf("%s: %d beats; want %d", what, got, want)
			}
		}
		begin := time.Now()
		h, now := host()
		if h.Name != "host-1" || h.Worker != "one" || h.State != jobs.HostReady || h.Slots != 2 || !h.Up(now) || !h.Started.Equal(begin) {
			t.Errorf("the registry has %+v; want it ready since %s", h, begin)
		}
		wantBeats("at the start", 1)
		time.Sleep(quietLooks*renew - time.Second)
		wantBeats("while nothing changes", 0)
		time.Sleep(10*time.Minute + time.Second)
		wantBeats("in eleven minutes", 11)
		if h, now := host(); !h.Up(now) || !h.Started.Equal(begin) {
			t.Errorf("the registry has %+v at %s; want it up, and since %s", h, now, begin)
		}

		_ = w.fit.set(errors.New("no room"))
		time.Sleep(renew)
		wantBeats("after a change", 1)
		if h, _ := host(); h.State != jobs.HostUnfit || h.Reason != "no room" {
			t.Errorf("the registry has %s: %q; want it unfit", h.State, h.Reason)
		}
		_ = w.fit.set(nil)
		registry.away.Store(true)
		time.Sleep(3 * renew)
		wantBeats("while the registry is away", 3)
		registry.away.Store(false)
		time.Sleep(renew)
		wantBeats("when it is back", 1)
		if h, _ := host(); h.State != jobs.HostReady || h.Reason != "" {
			t.Errorf("the registry has %s: %q; want it ready", h.State, h.Reason)
		}
		if n := strings.Count(logged.String(), "connection refused"); n != 1 {
			t.Errorf("logged %d times that a beat failed; want once:\n%s", n, logged.String())
		}

		stop()
		<-ended
		if list, _, _ := memory.Hosts(t.Context()); len(list) != 0 {
			t.Errorf("the registry has %+v after the end", list)
		}
	})
}

// disky is a host with disks that the test fills.
type disky struct {
	Trusted
	free atomic.Int64
}

func (d *disky) FreeDisk() []jobs.HostDisk {
	return []jobs.HostDisk{{Directory: "docker", Free: jobs.Bytes(d.free.Load()), Size: 1000, Least: 100}}
}

// What is free of the disks goes along with the beats there are. Only when much of it has come or
// gone is there one more.
func TestRegistrationOfDisks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const renew = 5 * time.Second
		memory := jobstest.NewMemory(jobstest.Options{})
		registry := &counted{Memory: memory}
		disk := &disky{Trusted: NewTrusted()}
		disk.free.Store(700)
		w := New(nil, Deps{Claims: memory, Hosts: registry, Host: disk}, Options{Name: "one", HostID: "host-1", Slots: 2, Renew: renew})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.register(ctx) }()
		said := func(what string, beats int64, free jobs.Bytes) {
			t.Helper()
			synctest.Wait()
			list, _, err := memory.Hosts(t.Context())
			if err != nil || len(list) != 1 || len(list[0].Disks) != 1 {
				t.Fatalf("%s: hosts %+v, %v; want one with a disk", what, list, err)
			}
			if got := registry.beats.Swap(0); got != beats || list[0].Disks[0].Free != free {
				t.Errorf("%s: %d beats, and %d bytes are free; want %d and %d", what, got, list[0].Disks[0].Free, beats, free)
			}
		}
		said("at the start", 1, 700)
		for range quietLooks - 2 { // fewer than until the next beat
			disk.free.Add(-4)
			time.Sleep(renew)
		}
		said("while little changes", 0, 700)
		time.Sleep(2 * renew)
		said("with the next beat", 1, 660)
		disk.free.Store(600)
		time.Sleep(renew)
		said("when much has gone", 1, 600)
		disk.free.Store(900)
		time.Sleep(renew)
		said("when much has come", 1, 900)
		time.Sleep((quietLooks - 1) * renew)
		said("while nothing changes", 0, 900)
		stop()
		<-ended
	})
}

// The registry hears at once what a host has, when its engine tells.
func TestRegistrationOfTheEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := jobstest.NewMemory(jobstest.Options{})
		w := New(nil, Deps{Claims: memory, Hosts: memory, Engine: enginetest.New()}, Options{Name: "one", HostID: "host-1", Slots: 2, Renew: time.Hour})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.register(ctx) }()
		engine := func() (string, string) {
			t.Helper()
			synctest.Wait()
			list, _, err := memory.Hosts(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("hosts %+v, %v; want one", list, err)
			}
			return list[0].Engine, list[0].Platform
		}
		if name, platform := engine(); name != "" || platform != "" {
			t.Errorf("the registry has engine %q on %q before it was asked", name, platform)
		}
		if !w.ready(ctx) {
			t.Fatal("the engine did not answer")
		}
		if name, platform := engine(); name == "" || platform == "" {
			t.Errorf("the registry has engine %q on %q; want what it told", name, platform)
		}
		stop()
		<-ended
	})
}

// Without a registry there is nothing to do.
func TestRegistrationWithoutRegistry(t *testing.T) {
	t.Parallel()
	New(nil, Deps{}, Options{Renew: time.Hour}).register(t.Context())
}
