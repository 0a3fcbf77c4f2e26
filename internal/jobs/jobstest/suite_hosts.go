package jobstest

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestHosts holds a database to what is promised of the registry of hosts.
func TestHosts(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"beat", testBeat},
		{"beat again", testBeatAgain},
		{"leave", testLeave},
		{"order", testHostsOrder},
		{"silent hosts are forgotten", testHostsForgotten},
	})
}

// registered is a host with something in every field.
func registered(name, worker string) jobs.Host {
	return jobs.Host{
		Name: name, Worker: worker, Version: "v1.2.3", Engine: "docker 28.0.1", Platform: "linux/amd64", CPUs: 8, Memory: 32 << 30,
		Slots: 4, Running: 2, Queues: []string{"builds", "gpu"}, Labels: map[string]string{"disk": "<ssd>"},
		Disks: []jobs.HostDisk{{Directory: "docker", Free: 3 << 30, Size: 100 << 30, Least: 2 << 30}},
		State: jobs.HostUnfit, Reason: "the disk of \u00e4 is full: 1 % free", Every: jobs.Duration(time.Minute),
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func (f *farm) beat(h jobs.Host) {
	f.t.Helper()
	if err := f.Hosts.Beat(f.ctx, h); err != nil {
		f.t.Fatalf("Beat(%s): %v", h.Name, err)
	}
}

// wantHosts fails the test unless these hosts are registered, in this order, and
// returns them with Redis time.
func (f *farm) wantHosts(names ...string) ([]jobs.Host, time.Time) {
	f.t.Helper()
	list, now, err := f.Hosts.Hosts(f.ctx)
	if err != nil {
		f.t.Fatalf("Hosts: %v", err)
	}
	got := []string{}
	for _, h := range list {
		got = append(got, h.Name)
	}
	f.same("hosts", got, append([]string{}, names...))
	if len(got) != len(names) {
		f.t.FailNow()
	}
	return list, now
}

func testBeat(f *farm) {
	f.wantHosts()
	want := registered(host, "one")
	want.Seen = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) // no clock of the host's counts
	f.beat(want)
	list, now := f.wantHosts(host)
	f.near("seen", list[0].Seen, now, 0)
	clock, err := f.Claims.Now(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	f.near("now", now, clock, 0)
	if !list[0].Up(now) || list[0].Seen.After(now) {
		f.t.Errorf("a host that was seen at %s is not up at %s", list[0].Seen, now)
	}
	want.Seen = list[0].Seen
	f.same("host", list[0], want)
}

func testBeatAgain(f *farm) {
	h := registered(host, "one")
	f.beat(h)
	first, _ := f.wantHosts(host)
	h.State, h.Reason, h.Running, h.Labels = jobs.HostReady, "", 0, nil
	if f.Advance != nil {
		f.Advance(time.Hour)
		if list, now := f.wantHosts(host); list[0].Up(now) {
			f.t.Errorf("a host that was silent for %s is up", list[0].Silent(now))
		}
	}
	f.beat(h)
	list, now := f.wantHosts(host)
	if list[0].Seen.Before(first[0].Seen) || !list[0].Up(now) {
		f.t.Errorf("seen %s, then %s, now %s; want it up", first[0].Seen, list[0].Seen, now)
	}
	h.Seen = list[0].Seen
	f.same("host", list[0], h)
}

func testLeave(f *farm) {
	f.beat(registered(host, "one"))
	f.beat(registered("host-b", "two"))
	for range 2 { // it is gone already the second time
		if err := f.Hosts.Leave(f.ctx, host); err != nil {
			f.t.Fatalf("Leave: %v", err)
		}
		f.wantHosts("host-b")
	}
	f.beat(registered(host, "one"))
	f.wantHosts(host, "host-b")
}

func testHostsOrder(f *farm) {
	for _, h := range [][2]string{{"c", "alpha"}, {"a", "beta"}, {"b", "alpha"}, {"d", ""}} {
		f.beat(registered(h[0], h[1]))
	}
	f.wantHosts("d", "b", "c", "a")
}

func testHostsForgotten(f *farm) {
	if f.Advance == nil {
		f.t.Skip("the clock cannot be moved")
	}
	f.beat(registered("dead", "one"))
	f.Advance(jobs.HostForgotten - time.Minute)
	f.beat(registered("new", "two"))
	f.wantHosts("dead", "new")
	f.Advance(2 * time.Minute)
	f.wantHosts("new")
	f.beat(registered("newer", "three"))
	f.wantHosts("newer", "new")
	// A host comes back however long it was away.
	f.beat(registered("dead", "one"))
	f.wantHosts("dead", "newer", "new")
}
