// Package doctor examines a build host: Redis, the Docker daemon, disks,
// permissions, and what earlier workers left behind. The worker's command line
// wires it and prints what it finds.
//
// A check is a function that returns a [Finding] and a line in [checks]. It
// changes nothing; what it finds can carry a repair.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/strays"
)

// Status is how serious a finding is.
type Status string

// With OK a worker works, with Warn it works worse than it could, with Fail it
// does not start, or loses something.
const (
	OK   Status = "OK"
	Warn Status = "WARN"
	Fail Status = "FAIL"
)

// Finding is what came of one check.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Found says what was found, with its figure.
	Found string `json:"found"`
	// Advice says what to do about it, "" when it is OK.
	Advice string `json:"advice,omitempty"`
	// Fixed says what a repair did, "" without one.
	Fixed string `json:"fixed,omitempty"`

	// repair mends it and says what it did; nil when only people can.
	repair func(ctx context.Context) (did string, err error)
	// cause is the error that is all there is to say.
	cause error
}

// String is the finding on a line, with a second one where there is more.
func (f Finding) String() string {
	text := fmt.Sprintf("%-4s  %-20s  %s", f.Status, f.Check, f.Found)
	if f.Fixed != "" {
		text += "\n      fixed: " + f.Fixed
	}
	if f.Advice != "" {
		text += "\n      " + f.Advice
	}
	return text
}

// Options say which host is examined; the fields are the worker's settings.
type Options struct {
	// RedisURL is without its password.
	RedisURL    string
	UnsafeRedis bool
	Name, Farm  string
	StateDir    string
	// StorePath is a directory or s3://bucket/prefix.
	StorePath string
	// PolicyFile, SecretsDir and RegistryAuth are "" when there is none.
	PolicyFile, SecretsDir, RegistryAuth string
	// RuntimeDir is where containers have their secrets.
	RuntimeDir string
	// ProvenanceKey is the file of the key that signs provenance, "" for none.
	ProvenanceKey string
	// Limits are those of a container that does not say.
	Limits jobs.Limits
	// ProbePush is a name that the host tries to push to, "" for none.
	ProbePush string
	// Fix repairs what is safe to repair.
	Fix bool
}

// Deps are what the host is examined with.
type Deps struct {
	Redis func(ctx context.Context) (redisconn.Server, redisconn.Timing, error)
	// Writes has Redis take a write that changes nothing.
	Writes func(ctx context.Context) error
	// Certificates returns when the first certificate of the connection to Redis ends; nil
	// for one without TLS.
	Certificates func(ctx context.Context) (time.Time, error)
	// Records are those of this Redis, nil when it cannot be reached.
	Records Records
	Daemon  Daemon
	// Store asks the artifact store for something, StoreOwner whether it is this
	// farm's.
	Store, StoreOwner func(ctx context.Context) error
	// Policy loads the policy as a worker does.
	Policy func() error
	// Registries names the registries that there are logins for.
	Registries func() ([]string, error)
	// Identity is what the state directory is known by to the farm;
	// fs.ErrNotExist when no worker has used it yet.
	Identity func() (string, error)
	// Look says why the next worker on the state directory would not use its identity,
	// "" when it would. s is the identity's seat, daemon the ID of the engine or "".
	Look func(s jobs.Seat, daemon string) (why string, err error)
	// Former lists folders with the files of hosts that the state directory was before.
	Former func() ([]string, error)
	// Webhooks looks whether this worker can sign the calls of the farm's webhooks, and
	// returns how many there are; nil when it calls none.
	Webhooks func(ctx context.Context) (count int, err error)
	// Lock takes the state directory's lock and says how to give it back, or
	// that a running worker has it.
	Lock func() (release func() error, running bool, err error)
}

// Records is what the doctor needs of the farm's records. It reads, and records the
// end of services that it ends.
type Records interface {
	strays.Records
	strays.Services
	Owned(ctx context.Context, host string) ([]jobs.Job, error)
	// FarmName is the name that the farm's workers know it by, "" before the first.
	FarmName(ctx context.Context) (string, error)
	// FarmID tells the farm from all others; with pretend it makes none, and returns
	// "" when there is none.
	FarmID(ctx context.Context, pretend bool) (string, error)
}

// Daemon is what the doctor needs of the engine. Package engine has the
// promises of the methods that are a worker's, too.
type Daemon interface {
	Details(ctx context.Context) (engine.Details, error)
	// Probe builds an image, runs a container, removes both, and returns warnings.
	Probe(ctx context.Context, p engine.Probe) ([]string, error)
	List(ctx context.Context, labels map[string]string) ([]engine.Listed, error)
	Images(ctx context.Context, repository string) ([]engine.Named, error)
	RemoveImage(ctx context.Context, ref string) error
	// PublishedPorts lists the published ports of containers that are not on loopback alone.
	PublishedPorts(ctx context.Context) ([]engine.PublishedPort, error)
	// Reach tries from a container which addresses take a connection; errors.ErrUnsupported
	// when it cannot be tried.
	Reach(ctx context.Context, all []netip.AddrPort) ([]netip.AddrPort, error)
	// CheckLogin tries the login for a registry; a failure is registry_denied when the
	// registry refuses it.
	CheckLogin(ctx context.Context, registry string) error
	strays.Engine
}

// exam is one examination, with what earlier checks found out for later ones.
type exam struct {
	Deps
	Options
	server redisconn.Server
	timing redisconn.Timing
	daemon engine.Details
	host   string // the identity, "" when there is none yet
}

// check is one thing to look at.
type check struct {
	name string
	// needs are earlier checks; when one of them fails, this one is left out: it
	// could say nothing new.
	needs []string
	run   func(ctx context.Context, e *exam) Finding
}

// checks are all checks in their order.
func checks() []check {
	redis, docker := []string{"redis"}, []string{"docker"}
	farm := []string{"redis", "docker", "state.identity", "store.owner"}
	return []check{
		{"redis", nil, redisAnswers},
		{"redis.version", redis, redisVersion},
		{"redis.role", redis, redisRole},
		{"redis.writes", redis, redisWrites},
		{"redis.persistence", redis, redisPersistence},
		{"redis.eviction", redis, redisEviction},
		{"redis.memory", redis, redisMemory},
		{"redis.latency", redis, redisLatency},
		{"redis.clock", redis, redisClock},
		{"redis.certificate", redis, redisCertificate},
		{"farm", redis, farmName},
		{"docker", nil, dockerAnswers},
		{"docker.storage", docker, dockerStorage},
		{"docker.cgroup", docker, dockerCgroup},
		{"docker.live-restore", docker, dockerLiveRestore},
		{"docker.logs", docker, dockerLogs},
		{"docker.security", docker, dockerSecurity},
		{"docker.container", docker, dockerContainer},
		{"docker.reach", []string{"docker", "docker.container"}, dockerReach},
		{"state", nil, stateDirectory},
		{"state.identity", []string{"state"}, stateIdentity},
		{"state.shared", []string{"redis", "state.identity"}, stateShared},
		{"store", nil, artifactStore},
		{"store.owner", []string{"redis", "store"}, storeOwner},
		{"policy", nil, policyFile},
		{"secrets", nil, secretsDirectory},
		{"secrets.runtime", []string{"secrets"}, runtimeDirectory},
		{"webhooks", redis, webhookSecrets},
		{"registry-auth", nil, registryAuth},
		{"registry-logins", []string{"docker", "registry-auth"}, registryLogins},
		{"provenance-key", nil, provenanceKey},
		{"disk.docker", docker, diskDocker},
		{"disk.state", nil, diskState},
		{"disk.store", nil, diskStore},
		{"leftovers.containers", farm, leftContainers},
		{"leftovers.images", farm, leftImages},
		{"leftovers.spool", farm, leftSpool},
		{"leftovers.former", nil, leftFormer},
		{"leftovers.doctor", docker, leftProbes},
	}
}

// Names are those of all checks, in their order.
func Names() (names []string) {
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

// Bounds of one check and of one repair, which may have to end containers.
const (
	checkTimeout  = 20 * time.Second
	repairTimeout = 5 * time.Minute
)

// Examine runs all checks and hands each finding to tell. It fails when ctx ends
// before it is done.
func Examine(ctx context.Context, d Deps, o Options, tell func(Finding)) error {
	return examine(ctx, checks(), &exam{Deps: d, Options: o}, tell)
}

func examine(ctx context.Context, all []check, e *exam, tell func(Finding)) error {
	failed := map[string]bool{}
	for _, c := range all {
		if slices.ContainsFunc(c.needs, func(need string) bool { return failed[need] }) {
			failed[c.name] = true // so that what needs this one is left out, too
			continue
		}
		f := e.one(ctx, c)
		if ctx.Err() != nil && errors.Is(f.cause, context.Canceled) {
			break // it says nothing about the host
		}
		failed[c.name] = f.Status == Fail
		if f.Status != "" {
			tell(f)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("examine the host: %w", context.Cause(ctx))
	}
	return nil
}

// one runs a check, repairs what it found if that is wanted, and looks again.
func (e *exam) one(ctx context.Context, c check) Finding {
	look := func() Finding {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		f := c.run(ctx, e)
		f.Check, f.Found = c.name, strings.ReplaceAll(f.Found, "\n", "; ")
		return f
	}
	f := look()
	if !e.Fix || f.repair == nil {
		return f
	}
	mending, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	did, err := f.repair(mending)
	if err != nil {
		f.Found += fmt.Sprintf("; it could not be repaired: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		f.Fixed = did
		return f
	}
	f = look()
	f.Fixed = did
	return f
}

func ok(format string, args ...any) Finding {
	return Finding{Status: OK, Found: fmt.Sprintf(format, args...)}
}

func warn(advice, format string, args ...any) Finding {
	return Finding{Status: Warn, Found: fmt.Sprintf(format, args...), Advice: advice}
}

func fail(advice, format string, args ...any) Finding {
	return Finding{Status: Fail, Found: fmt.Sprintf(format, args...), Advice: advice}
}

// broken is a failure that an error says all about.
func broken(err error, advice string) Finding {
	f := fail(advice, "%s", err)
	f.cause = err
	return f
}
