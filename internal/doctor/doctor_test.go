package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// fakeDaemon is a daemon with some containers and images.
type fakeDaemon struct {
	details          engine.Details
	warnings         []string
	err              error
	containers       []engine.Listed
	images           []engine.Named
	stopped, removed []string
	// logins are what comes of a login at a registry.
	logins map[string]error
	// published are ports of containers, and reached what a container reaches.
	published []engine.PublishedPort
	reached   []netip.AddrPort
	reachErr  error
}

func (d *fakeDaemon) PublishedPorts(context.Context) ([]engine.PublishedPort, error) {
	return d.published, d.err
}

func (d *fakeDaemon) Reach(_ context.Context, all []netip.AddrPort) ([]netip.AddrPort, error) {
	return slices.DeleteFunc(slices.Clone(all), func(a netip.AddrPort) bool { return !slices.Contains(d.reached, a) }), d.reachErr
}

func (d *fakeDaemon) CheckLogin(_ context.Context, registry string) error { return d.logins[registry] }

func (d *fakeDaemon) Details(context.Context) (engine.Details, error) { return d.details, d.err }

func (d *fakeDaemon) Probe(context.Context, engine.Probe) ([]string, error) {
	return d.warnings, d.err
}

func carrying(all []engine.Listed, labels map[string]string) []engine.Listed {
	return slices.DeleteFunc(slices.Clone(all), func(l engine.Listed) bool {
		for k, v := range labels {
			if l.Labels[k] != v {
				return true
			}
		}
		return false
	})
}

func (d *fakeDaemon) List(_ context.Context, labels map[string]string) ([]engine.Listed, error) {
	return carrying(d.containers, labels), d.err
}

func (d *fakeDaemon) Images(_ context.Context, repository string) ([]engine.Named, error) {
	return slices.DeleteFunc(slices.Clone(d.images), func(i engine.Named) bool { return !strings.HasPrefix(i.Name, repository+":") }), d.err
}

func (d *fakeDaemon) Stop(_ context.Context, id string, _ time.Duration) error {
	d.stopped = append(d.stopped, id)
	return nil
}

func (d *fakeDaemon) Remove(_ context.Context, id string) error {
	d.containers = slices.DeleteFunc(d.containers, func(l engine.Listed) bool { return l.ID == id })
	d.removed = append(d.removed, id)
	return nil
}

func (d *fakeDaemon) RemoveImage(_ context.Context, ref string) error {
	d.images = slices.DeleteFunc(d.images, func(i engine.Named) bool { return i.Name == ref })
	d.removed = append(d.removed, ref)
	return nil
}

// records are the farm's.
type records []jobs.Job

func (r records) Get(_ context.Context, id string) (jobs.Job, error) {
	for _, job := range r {
		if job.ID == id {
			return job, nil
		}
	}
	return jobs.Job{}, jobs.ErrNotFound
}

func (r records) Owned(_ context.Context, host string) ([]jobs.Job, error) {
	return slices.DeleteFunc(slices.Clone([]jobs.Job(r)), func(j jobs.Job) bool { return j.State != jobs.Running || j.Host != host }), nil
}

// Seat tells of a host named alive; all others have no worker.
func (records) Seat(_ context.Context, host string) (jobs.Seat, time.Time, error) {
	now := time.Now()
	if host == "alive" {
		return jobs.Seat{Host: host, Nonce: "n", Lease: time.Minute, Seen: now}, now, nil
	}
	return jobs.Seat{Host: host, Nonce: "n", Lease: time.Second, Seen: time.Unix(1, 0), Left: time.Unix(1, 0)}, now, nil
}

func (records) CallHost(context.Context, string) error                      { return nil }
func (records) Kept(context.Context, string, ...string) ([]jobs.Job, error) { return nil, nil }
func (records) EndService(context.Context, string, string, jobs.ServiceEnd) error {
	return nil
}
func (records) FarmID(_ context.Context, _ bool) (string, error) { return "farm-1", nil }
func (records) FarmName(context.Context) (string, error)         { return "default", nil }

// unnamed are those of a farm that no worker has joined.
type unnamed struct{ records }

func (unnamed) FarmName(context.Context) (string, error) { return "", nil }

// look runs one check without those that it needs.
func look(t *testing.T, e *exam, name string) Finding {
	t.Helper()
	all := checks()
	i := slices.IndexFunc(all, func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no check %s", name)
	}
	return e.one(t.Context(), all[i])
}

// want holds a finding to a verdict and some of its words.
func want(t *testing.T, f Finding, s Status, says string) {
	t.Helper()
	if f.Status != s || !strings.Contains(f.Found, says) {
		t.Errorf("%s %q; want %s and %q", f.Status, f.Found, s, says)
	}
	if (f.Status == OK || f.Status == "") != (f.Advice == "") {
		t.Errorf("%s %q has the advice %q; want some on anything but OK", f.Status, f.Found, f.Advice)
	}
}

// A row is one check of one state of things.
type row struct {
	name, check string
	set         func(*exam)
	status      Status
	says        string
}

func runRows(t *testing.T, fresh func() *exam, rows []row) {
	t.Helper()
	for _, tt := range rows {
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			e := fresh()
			if tt.set != nil {
				tt.set(e)
			}
			want(t, look(t, e, tt.check), tt.status, tt.says)
		})
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	fresh := func() *exam {
		return &exam{
			Deps: Deps{Writes: func(context.Context) error { return nil }},
			server: redisconn.Server{
				Version: "7.0.15", Mode: "standalone", Role: "master", UsedMemory: 3 << 20, Eviction: "noeviction",
				AppendOnly: true, Fsync: "everysec",
			},
			timing: redisconn.Timing{Median: 300 * time.Microsecond, Max: time.Millisecond, Offset: -2 * time.Millisecond, Uncertainty: time.Millisecond},
		}
	}
	until := func(d time.Duration) func(context.Context) (time.Time, error) {
		return func(context.Context) (time.Time, error) { return time.Now().Add(d), nil }
	}
	denied := errors.New("NOPERM no permissions to run config|get")
	runRows(t, fresh, []row{
		{"new", "redis.version", nil, OK, "redis 7.0.15"},
		{"cluster", "redis.version", func(e *exam) { e.server.Mode = "cluster" }, OK, "one node"},
		{"two digits", "redis.version", func(e *exam) { e.server.Version = "10.2.1" }, OK, "10.2.1"},
		{"elderly", "redis.version", func(e *exam) { e.server.Version = "6.2.14" }, Warn, "6.2.14"},
		{"old", "redis.version", func(e *exam) { e.server.Version = "6.0.16" }, Fail, "the farm needs 6.2"},
		{"silent", "redis.version", func(e *exam) { e.server.Version = "" }, Warn, "not tell"},
		{"strange", "redis.version", func(e *exam) { e.server.Version = "unstable" }, OK, "unstable"},

		{"master", "redis.role", nil, OK, "master"},
		{"read-only replica", "redis.role", func(e *exam) { e.server.Role, e.server.ReadOnly = "slave", true }, Fail, "takes no writes"},
		{"writable replica", "redis.role", func(e *exam) { e.server.Role = "slave" }, Warn, "resync"},
		{"silent", "redis.role", func(e *exam) { e.server.Role = "" }, Warn, "not tell"},

		{"taken", "redis.writes", nil, OK, "takes writes"},
		{"refused", "redis.writes", func(e *exam) {
			e.Writes = func(context.Context) error { return errors.New("OOM command not allowed") }
		}, Fail, "OOM command"},

		{"on", "redis.persistence", nil, OK, "appendonly yes, appendfsync everysec"},
		{"fsync no", "redis.persistence", func(e *exam) { e.server.Fsync = "no" }, Warn, "appendfsync no"},
		{"snapshots", "redis.persistence", func(e *exam) { e.server.AppendOnly, e.server.Save = false, "3600 1" }, Warn, "save 3600 1"},
		{"nothing", "redis.persistence", func(e *exam) { e.server.AppendOnly = false }, Fail, "nothing is persisted"},
		{"nothing, as it is meant", "redis.persistence", func(e *exam) { e.server.AppendOnly, e.UnsafeRedis = false, true }, Warn, "nothing is persisted"},
		{"disk full", "redis.persistence", func(e *exam) { e.server.WriteFailed = true }, Fail, "the last write"},
		{"CONFIG forbidden", "redis.persistence", func(e *exam) { e.server.AppendOnly, e.server.Hidden = false, denied }, Fail, "cannot be checked: NOPERM"},
		{"CONFIG forbidden, AOF known", "redis.persistence", func(e *exam) { e.server.Hidden = denied }, OK, "appendonly yes; appendfsync is not told"},

		{"never", "redis.eviction", nil, OK, "noeviction"},
		{"LRU", "redis.eviction", func(e *exam) { e.server.Eviction, e.server.MaxMemory = "allkeys-lru", 64<<20 }, Fail, "allkeys-lru, maxmemory 64.0 MiB"},
		{"LRU without bound", "redis.eviction", func(e *exam) { e.server.Eviction = "allkeys-lru" }, Warn, "no maxmemory"},
		{"LRU, as it is meant", "redis.eviction", func(e *exam) { e.server.Eviction, e.server.MaxMemory, e.UnsafeRedis = "allkeys-lru", 64<<20, true }, Warn, "allkeys-lru, maxmemory 64.0 MiB"},
		{"CONFIG forbidden", "redis.eviction", func(e *exam) { e.server.Eviction, e.server.Hidden = "", denied }, Fail, "cannot be checked"},
		{"CONFIG forbidden, INFO tells", "redis.eviction", func(e *exam) { e.server.Hidden = denied }, OK, "noeviction"},

		{"unbound", "redis.memory", nil, OK, "3.0 MiB used, no maxmemory"},
		{"79 %", "redis.memory", func(e *exam) { e.server.UsedMemory, e.server.MaxMemory = 79, 100 }, OK, "79 %"},
		{"80 %", "redis.memory", func(e *exam) { e.server.UsedMemory, e.server.MaxMemory = 80, 100 }, Warn, "80 B used of 100 B, 80 %"},

		{"no TLS", "redis.certificate", nil, "", ""},
		{"for long", "redis.certificate", func(e *exam) { e.Certificates = until(15 * 24 * time.Hour) }, OK, "ends on 2"},
		{"not for long", "redis.certificate", func(e *exam) { e.Certificates = until(13 * 24 * time.Hour) }, Warn, "ends on 2"},

		{"near", "redis.latency", nil, OK, "PING takes 300µs, at most 1ms"},
		{"far", "redis.latency", func(e *exam) { e.timing.Median = 11 * time.Millisecond }, Warn, "11ms"},

		{"near", "redis.clock", nil, OK, "2ms behind this host's, give or take 1ms"},
		{"same", "redis.clock", func(e *exam) { e.timing.Offset = time.Millisecond }, OK, "agrees with this host's, give or take 1ms"},
		{"ahead", "redis.clock", func(e *exam) { e.timing.Offset = 3 * time.Second }, Warn, "3s ahead of"},
		{"behind", "redis.clock", func(e *exam) { e.timing.Offset = -3 * time.Second }, Warn, "3s behind"},
		{"who knows", "redis.clock", func(e *exam) { e.timing.Offset, e.timing.Uncertainty = 3*time.Second, 2500*time.Millisecond }, OK, "give or take 2.5s"},
	})
}

func TestDocker(t *testing.T) {
	t.Parallel()
	fresh := func() *exam {
		d := engine.Details{
			Info:    engine.Info{Name: "docker", Version: "20.10.24", Platform: "linux/amd64", CPUs: 2, Memory: 4 << 30},
			Address: "unix:///run/docker.sock", API: "1.41", Storage: "overlay2", CgroupVersion: "2", CgroupDriver: "systemd",
			LogDriver: "json-file", LiveRestore: true, DataRoot: "/", Security: []string{"apparmor", "seccomp,profile=default"},
		}
		e := &exam{daemon: d}
		e.Daemon = &fakeDaemon{details: d}
		return e
	}
	daemon := func(e *exam) *fakeDaemon { return e.Daemon.(*fakeDaemon) }
	lost := errors.New("permission denied while trying to connect")
	web := engine.PublishedPort{Container: "web", At: netip.MustParseAddrPort("172.17.0.1:8080")}
	runRows(t, fresh, []row{
		{"there", "docker", nil, OK, "docker 20.10.24 at unix:///run/docker.sock, API 1.41, linux/amd64, 2 CPUs, 4.0 GiB of memory"},
		{"newer", "docker", func(e *exam) { daemon(e).details.API = "1.52" }, OK, "API 1.52"},
		{"old", "docker", func(e *exam) { daemon(e).details.API = "1.40" }, Fail, "needs 1.41"},
		{"away", "docker", func(e *exam) { daemon(e).err = lost }, Fail, "permission denied"},
		{"overlay2", "docker.storage", nil, OK, "overlay2"},
		{"vfs", "docker.storage", func(e *exam) { e.daemon.Storage = "vfs" }, Warn, "vfs"},
		{"systemd", "docker.cgroup", nil, OK, "version 2, driver systemd"},
		{"none", "docker.cgroup", func(e *exam) { e.daemon.CgroupDriver = "none" }, Warn, "limits"},
		{"on", "docker.live-restore", nil, OK, "on"},
		{"off", "docker.live-restore", func(e *exam) { e.daemon.LiveRestore = false }, Warn, "ends all containers"},
		{"json-file", "docker.logs", nil, OK, "json-file"},
		{"all", "docker.security", nil, OK, "apparmor; seccomp,profile=default; steps of builds have Docker's fourteen capabilities"},
		{"no seccomp", "docker.security", func(e *exam) { e.daemon.Security = []string{"apparmor"} }, Warn, "no seccomp (apparmor)"},
		{"unconfined", "docker.security", func(e *exam) { e.daemon.Security = []string{"seccomp,profile=unconfined"} }, Warn, "no seccomp"},
		{"reaches nothing", "docker.reach", func(e *exam) { daemon(e).published = []engine.PublishedPort{web} }, OK, "(tried: 1)"},
		{"reaches the metadata", "docker.reach", func(e *exam) { daemon(e).reached = []netip.AddrPort{metadataAddress()} }, Warn, "reach the cloud's metadata address 169.254.169.254"},
		{"reaches a neighbour", "docker.reach", func(e *exam) {
			daemon(e).published, daemon(e).reached = []engine.PublishedPort{web}, []netip.AddrPort{web.At}
		}, Warn, "reach port 8080 of this host, which container web publishes"},
		{"too many neighbours", "docker.reach", func(e *exam) { daemon(e).published = slices.Repeat([]engine.PublishedPort{web}, 9) }, OK, "another 3 were not tried"},

		{"other platform", "docker.reach", func(e *exam) { daemon(e).reachErr = errors.ErrUnsupported }, "", ""},
		{"cannot be tried", "docker.reach", func(e *exam) { daemon(e).reachErr = lost }, Warn, "could not be tried"},
		{"can", "docker.container", nil, OK, "an image was built and run"},
		{"warns", "docker.container", func(e *exam) { daemon(e).warnings = []string{"no swap limit"} }, Warn, "no swap limit"},
		{"cannot", "docker.container", func(e *exam) { daemon(e).err = lost }, Fail, "permission denied"},
		{"visible", "disk.docker", func(e *exam) { e.daemon.DataRoot = "/no-such-directory" }, Warn, "not visible"},
		{"elsewhere", "disk.docker", func(e *exam) { e.daemon.Address = "tcp://10.0.0.1:2376" }, Warn, "not visible"},
	})
}

func TestRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		room   diskroom.Room
		status Status
		says   string
	}{
		{"plenty", diskroom.Room{Free: 70 << 30, Total: 252 << 30, Inodes: 16_000_000, AllInodes: 16_800_000}, OK, "70.0 GiB of 252.0 GiB free, 16000000 of 16800000 inodes"},
		{"inodes are not counted", diskroom.Room{Free: 70 << 30, Total: 252 << 30, Inodes: 0, AllInodes: 0}, OK, "free"},
		{"a small disk", diskroom.Room{Free: 900 << 20, Total: 4 << 30, Inodes: 200_000, AllInodes: 262_144}, OK, "free"},
		{"soon", diskroom.Room{Free: 3 << 30, Total: 252 << 30, Inodes: 16_000_000, AllInodes: 16_800_000}, Warn, "3.0 GiB"},
		{"full", diskroom.Room{Free: 1 << 30, Total: 252 << 30, Inodes: 16_000_000, AllInodes: 16_800_000}, Fail, "1.0 GiB"},
		{"a small disk, full", diskroom.Room{Free: 100 << 20, Total: 4 << 30, Inodes: 200_000, AllInodes: 262_144}, Fail, "100.0 MiB"},
		{"few inodes", diskroom.Room{Free: 70 << 30, Total: 252 << 30, Inodes: 150_000, AllInodes: 16_800_000}, Warn, "150000"},
		{"no inodes", diskroom.Room{Free: 70 << 30, Total: 252 << 30, Inodes: 12, AllInodes: 16_800_000}, Fail, "12 of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want(t, judge(tt.room, "/x", "make room"), tt.status, tt.says)
		})
	}
}

// A check that rests on one that failed is left out; a repair is followed by
// another look; what has nothing to say is silent.
func TestExamine(t *testing.T) {
	t.Parallel()
	broke := true
	all := []check{
		{"base", nil, func(context.Context, *exam) Finding { return fail("mend it", "line\nbreak") }},
		{"above", []string{"base"}, func(context.Context, *exam) Finding { t.Error("above was looked at"); return ok("") }},
		{"far above", []string{"above"}, func(context.Context, *exam) Finding { t.Error("far above was looked at"); return ok("") }},
		{"nothing", nil, func(context.Context, *exam) Finding { return Finding{} }},
		{"mended", nil, func(context.Context, *exam) Finding {
			if !broke {
				return ok("whole")
			}
			f := warn("mend it", "broken")
			f.repair = func(context.Context) (string, error) { broke = false; return "mended it", nil }
			return f
		}},
		{"stubborn", nil, func(context.Context, *exam) Finding {
			f := warn("mend it", "broken")
			f.repair = func(context.Context) (string, error) { return "", errors.New("no tools") }
			return f
		}},
	}
	var got []string
	tell := func(f Finding) { got = append(got, f.String()) }
	if err := examine(t.Context(), all, &exam{}, tell); err != nil {
		t.Fatal(err)
	}
	base := "FAIL  base                  line; break\n      mend it"
	if diff := cmp.Diff([]string{base, "WARN  mended                broken\n      mend it", "WARN  stubborn              broken\n      mend it"}, got); diff != "" {
		t.Errorf("without --fix (-want +got):\n%s", diff)
	}
	if !broke {
		t.Error("it was mended without --fix")
	}
	got = nil
	if err := examine(t.Context(), all, &exam{Options: Options{Fix: true}}, tell); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{base, "OK    mended                whole\n      fixed: mended it", "WARN  stubborn              broken; it could not be repaired: no tools\n      mend it"}, got); diff != "" {
		t.Errorf("with --fix (-want +got):\n%s", diff)
	}
}

func TestExamineIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	err := examine(ctx, []check{
		{"first", nil, func(context.Context, *exam) Finding { return ok("fine") }},
		{"second", nil, func(ctx context.Context, _ *exam) Finding { cancel(); return broken(ctx.Err(), "mend it") }},
		{"third", nil, func(context.Context, *exam) Finding { return ok("fine") }},
	}, &exam{}, func(f Finding) { got = append(got, f.Check) })
	if !errors.Is(err, context.Canceled) || !slices.Equal(got, []string{"first"}) {
		t.Errorf("told of %q, then %v; want the first alone, and that it was called off", got, err)
	}
}

func TestFindingAsJSON(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(Finding{Check: "state", Status: Warn, Found: "open", Advice: "close it", cause: errors.New("x")})
	if err != nil || string(raw) != `{"check":"state","status":"WARN","found":"open","advice":"close it"}` {
		t.Errorf("%s, %v", raw, err)
	}
}

// Every check has a name of its own and needs only earlier ones.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range checks() {
		for _, need := range c.needs {
			if !seen[need] {
				t.Errorf("%s needs %s, which does not come before it", c.name, need)
			}
		}
		if seen[c.name] || len(c.name) > 20 {
			t.Errorf("%s: want a name of its own, of 20 letters at most", c.name)
		}
		seen[c.name] = true
	}
}
