package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/admission"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/chunkcache"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/artifacts/s3store"
	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/bootclock"
	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/filesource"
	"github.com/slipway-farm/slipway/internal/contexts/httpsource"
	"github.com/slipway-farm/slipway/internal/contexts/s3source"
	"github.com/slipway-farm/slipway/internal/control"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/engine/docker"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/pins"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/registries"
	"github.com/slipway-farm/slipway/internal/s3conn"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/traces"
	"github.com/slipway-farm/slipway/internal/worker"
)

// This file is the only one that names drivers: adding an engine, a store or a
// context source is a package and a line here.

// runWorker runs a worker until it ends in order. When another worker turns out to have
// this host's identity, the worker starts again as a new host.
func runWorker(ctx, hurry context.Context, lg *slog.Logger, c config, watched watcher) error {
	for {
		err := serve(ctx, hurry, lg, c, watched)
		if !errors.Is(err, jobs.ErrDisplaced) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		lg.WarnContext(ctx, "another worker has this host's identity; the worker starts again as a new host", "err", err)
	}
}

// serve runs one worker. It calls watched.Up when only what can be waited for may still be
// away, and tells from then on how the worker is.
func serve(ctx, hurry context.Context, lg *slog.Logger, c config, watched watcher) (err error) {
	dir, err := seat.Open(c.Worker.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	c.Worker.HostID, c.Worker.Queues, c.Worker.Version = dir.Host(), c.Queues, buildVersion()
	if c.Worker.AdvertiseAddress != "" && net.ParseIP(c.Worker.PortAddress).IsLoopback() {
		lg.WarnContext(ctx, "--advertise-address has no effect: --port-address binds published ports to loopback", "address", c.Worker.AdvertiseAddress)
	}

	if err := settled(ctx, lg, c, checkFiles(ctx, lg, c)); err != nil {
		return err
	}
	rdb, err := openRedis(ctx, lg, c)
	if err != nil {
		return err
	}
	defer rdb.Close()
	// The queue's client carries the doorbell hook and is closed by the intake.
	intakeRedis, err := redisconn.Lazy(c.Redis)
	if err != nil {
		return err
	}
	temp, err := tempDir(c)
	if err != nil {
		return err
	}
	blobs, err := openStore(c.Store, temp)
	if err != nil {
		return err
	}
	if bucket, _ := artifacts.IsBucket(c.Store); bucket && c.ChunkCache > 0 {
		blobs.Store = chunkcache.New(blobs.Store, filepath.Join(c.Worker.StateDir, "chunks"), c.ChunkCache)
	}
	admits, err := admission.Open(lg, c.Policy, registryOptions(ctx, c), func(p policy.Policy) (*contexts.Fetcher, error) {
		return newFetcher(p, blobs, contexts.Options{TempDir: temp, VerdictsDir: filepath.Join(c.Worker.StateDir, "verdicts"), Program: buildVersion(), Log: lg})
	})
	if err != nil {
		return commandline.BadUsage(err)
	}
	key, err := contentKey(c.Worker.StateDir)
	if err != nil {
		return err
	}
	eng, err := openBuilder(lg, c, admits.Registries(), key)
	if err != nil {
		return commandline.BadUsage(fmt.Errorf("--docker-host: %w", err))
	}
	defer func() { err = errors.Join(err, eng.Close()) }()

	traceTo, traced, err := traces.Environment(ctx, os.Getenv, c.Worker.Farm, buildVersion())
	if err != nil {
		return commandline.BadUsage(err)
	}
	attests, err := newProvenance(c, eng)
	if err != nil {
		return commandline.BadUsage(err)
	}
	records := records.New(rdb, records.Options{QueueTimeout: c.QueueTimeout, Retention: c.Retention, Log: lg})
	blobs.Pins = artifacts.PatientPins{Pins: records, Log: lg}
	owner := artifacts.NewOwner(records, blobs.Store, c.Store)
	if err := checkStore(ctx, lg, c, owner); err != nil {
		return err
	}
	collector := garbage.New(lg, garbage.Deps{Records: records, Store: blobs, Owner: owner}, garbage.Options{Every: c.GCEvery, Age: c.GCAge})
	tickets := queue.New(rdb, c.Queues...)
	metrics := telemetry.NewMetrics(buildVersion(), c.Queues)
	notes, room := imageNotes(c), newDisks(lg, eng, c)
	holder := seat.New(lg, dir, records, seat.Options{Worker: c.Worker.Name, Lease: c.Worker.Lease})
	pinned := pins.New(lg, eng, records)
	w := worker.New(lg, faulty(worker.Deps{
		Seat: holder, Farm: membership{records, c.Worker.Farm},
		Claims: records, Records: records, Hosts: records, Orders: records, Queue: tickets, Blobs: blobs, Observer: metrics,
		Engine: eng, Provenance: attests, Images: images.New(lg, faultyImages(eng), notes, func() images.Rules { return imageNames(admits.Policy()) }),
		Pins:   pinned,
		Builds: records,
		Intake: queue.NewIntake(intakeRedis, queue.IntakeOptions{
			Host: c.Worker.HostID, Queues: c.Queues, Slots: c.Worker.Slots, AffinityWait: c.Worker.AffinityWait, Log: lg,
		}),
		Admission: admits, Host: machine{Disks: room, uptime: bootclock.New(), store: owner, engine: eng, config: c},
	}), c.Worker)

	metrics.Slots(w.Busy())
	closeAdmin, err := serveAdmin(ctx, lg, c, metrics, conditions{redis: rdb, engine: eng, store: owner, worker: w}, room, facts(c, rdb, admits.Rejected))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAdmin()) }()
	var background sync.WaitGroup
	reconciling, stop := context.WithCancel(context.WithoutCancel(ctx))
	newJobID := func() string { return uuid.Must(uuid.NewV7()).String() }
	producer := jobs.NewService(records, tickets, newJobID)
	promoter := rebuild.NewPromoter(lg, records, records, producer, tags{faultyTags(eng), pinned}, rebuild.PromoterOptions{Nonce: uuid.NewString(), Gate: rebuild.NewGate(c.RebuildGate)})
	rebuilds := rebuild.NewRunner(lg, records, records, producer, promoter.Wake)
	background.Go(func() { promoter.Run(reconciling, rebuilds.Advance) })
	readers := map[string]func(){}
	if c.Webhooks {
		caller := newCaller(lg, c, records, admits, metrics)
		background.Go(func() { caller.Run(reconciling) })
		readers[jobs.CallsReader] = caller.Wake
	}
	if traced {
		exporter := traces.New(lg, traces.Deps{Endings: records, Records: records, Blobs: blobs, Collector: traceTo}, traces.Options{Nonce: uuid.NewString()})
		background.Go(func() { exporter.Run(reconciling) })
		readers[traces.Reader] = exporter.Wake
	}
	background.Go(func() {
		reconcile.New(lg, records, tickets, uuid.NewString(), reconcile.Options{
			Interval: min(5*time.Second, c.Worker.Lease/4), Observer: metrics, Watched: metrics, Rebuilds: rebuilds, Readers: readers,
		}).Run(reconciling)
	})
	if c.GCEvery > 0 {
		background.Go(func() { collector.Run(reconciling) })
	}
	if c.WatchBases > 0 {
		beginner := rebuild.NewBeginner(lg, records, records, records, rebuilds, newJobID, c.WatchSettle)
		watcher := rebuild.NewWatcher(lg, records, records, eng, rebuild.WatcherOptions{
			Every: c.WatchBases, Begin: beginner.Begin, Stale: func(images int) { metrics.Stale(images, 2*c.WatchBases) },
		})
		background.Go(func() { watcher.Run(reconciling) })
	}
	if c.ImageAge > 0 {
		background.Go(func() {
			select { // until the worker has its seat, the notes on images may be another host's
			case <-w.Settled():
				newImageCollector(lg, c, eng, notes, records, room.Filling).Run(reconciling)
			case <-reconciling.Done():
			}
		})
	}
	defer background.Wait()
	defer stop()
	defer control.Serve(ctx, lg, c.Worker.StateDir, w)()
	watched.Up()
	background.Go(func() { tellCondition(ctx, reconciling, watched, w) })
	return w.Run(ctx, hurry)
}

// membership joins the farm by the name that the operator set.
type membership struct {
	*records.DB
	name string
}

// Join implements worker.Farm.
func (m membership) Join(ctx context.Context) (string, error) { return m.JoinFarm(ctx, m.name) }

// openRedis refuses a Redis that cannot be reached, is not safe, or is of a farm with
// another name. A worker whose earlier jobs have not ended starts without Redis: it has
// to follow their containers, and to stop them in time when Redis stays away.
func openRedis(ctx context.Context, lg *slog.Logger, c config) (redisClient, error) {
	rdb, err := redisconn.OpenLoaded(ctx, lg, c.Redis)
	if err == nil {
		if err = checkRedis(ctx, lg, c, rdb); err == nil {
			_, err = records.New(rdb, records.Options{}).JoinFarm(ctx, c.Worker.Farm)
		}
		if err != nil {
			return nil, errors.Join(err, rdb.Close())
		}
		return rdb, nil
	}
	if !errors.Is(err, jobs.ErrUnreachable) || !worker.LeftSomething(c.Worker.StateDir) {
		if hint := redisconn.Protocol(c.Redis, err); hint != "" {
			return nil, fmt.Errorf("%w (%s)", err, hint)
		}
		return nil, err
	}
	lg.WarnContext(ctx, "connecting to Redis failed; the worker starts all the same, because jobs of this host have not ended", "err", err)
	return redisconn.Lazy(c.Redis)
}

// openBuilder prepares this host's engine for jobs. open decides which registries it may ask,
// key is the one of contents.
func openBuilder(lg *slog.Logger, c config, open docker.RegistryPolicy, key []byte) (*docker.Engine, error) {
	return docker.New(lg, docker.Options{
		Host: c.DockerHost, RegistryAuthFile: c.RegistryAuth, Registries: open,
		ContentKey: key, WorkspacesDir: filepath.Join(c.Worker.StateDir, "workspaces"),
	})
}

// openEngine prepares this host's engine for a program that builds nothing of jobs.
func openEngine(lg *slog.Logger, c config) (*docker.Engine, error) {
	return docker.New(lg, docker.Options{Host: c.DockerHost, RegistryAuthFile: c.RegistryAuth})
}

// contentKey is the secret by which the engine tells the contents of Dockerfiles apart, see
// [docker.Options].
func contentKey(stateDir string) ([]byte, error) {
	path := filepath.Join(stateDir, "content.key")
	key, err := os.ReadFile(path)
	if err == nil && len(key) == docker.ContentKeySize {
		return key, nil
	}
	key = make([]byte, docker.ContentKeySize)
	_, _ = rand.Read(key) // it does not fail
	if err = os.MkdirAll(stateDir, 0o700); err == nil {
		err = atomicfile.WriteDurable(path, key)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the key of contents in the state directory: %w", err)
	}
	return key, nil
}

// imageNotes are the notes on which images of this host are the farm's.
func imageNotes(c config) *images.Notes {
	return images.NewNotes(cmp.Or(c.ImageNotes, filepath.Join(c.Worker.StateDir, "images")), imagename.Familiar)
}

// registryLogins returns the registries that --registry-auth has logins for.
func registryLogins(c config) ([]string, error) { return docker.Registries(c.RegistryAuth) }

// registryOptions allow registries that the policy does not name: those with a login, and
// the one that the worker itself pushes to when it checks its host.
func registryOptions(ctx context.Context, c config) registries.Options {
	o := registries.Options{Own: c.OwnPorts(ctx, os.Getenv)}
	if c.RegistryAuth != "" {
		o.Logins = func() ([]string, error) { return registryLogins(c) }
	}
	if c.ProbePush != "" {
		o.Named = func() []string { return []string{jobs.RegistryOf(c.ProbePush)} }
	}
	return o
}

// checkStore checks the artifact store before the worker starts. The worker refuses to
// start with settings that cannot work, unless jobs of this host have not ended. Any other
// fault may pass by itself: the worker starts, takes no jobs and reports why.
func checkStore(ctx context.Context, lg *slog.Logger, c config, owner *artifacts.Owner) error {
	err := owner.Look(ctx, true)
	switch {
	case err == nil:
		return nil
	case artifacts.IsSetting(err) && !worker.LeftSomething(c.Worker.StateDir):
		return fmt.Errorf("%w; give this user access to it, or choose another with --store", err)
	}
	lg.WarnContext(ctx, "checking the artifact store failed; the worker takes no jobs until a check succeeds", "err", err)
	return nil
}

// openStore opens the artifact store, a directory or a bucket, without a call to it. Large
// blobs are spooled in temp on their way there.
func openStore(where, temp string) (*artifacts.Blobs, error) {
	bucket, err := artifacts.IsBucket(where)
	if err != nil {
		return nil, fmt.Errorf("--store: %w", err)
	}
	var s artifacts.Store
	if bucket {
		s, err = s3store.New(where, s3conn.Environment(os.Getenv), download.Transfer{})
	} else {
		s, err = dirstore.New(where)
	}
	if err != nil {
		return nil, err
	}
	return artifacts.NewBlobs(s, temp), nil
}

// tempDir makes the directory where contexts and outputs are spooled. The files have no
// names, so that a crash leaves none behind.
func tempDir(c config) (string, error) {
	dir := filepath.Join(c.Worker.StateDir, "tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for temporary files: %w", err)
	}
	return dir, nil
}

// newFetcher opens the context sources that a policy allows: a source is one entry here.
func newFetcher(p policy.Policy, blobs *artifacts.Blobs, opts contexts.Options) (*contexts.Fetcher, error) {
	c, transfer := p.Context, download.Transfer{Stall: time.Duration(p.Context.StallTimeout)}
	var sources []contexts.Source
	for _, s := range []struct {
		schemes []string
		open    func(schemes []string) (contexts.Source, error)
	}{
		{[]string{artifacts.SchemeCAS}, func([]string) (contexts.Source, error) { return cassource.New(blobs), nil }},
		{[]string{"file"}, func([]string) (contexts.Source, error) { return filesource.New(c.FileRoots) }},
		{[]string{"https", "http"}, func(schemes []string) (contexts.Source, error) { return httpSource(c.HTTP, schemes, transfer), nil }},
		{[]string{"s3"}, func([]string) (contexts.Source, error) { return s3Source(c.S3, transfer) }},
	} {
		schemes := only(p, s.schemes...)
		if len(schemes) == 0 {
			continue
		}
		opened, err := s.open(schemes)
		if err != nil {
			return nil, err
		}
		sources = append(sources, opened)
	}
	opts.Limits, opts.NeedDigest = c.Limits(), c.RequireDigest
	return contexts.NewFetcher(opts, sources...), nil
}

func httpSource(h policy.HTTP, schemes []string, transfer download.Transfer) contexts.Source {
	credentials := map[string]httpsource.Credential{}
	for name, c := range h.Credentials {
		credentials[name] = httpsource.Credential(c)
	}
	return httpsource.New(httpsource.Options{
		Schemes: schemes, Guard: netguard.New(networks(h.Networks)), Hosts: h.Hosts, Credentials: credentials, Transfer: transfer,
	})
}

func s3Source(list []policy.Bucket, transfer download.Transfer) (contexts.Source, error) {
	var buckets []s3source.Buckets
	for _, b := range list {
		buckets = append(buckets, s3source.Buckets{Names: b.Buckets, Profile: s3conn.Profile{
			Endpoint: b.Endpoint, Region: b.Region, AccessKeyFile: b.AccessKeyFile, SecretKeyFile: b.SecretKeyFile,
		}})
	}
	return s3source.New(buckets, transfer)
}

// checkRedis refuses a Redis that may forget acknowledged jobs. With
// --allow-unsafe-redis it warns instead.
func checkRedis(ctx context.Context, lg *slog.Logger, c config, rdb redisClient) error {
	safety, err := redisconn.CheckSafety(ctx, rdb)
	if err != nil {
		return err
	}
	for _, w := range safety.Warnings {
		if c.Embedded {
			break // it forgets all, which is what it is for
		}
		if !c.UnsafeRedis {
			return fmt.Errorf("%s (or start with --allow-unsafe-redis)", w)
		}
		lg.WarnContext(ctx, "this Redis may forget jobs", "text", w)
	}
	return nil
}
