package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/artifacts/s3store"
	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/remote"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

// process is what the program gets from the operating system.
type process struct {
	getenv func(string) string
	// environ is all that getenv knows.
	environ        commandline.Environment
	stdin          io.Reader
	stdout, stderr io.Writer
	// interrupts delivers SIGINT and SIGTERM.
	interrupts <-chan os.Signal
	// exit ends the program at once; nil where there is none to end.
	exit func(code int)
}

// app is one run of the program: the process, the global flags, and the farm,
// which is opened by the first verb that needs it. It belongs to one goroutine.
type app struct {
	process
	redisURL, storeURL, color string
	// server is the URL of the farm's server, "" where Redis and the store are reached
	// without it.
	server, tokenFile string
	// contextName is the farm in the configuration that is used, "" for its current one;
	// given reports whether a flag of these was.
	contextName string
	given       func(flag string) bool
	// openService and openStore reach the farm; tests put a farm in memory here.
	openService func(context.Context) (service, io.Closer, error)
	openStore   func() (artifacts.Store, error)

	svc service
	// link to registry are what service has learned about the farm. farm is there only where
	// the program reaches Redis itself.
	link
	farm     *api.Farm
	pins     artifacts.Pins
	registry artifacts.Registry
	blobs    *artifacts.Blobs
	closers  []io.Closer
}

func newApp(p process) *app {
	a := &app{process: p}
	a.openService = a.dial
	a.openStore = a.openFarmStore
	return a
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	defer a.close()
	root := a.rootCmd()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	commandline.Strict(root, unknownVerb)
	return a.report(root.ExecuteContext(ctx))
}

func (a *app) close() {
	for _, c := range a.closers {
		_ = c.Close() // the program ends; an error here helps no user
	}
}

// service opens the way into the farm once.
func (a *app) service(ctx context.Context) (service, error) {
	if a.svc != nil {
		return a.svc, nil
	}
	if _, err := a.settle(); err != nil {
		return nil, err
	}
	svc, closer, err := a.openService(ctx)
	if err != nil {
		return nil, err
	}
	a.svc = svc
	a.closers = append(a.closers, closer)
	return a.svc, nil
}

// artifacts opens the artifact store once, if it is the farm's; who uses it opens
// service before.
func (a *app) artifacts(ctx context.Context) (*artifacts.Blobs, error) {
	if a.blobs != nil {
		return a.blobs, nil
	}
	s, err := a.openStore()
	if err != nil {
		return nil, unusable(err)
	}
	if a.registry != nil {
		if err := artifacts.NewOwner(a.registry, s, a.storeURL).Ask(ctx); err != nil {
			return nil, a.notOurs(ctx, err)
		}
	}
	a.blobs = artifacts.NewBlobs(s, "")
	a.blobs.Pins = a.pins
	return a.blobs, nil
}

// notOurs tells why the store is not used.
func (a *app) notOurs(ctx context.Context, err error) error {
	var own *artifacts.StoreError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case artifacts.IsUnsaid(err): // the farm's Redis is in trouble, not the store
		return err
	case artifacts.IsSetting(err):
		return unusable(err)
	case errors.As(err, &own):
		return failure{code: jobs.KindStore.Info().Exit, what: own.Message, hint: own.Hint}
	case errors.Is(err, fs.ErrPermission):
		f := artifacts.StoreFailure(err, "contexts, logs and outputs")
		return failure{code: f.Kind.Info().Exit, what: f.Message, hint: f.Hint}
	}
	return failure{code: jobs.KindStore.Info().Exit, what: err.Error(), hint: "try again; if it stays, ask the operator to look at the artifact store"}
}

func unusable(err error) failure {
	return failure{
		code: jobs.ExitUsage, err: err, what: "cannot use the artifact store (--store, SLIPWAY_STORE)",
		hint: "give the one that the workers use: a directory by its absolute path, or s3://bucket/prefix",
	}
}

func (a *app) dial(ctx context.Context) (service, io.Closer, error) {
	if a.server != "" {
		return a.dialServer(ctx)
	}
	rdb, err := redisconn.Open(ctx, a.redisURL)
	switch {
	case err == nil:
	case redisconn.Unreachable(err):
		return nil, nil, err
	default:
		return nil, nil, failure{code: jobs.ExitUsage, what: "--redis", err: err}
	}
	db := records.New(rdb, records.Options{})
	a.pins, a.registry = db, db
	r, q := faulty(db, queue.New(rdb))
	return a.reach(api.Farm{
		Jobs: jobs.NewService(r, q, newID), Hosts: db, Orders: db, Recipes: db, Rebuilds: db, Bases: db, Changes: db, Webhooks: db, Calls: db, Tokens: db, Trail: db,
	}), rdb, nil
}

// reach takes a farm whose Redis the program reaches itself.
func (a *app) reach(f api.Farm) service {
	a.farm = &f
	a.link = link{
		known: func(ctx context.Context) ([]jobs.KnownHost, time.Time, error) {
			return jobs.KnownHosts(ctx, f.Hosts, f.Orders)
		},
		hosts: f.Hosts, orders: f.Orders, recipes: f.Recipes, rebuilds: f.Rebuilds, bases: f.Bases,
		planner: rebuild.NewService(nil, f.Rebuilds, f.Recipes, f.Bases, newID),
		tokens:  ownTokens{f.Trail, f.Tokens}, hooks: f.Webhooks, calls: f.Calls,
		// Tags are the workers' to move.
		move: rebuild.NewRunner(nil, f.Rebuilds, f.Recipes, f.Jobs, nil).Advance,
	}
	return f.Jobs.By(a.whoami()).Within(a.traceparent())
}

// dialServer takes a farm behind its server.
func (a *app) dialServer(ctx context.Context) (service, io.Closer, error) {
	token, err := a.token()
	if err != nil {
		return nil, nil, err
	}
	f, err := remote.New(a.server, token)
	if err != nil {
		return nil, nil, failure{code: jobs.ExitUsage, what: "--server", err: err}
	}
	f.Traceparent = a.traceparent()
	// First things first: to pack a context for a farm that is not there is work for nothing.
	if _, err := f.Whoami(ctx); err != nil {
		return nil, nil, err
	}
	a.link = link{known: f.Known, orders: f, recipes: f, rebuilds: f, planner: f, bases: f, tokens: f, hooks: f, calls: f}
	a.openStore = func() (artifacts.Store, error) { return f.Store(), nil }
	return f, io.NopCloser(nil), nil
}

// token is what the server is shown: of --token-file, or of the environment.
func (a *app) token() (string, error) {
	if a.tokenFile == "" {
		return a.getenv("SLIPWAY_TOKEN"), nil
	}
	raw, err := os.ReadFile(a.tokenFile)
	if err != nil {
		return "", failure{code: jobs.ExitUsage, what: fmt.Sprintf("--token-file: %s cannot be read: %v", a.tokenFile, pathReason(err))}
	}
	return strings.TrimSpace(string(raw)), nil
}

// openFarmStore opens what --store says: a bucket, or a directory.
func (a *app) openFarmStore() (artifacts.Store, error) {
	bucket, err := artifacts.IsBucket(a.storeURL)
	switch {
	case err != nil:
		return nil, err
	case bucket:
		return s3store.New(a.storeURL, s3conn.Environment(a.getenv), download.Transfer{})
	}
	return dirstore.New(a.storeURL)
}

// newID is a UUID of version 7: it grows with time, so that IDs sort by age.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// defaults for the flags that say where the farm is: environment, then default.
func (a *app) defaultRedis() string {
	if v := a.getenv("SLIPWAY_REDIS"); v != "" {
		return v
	}
	return "redis://127.0.0.1:6379/0"
}

func (a *app) defaultStore() string {
	switch {
	case a.getenv("SLIPWAY_STORE") != "":
		return a.getenv("SLIPWAY_STORE")
	case os.Geteuid() == 0:
		return "/var/lib/slipway/store"
	case a.getenv("XDG_DATA_HOME") != "":
		return filepath.Join(a.getenv("XDG_DATA_HOME"), "slipway", "store")
	default:
		return filepath.Join(a.getenv("HOME"), ".local", "share", "slipway", "store")
	}
}

// redisName is the farm's address without its password, for messages.
func (a *app) redisName() string { return redisconn.Redact(a.redisURL) }

// place is how the program reaches the farm, and mend what to look at when it cannot.
func (a *app) place() (place, mend string) {
	if a.server != "" {
		return "the farm's server at " + a.server, "start it, or say where it is with --server or SLIPWAY_SERVER"
	}
	return "the farm's Redis at " + a.redisName(), "start it, or say where it is with --redis or SLIPWAY_REDIS"
}

// whoami names the person behind a submission, a cancel or an order, for those who wonder.
func (a *app) whoami() string {
	name := a.getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return strings.TrimPrefix(name+"@"+host, "@")
}

// traceparent is the trace that the program runs in, as build systems and shells hand it on.
func (a *app) traceparent() jobs.Traceparent { return jobs.ParseTraceparent(a.getenv("TRACEPARENT")) }

// interruptible returns a context that the first interrupt cancels, for verbs
// that only read. stop ends the watch. A verb that is held up all the same, by a
// file system that hangs or a pipe that brings nothing, ends with the next interrupt,
// or soon.
func (a *app) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-a.interrupts:
			cancel(errInterrupted)
		case <-quit:
			return
		}
		if a.exit == nil {
			return
		}
		select {
		case <-quit:
			return
		case <-a.interrupts:
		case <-time.After(heldUp):
		}
		a.exit(a.report(errInterrupted))
	}()
	return ctx, func() {
		close(quit)
		<-done
		cancel(nil)
	}
}

// heldUp is how long a verb may take to end after an interrupt.
const heldUp = 5 * time.Second

var errInterrupted = errors.New("interrupted")
