package worker

import (
	"net"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options are the operator's settings; see Defaults.
type Options struct {
	// Name is for people, HostID the identity kept in the state directory.
	Name, HostID string
	// Version of the program and Queues are for the registry of hosts only; what
	// the worker serves is decided by its intake.
	Version string
	Queues  []string
	// Farm is the farm's name.
	Farm  string
	Slots int
	// Platform and Labels are what jobs may require.
	Platform string
	Labels   map[string]string
	// OnlyLabels are labels of the host, too: it takes no job that does not require them.
	OnlyLabels map[string]string
	StateDir   string
	// SecretsDir holds one file per secret, "" for none.
	SecretsDir string
	// RuntimeDir is where the containers that run have their secrets, on a file system in
	// memory. The engine sees it at the same path.
	RuntimeDir string
	// Timeouts and Limits apply where a job sets none.
	Timeouts jobs.Timeouts
	Limits   jobs.Limits
	// BuildLimits bound the memory and the CPUs of each step of a build that sets
	// none, on engines that can.
	BuildLimits jobs.Limits
	// AffinityWait is for how long a build is left to hosts that have built its recipe; the
	// intake does that, and the registry of hosts tells it.
	AffinityWait time.Duration
	// BuildSalt goes into the keys of builds: workers with another do not take over each
	// other's images.
	BuildSalt string
	// PortAddress is the host address that ports are bound to. AdvertiseAddress is
	// the host part of the addresses in results, "" for the same; a loopback address
	// stays as it is.
	PortAddress, AdvertiseAddress string
	// LogCap bounds a job's log, OutputCap its collected outputs, in bytes.
	LogCap, OutputCap int64
	// Lease is how long a silent worker keeps its jobs, Renew how often it renews
	// that; RenewEvery when 0. No operator sets Renew: it is exported because the tests
	// and the simulation, which set it, are other packages.
	Lease, Renew time.Duration
	// EnginePatience is how long the engine may not answer before what it has of jobs
	// begins anew elsewhere; 0 is for ever.
	EnginePatience time.Duration
	// Drain is how long Run waits for running jobs once it is told to stop.
	Drain time.Duration
	// Once ends Run after one job and the service that it keeps. IdleExit ends it when no
	// job ran and no service was kept for so long; 0 is never.
	Once     bool
	IdleExit time.Duration
}

// Defaults are the settings that an operator did not choose.
func Defaults() Options {
	return Options{
		Farm: "default", Slots: 2, PortAddress: "127.0.0.1", RuntimeDir: "/run/slipway",
		Timeouts: jobs.Timeouts{
			Fetch: jobs.Duration(10 * time.Minute), Build: jobs.Duration(30 * time.Minute),
			Push: jobs.Duration(15 * time.Minute), Run: jobs.Duration(time.Hour), Idle: jobs.Duration(15 * time.Minute),
		},
		Limits:       jobs.Limits{CPUs: 0, Memory: 2 << 30, Pids: 512},
		AffinityWait: 2 * time.Second, LogCap: 64 << 20, OutputCap: 2 << 30,
		Lease: 90 * time.Second, EnginePatience: 2 * time.Minute, Drain: 10 * time.Minute,
	}
}

// RenewEvery is how often a lease is renewed.
func RenewEvery(lease time.Duration) time.Duration { return min(lease/10, 5*time.Second) }

// selfStopAfter is how long after its last renewal an attempt ends itself: two renewals
// that hang, the end of the container, and one more before the lease has passed.
func (o Options) selfStopAfter() time.Duration { return o.Lease - 4*o.Renew }

// advertised is the address in results for the host address that a port is bound to.
// Nothing else reaches a port on loopback, so such an address stays.
func (o Options) advertised(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || o.AdvertiseAddress == "" || net.ParseIP(host).IsLoopback() {
		return addr
	}
	return net.JoinHostPort(o.AdvertiseAddress, port)
}

// loopback replaces the wildcard address, which can be listened on but should
// not be dialled.
func loopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	switch ip := net.ParseIP(host); {
	case err != nil || !ip.IsUnspecified():
		return addr
	case ip.To4() == nil:
		return net.JoinHostPort("::1", port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}
