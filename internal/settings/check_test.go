package settings

import (
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A setting that cannot work on any host is refused with the flag, and what is wanted.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Settings)
		want   string // "" when it is taken
	}{
		{"defaults", func(*Settings) {}, ""},
		{"no admin address", func(s *Settings) { s.Admin = "" }, ""},
		{"an admin port on all addresses", func(s *Settings) { s.Admin = ":18080" }, ""},
		{"no garbage collection", func(s *Settings) { s.GCEvery, s.ImageAge = 0, 0 }, ""},
		{"patience for ever", func(s *Settings) { s.Worker.EnginePatience = 0 }, ""},
		{"any number of processes", func(s *Settings) { s.Worker.Limits.Pids = jobs.Unlimited }, ""},
		{"no slots", func(s *Settings) { s.Worker.Slots = 0 }, "--slots 0: want 1 to 1000"},
		{"too many slots", func(s *Settings) { s.Worker.Slots = 1001 }, "--slots 1001: want 1 to 1000"},
		{"a bad queue", func(s *Settings) { s.Queues = []string{"Builds!"} }, "--queues Builds!: want names of lower-case letters"},
		{"no queue", func(s *Settings) { s.Queues = nil }, "--queues : want names"},
		{"no time for a job", func(s *Settings) { s.Worker.IdleExit = time.Second }, "--idle-exit 1s: want at least 5s, or 0 for never"},
		{"idle for less than nothing", func(s *Settings) { s.Worker.IdleExit = -time.Hour }, "--idle-exit -1h0m0s: want at least 5s"},
		{"an idle host that ends", func(s *Settings) { s.Worker.IdleExit, s.Worker.Once = 10*time.Minute, true }, ""},
		{"a short lease", func(s *Settings) { s.Worker.Lease = time.Second }, "--lease 1s: want at least 6s"},
		{"little patience", func(s *Settings) { s.Worker.EnginePatience = time.Second }, "--docker-patience 1s: want at least 6s, or 0 for ever"},
		{"little memory", func(s *Settings) { s.Worker.Limits.Memory = 1 << 20 }, "--memory 1MiB: the engine's minimum is 6MiB"},
		{"young garbage", func(s *Settings) { s.GCAge = time.Hour }, "--gc-age 1h0m0s: want at least 24h0m0s"},
		{"gate without a path", func(s *Settings) { s.RebuildGate = "gate.sh" }, "--rebuild-gate gate.sh: want an http or https URL, or the absolute path of a program"},
		{"a place for secrets that only the worker finds", func(s *Settings) { s.Worker.RuntimeDir = "run" }, `--runtime-dir "run": want an absolute path`},
		{"settled before it changed", func(s *Settings) { s.WatchSettle = -time.Second }, "--watch-settle -1s: want 0 or more"},
		{"hasty watch", func(s *Settings) { s.WatchBases = time.Second }, "--watch-bases 1s: want at least 1m0s, or 0 for never; registries count questions"},
		{"hasty garbage", func(s *Settings) { s.GCEvery = time.Second }, "--gc-every 1s: want at least 1m, or 0 for never"},
		{"hasty images", func(s *Settings) { s.ImageAge = time.Second }, "--image-age 1s: want at least 1m, or 0 for never"},
		{"a pattern that is none", func(s *Settings) { s.KeepImages = []string{"tools/["} }, `--keep-image "tools/[": want a name`},
		{"a bad farm", func(s *Settings) { s.Worker.Farm = "A B" }, `--farm "A B": want lower-case letters`},
		{"an address with a port", func(s *Settings) { s.Worker.AdvertiseAddress = "build-1:80" }, "without a port"},
		{"an address that is a URL", func(s *Settings) { s.Worker.AdvertiseAddress = "http://build-1" }, "without a port"},
		{"the address of everything", func(s *Settings) { s.Worker.AdvertiseAddress = "0.0.0.0" }, "that producers reach"},
		{"a Redis that is none", func(s *Settings) { s.Redis = "http://example.com" }, "--redis: redis URL http://example.com is not valid"},
		{"a level that is none", func(s *Settings) { s.LogLevel = "loud" }, `--log-level "loud": want debug, info, warn or error`},
		{"an admin address without a port", func(s *Settings) { s.Admin = "127.0.0.1" }, `--admin "127.0.0.1": want HOST:PORT`},
		{"an admin port that is none", func(s *Settings) { s.Admin = ":99999" }, `--admin ":99999": want HOST:PORT`},
		{"a port address that is a name", func(s *Settings) { s.Worker.PortAddress = "localhost" }, `--port-address "localhost": want an IP address`},
		{"a label that no job can require", func(s *Settings) { s.Worker.Labels = map[string]string{"slipway.gpu": "1"} }, "--label slipway.gpu=1: no job can require it"},
		{"no time", func(s *Settings) { s.Worker.Timeouts.Run = 0 }, "--run-timeout: want more than 0"},
		{"a log of nothing", func(s *Settings) { s.Worker.LogCap = 0 }, "--log-limit: want more than 0"},
		{"no retention", func(s *Settings) { s.Retention.Count = 0 }, "--retention-count: want more than 0"},
		{"time that runs backwards", func(s *Settings) { s.Worker.Drain = -time.Second }, "--drain: want 0 or more"},
		{"cores that are no number", func(s *Settings) { s.Worker.Limits.CPUs = math.NaN() }, "--cpus: want 0 or more"},
		{"cores without end", func(s *Settings) { s.Worker.BuildLimits.CPUs = math.Inf(1) }, "--build-cpus: want 0 or more"},
		{"processes", func(s *Settings) { s.Worker.Limits.Pids = -2 }, "--pids -2: want 1 or more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Defaults()
			tt.change(&s)
			switch err := s.Complete(); {
			case tt.want == "" && err != nil:
				t.Errorf("error %v; want it taken", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v; want it to say %q", err, tt.want)
			}
			if tt.want == "" && s.Worker.Name == "" {
				t.Error("the worker has no name; want the host's")
			}
		})
	}
}

// Results name the host where ports are bound to all of its addresses, unless the
// operator names another address.
func TestAdvertiseAddress(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ports, advertise, want string }{
		{"127.0.0.1", "", ""},
		{"10.0.0.5", "", ""},
		{"0.0.0.0", "", name},
		{"::", "", name},
		{"0.0.0.0", "build-1", "build-1"},
		{"127.0.0.1", "2001:db8::5", "2001:db8::5"},
	} {
		s := Defaults()
		s.Worker.PortAddress, s.Worker.AdvertiseAddress = tt.ports, tt.advertise
		if err := s.Complete(); err != nil || s.Worker.AdvertiseAddress != tt.want {
			t.Errorf("ports on %s, advertised %q: %q, %v; want %q", tt.ports, tt.advertise, s.Worker.AdvertiseAddress, err, tt.want)
		}
	}
}

// The error for an address that nothing can listen on says what to choose.
func TestListenError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{syscall.EADDRINUSE, "--admin :80: another program listens there; choose another address"},
		{syscall.EADDRNOTAVAIL, "--admin :80: this host does not have the address; choose one of its own"},
		{syscall.EACCES, "--admin :80: this user may not listen there; choose a port above 1023"},
		{syscall.EMFILE, "--admin :80: listen tcp: bind: too many open files"},
	} {
		err := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", tt.err)}
		if got := ListenError("--admin", ":80", err).Error(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
