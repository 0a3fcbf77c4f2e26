package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/admission"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/artifacts/s3store"
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
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/registries"
	"github.com/slipway-farm/slipway/internal/s3conn"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// This file is the only one that names drivers: adding an engine, a store or a
// context source is a package and a line here.

// runWorker runs a worker until it ends in order. One that finds that its host is
// another worker's begins anew as another host.
func runWorker(ctx, hurry context.Context, c config, stderr io.Writer, up func() error) error {
	lg := telemetry.NewLogger(stderr, c.LogLevel)
	up = sync.OnceValue(up)
	for {
		err := serve(ctx, hurry, lg, c, up)
		if !errors.Is(err, jobs.ErrDisplaced) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		lg.WarnContext(ctx, "beginning anew as another host", "err", err)
	}
}

// serve calls up once everything is there that cannot be waited for.
func serve(ctx, hurry context.Context, lg *slog.Logger, c config, up func() error) (err error) {
	dir, err := seat.Open(c.Worker.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	c.Worker.HostID, c.Worker.Queues, c.Worker.Version = dir.Host(), c.Queues, buildVersion()
	if c.Worker.AdvertiseAddress != "" && net.ParseIP(c.Worker.PortAddress).IsLoopback() {
		lg.WarnContext(ctx, "published ports are bound to loopback: --advertise-address has no effect without another --port-address", "address", c.Worker.AdvertiseAddress)
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
	admits, err := admission.Open(lg, c.Policy, registryOptions(ctx, c), func(p policy.Policy) (*contexts.Fetcher, error) { return newFetcher(p, blobs, temp) })
	if err != nil {
		return commandline.BadUsage(err)
	}
	eng, err := openEngine(lg, c, admits.Registries())
	if err != nil {
		return commandline.BadUsage(fmt.Errorf("--docker-host: %w", err))
	}
	defer func() { err = errors.Join(err, eng.Close()) }()

	records := records.New(rdb, records.Options{QueueTimeout: c.QueueTimeout, Retention: c.Retention, Log: lg})
	blobs.Pins = artifacts.PatientPins{Pins: records, Log: lg}
	owner := artifacts.NewOwner(records, blobs.Store, c.Store)
	if err := lookAtFirst(ctx, lg, c, owner); err != nil {
		return err
	}
	collector := garbage.New(lg, garbage.Deps{Records: records, Store: blobs.Store, Owner: owner}, garbage.Options{Every: c.GCEvery, Age: c.GCAge})
	tickets := queue.New(rdb, c.Queues...)
	metrics := telemetry.NewMetrics(buildVersion(), c.Queues)
	notes, room := imageNotes(c), newDisks(lg, eng, c)
	holder := seat.New(lg, dir, records, seat.Options{Worker: c.Worker.Name, Lease: c.Worker.Lease})
	w := worker.New(lg, faulty(worker.Deps{
		Seat: holder, Farm: membership{records, c.Worker.Farm},
		Claims: records, Records: records, Hosts: records, Queue: tickets, Blobs: blobs, Observer: metrics,
		Engine: eng, Images: images.New(lg, eng, notes, func() images.Rules { return imageNames(admits.Policy()) }),
		Intake:    queue.NewIntake(intakeRedis, queue.IntakeOptions{Queues: c.Queues, Slots: c.Worker.Slots, Log: lg}),
		Admission: admits, Host: machine{Disks: room, uptime: bootclock.New(), store: owner, engine: eng, config: c},
	}), c.Worker)

	metrics.Slots(w.Busy())
	closeAdmin, err := serveAdmin(ctx, lg, c, metrics, conditions{redis: rdb, engine: eng, store: owner, worker: w}, room)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAdmin()) }()
	var background sync.WaitGroup
	reconciling, stop := context.WithCancel(context.WithoutCancel(ctx))
	background.Go(func() {
		reconcile.New(lg, records, tickets, uuid.NewString(), reconcile.Options{Interval: min(5*time.Second, c.Worker.Lease/4), Observer: metrics}).Run(reconciling)
	})
	if c.GCEvery > 0 {
		background.Go(func() { collector.Run(reconciling) })
	}
	if c.ImageAge > 0 {
		background.Go(func() {
			select { // the notes about images may be another host's
			case <-w.Settled():
				newImageCollector(lg, c, eng, notes, records, room.Filling).Run(reconciling)
			case <-reconciling.Done():
			}
		})
	}
	defer background.Wait()
	defer stop()
	defer control.Serve(ctx, lg, c.Worker.StateDir, w)()
	if err := up(); err != nil {
		return err
	}
	return w.Run(ctx, hurry)
}

// membership is a worker's of a farm that it knows by a name.
type membership struct {
	*records.DB
	name string
}

// Join implements worker.Farm.
func (m membership) Join(ctx context.Context) (string, error) { return m.JoinFarm(ctx, m.name) }

// openRedis refuses a Redis that cannot be reached, is not safe, or is of a farm with
// another name. A worker that left something running cannot be choosy: it has to look
// after that, and to end it in time when Redis stays away.
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
		return nil, err
	}
	lg.WarnContext(ctx, "Redis cannot be reached, and jobs of this host have not ended", "err", err)
	return redisconn.Lazy(c.Redis)
}

// openEngine prepares this host's engine. open says which registries it may ask, nil
// for all.
func openEngine(lg *slog.Logger, c config, open docker.RegistryPolicy) (*docker.Engine, error) {
	return docker.New(lg, docker.Options{Host: c.DockerHost, RegistryAuthFile: c.RegistryAuth, Registries: open})
}

// imageNotes are what this host's worker knows of its images.
func imageNotes(c config) *images.Notes {
	return images.NewNotes(cmp.Or(c.ImageNotes, filepath.Join(c.Worker.StateDir, "images")), docker.NormalName)
}

// registryLogins names the registries that there are logins for.
func registryLogins(c config) ([]string, error) { return docker.Registries(c.RegistryAuth) }

// registryOptions are what opens registries besides the policy: a login, and that the
// worker itself pushes there to prove its host.
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

// lookAtFirst looks at the artifact store before the worker starts. With settings
// that cannot work it does not start. All else may pass by itself, and the host
// says why it takes no jobs; so it is with settings while there is something that
// has to be looked after.
func lookAtFirst(ctx context.Context, lg *slog.Logger, c config, owner *artifacts.Owner) error {
	err := owner.Look(ctx, true)
	switch {
	case err == nil:
		return nil
	case artifacts.IsSetting(err) && !worker.LeftSomething(c.Worker.StateDir):
		return fmt.Errorf("%w; give this user access to it, or choose another with --store", err)
	}
	lg.WarnContext(ctx, "the artifact store cannot be used yet", "err", err)
	return nil
}

// openStore opens the artifact store: a directory, or a bucket. Large things are
// kept in temp on their way there. Nothing is looked at.
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

// tempDir is where contexts and outputs are kept while they are used. The files
// have no names, so that nothing has to be removed after a crash.
func tempDir(c config) (string, error) {
	dir := filepath.Join(c.Worker.StateDir, "tmp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for temporary files: %w", err)
	}
	return dir, nil
}

// newFetcher opens the context sources that a policy allows: one entry for each.
func newFetcher(p policy.Policy, blobs *artifacts.Blobs, temp string) (*contexts.Fetcher, error) {
	c, transfer := p.Context, download.Transfer{Stall: time.Duration(p.Context.StallTimeout)}
	var sources []contexts.Source
	for _, s := range []struct {
		schemes []string
		open    func(schemes []string) (contexts.Source, error)
	}{
		{[]string{artifacts.SchemeCAS}, func([]string) (contexts.Source, error) { return cassource.New(blobs.Store), nil }},
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
	opts := contexts.Options{Limits: c.Limits(), NeedDigest: c.RequireDigest, TempDir: temp}
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

// checkRedis refuses a Redis that may forget acknowledged jobs, or warns.
func checkRedis(ctx context.Context, lg *slog.Logger, c config, rdb redisClient) error {
	safety, err := redisconn.CheckSafety(ctx, rdb)
	if err != nil {
		return err
	}
	for _, w := range safety.Warnings {
		if !c.UnsafeRedis {
			return fmt.Errorf("%s (or start with --allow-unsafe-redis)", w)
		}
		lg.WarnContext(ctx, "unsafe redis", "text", w)
	}
	return nil
}
