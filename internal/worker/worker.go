// Package worker takes one job from its ticket to its result: claim, fetch,
// build, push, run, collect, finish. It owns the order of the steps, their
// timeouts, the job's log, cancelling, draining, and what happens after a
// restart: adopting what an earlier incarnation of the same host left running
// and removing what it left behind. cmd/worker wires and starts it.
//
// Two things end at different times: taking work (the context of Run) and
// working (each attempt has its own context, ended with a cause).
//
// Where to read, from the top:
//
//	worker.go                       Run: how a worker comes up, and how it ends
//	recover.go, resumetable.go, adopted.go  what a restarted worker does with what was left
//	take.go, running.go             a ticket becomes a claim, a claim an attempt
//	life.go                         one attempt from its beginning to its end
//	build.go, push.go, run.go, collect.go  its steps
//	provenance.go                   what is attached to what was pushed
//	service.go, kept.go             a run that is a service, and outlives its job
//	conclude.go                     what an end means: a result, a release, or neither
//	lease.go, lapsing.go            leases, and what stops before one passes
//	fitness.go, seat.go, silence.go whether this host may take jobs
//	strays.go, others.go            containers and images that no job owns
//	orders.go                       what an operator wants of this host
//	leaving.go                      when a worker ends by itself
//	warm.go                         for which builds this host is a good place
//	drain.go                        what becomes of running jobs at the end
//	seams.go                        what a worker needs from outside
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// Deps are what a worker works with.
type Deps struct {
	Claims  jobs.Claims
	Records jobs.Records
	Queue   jobs.Queue
	Intake  jobs.Intake
	Engine  engine.Engine
	// Admission judges what jobs ask for; one that fetches contexts is needed.
	Admission Admission
	// Host is examined before it takes jobs; nil trusts it.
	Host  Host
	Blobs *artifacts.Blobs
	// Images gives the host's images their names; nil gives any name to any job.
	Images Images
	// Pins finds out what the names in Dockerfiles stand for; nil leaves that to the
	// engine.
	Pins Pins
	// Builds knows builds by their keys; nil builds all that is asked for.
	Builds jobs.Builds
	// Provenance attaches to pushed images how they were built; nil does not.
	Provenance Provenance
	// Hosts is the registry that this host reports to; nil when there is none.
	Hosts jobs.Hosts
	// Orders has what operators want of this host; nil when there are none.
	Orders jobs.Orders
	// Seat keeps the host's identity for this process; nil when no other process can
	// have it.
	Seat Seat
	// Farm is nil for a worker that has its daemon to itself.
	Farm Farm
	// Observer may be nil.
	Observer Observer
}

// Worker runs jobs on one build host.
type Worker struct {
	Deps
	opts         Options
	log          *slog.Logger
	attempts     journal.Dir[journal.Entry]
	serviceNotes journal.Dir[serviceNote]
	service      *jobs.Service // for the jobs of plain producers

	// slots holds a token per job that may run; taking one comes before
	// claiming.
	slots chan struct{}

	mu sync.Mutex // guards running, services and drain, and writing engine, offer and Options.Platform
	// running is every attempt in this process by job ID: single flight.
	running map[string]*attempt
	// leftBehind are the attempts, by job ID, whose containers are left to the next
	// worker of this host.
	leftBehind map[string]int
	// services are the kept services of this host that are followed, by job ID.
	services map[string]*keptService
	writers  map[string]*writer // by container
	drain    drain
	leaving  leaving
	lost     error          // why this process is not its host any more, nil while it is
	anew     bool           // the process is to begin anew, as another host
	wg       sync.WaitGroup // one per attempt and per claim

	// taking is set while tickets are asked for.
	taking atomic.Bool
	// recovered is set once recovery has finished. Until then a container without a
	// local attempt may still be adopted, so it must not be treated as a stray.
	recovered atomic.Bool

	// serving ends when kept services are left to the next worker of this host;
	// followers has one for each.
	serving     context.Context //nolint:containedctx // spans all services, not a call
	stopServing context.CancelFunc
	followers   sync.WaitGroup
	attention   attention

	// arrived is closed when arrival is known: whether the identity is another's.
	arrived chan struct{}
	arrival error
	// settled is closed when this process is the host; farm is set by then.
	settled chan struct{}
	farm    string
	called  chan struct{} // nudges who keeps the seat
	// displaced ends when this process is not its host any more.
	displaced context.Context //nolint:containedctx // spans all that is done in the host's name, not a call
	displace  context.CancelFunc

	servicesNow chan struct{} // wakes tendServices
	registerNow chan struct{} // wakes register
	straysNow   chan struct{} // has tendServices look for strays at once

	fit     fitness
	order   obedience
	silence silence
	// gaveUpEngine is set when jobs went elsewhere without the engine's leave.
	gaveUpEngine atomic.Bool
	store        storeDoubt
	builds       builds
	// suspects are images without a name that may be of builds which were cut off;
	// only who looks for strays touches it.
	suspects   map[string][]string
	cacheLocks cacheLocks
	warmth     warmth
	// engine is what Engine.Info said when Run started, and offer what follows from it;
	// both are written before any attempt starts.
	engine engine.Info
	offer  jobs.Offer
}

// New makes a Worker. A nil logger is silent.
func New(lg *slog.Logger, deps Deps, opts Options) *Worker {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if deps.Observer == nil {
		deps.Observer = silent{}
	}
	if deps.Pins == nil {
		deps.Pins = asWritten{}
	}
	if deps.Images == nil {
		deps.Images = anyName{deps.Engine}
	}
	if deps.Host == nil {
		deps.Host = NewTrusted()
	}
	if opts.Renew == 0 {
		opts.Renew = RenewEvery(opts.Lease)
	}
	displaced, displace := context.WithCancel(context.Background())
	serving, stopServing := context.WithCancel(displaced) // a service is followed in the host's name
	return &Worker{
		arrived: make(chan struct{}), settled: make(chan struct{}), called: make(chan struct{}, 1), displaced: displaced, displace: displace,
		drain: newDrain(), offer: offer(opts, engine.Info{}),
		Deps: deps, opts: opts, log: lg.With("worker", opts.Name), attempts: attemptsAt(opts.StateDir), serviceNotes: serviceNotesAt(opts.StateDir), builds: builds{buildsDir(opts.StateDir)},
		serving: serving, stopServing: stopServing, services: map[string]*keptService{}, writers: map[string]*writer{},
		slots: make(chan struct{}, opts.Slots), running: map[string]*attempt{}, leftBehind: map[string]int{}, servicesNow: make(chan struct{}, 1), registerNow: make(chan struct{}, 1), straysNow: make(chan struct{}, 1),
		service:   jobs.NewService(deps.Records, deps.Queue, nil),
		attention: attention{most: opts.Lease / 2},
		fit:       fitness{examining: make(chan struct{}, 1), doubts: 1}, store: storeDoubt{raised: 1},
		order: newObedience(), warmth: warmth{changed: make(chan struct{}, 1)},
	}
}

// Run recovers what an earlier incarnation left, takes and runs jobs until ctx
// ends, then drains: running jobs may finish within Options.Drain or until
// hurry ends; the rest is stopped and handed back.
func (w *Worker) Run(ctx, hurry context.Context) error {
	// Hints must be heard while draining, too.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	defer w.followers.Wait()
	defer w.stopServing() // after tendServices, which starts followers
	defer helpers.Wait()
	defer stop()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	// What is done in the host's name ends before the worker does when it is not its
	// host any more.
	tending, stopTending := context.WithCancel(background)
	defer context.AfterFunc(w.displaced, stopTending)()
	helpers.Go(func() { w.hear(background) })
	helpers.Go(func() {
		// A host whose engine does not answer should be seen, too.
		if err := w.arrive(ctx); err == nil {
			w.register(tending)
		} else if isFinal(err) {
			end(err)
		}
	})
	taking, stopTaking := context.WithCancel(ctx)
	helpers.Go(func() {
		select {
		case <-w.drain.stopIntake:
			stopTaking()
		case <-background.Done():
		}
	})
	defer stopTaking()
	if !w.ready(taking) {
		return w.over(ctx, nil)
	}
	w.endOrphans(ctx)
	helpers.Go(func() { w.keepSeat(background) })
	helpers.Go(func() {
		if w.isSettled(tending) {
			w.tendServices(tending)
		}
	})
	helpers.Go(func() { w.watchOthers(tending) })
	helpers.Go(func() { w.watchFitness(background) })
	helpers.Go(func() { w.watchOrders(tending) })
	helpers.Go(func() { w.watchDisk(background) })

	if err := w.recoverBefore(taking); isFinal(err) {
		return w.over(ctx, err)
	} else if err != nil {
		return w.over(ctx, fmt.Errorf("recover what an earlier worker of this host left: %w", err))
	}
	unfit := w.examine(taking) // a host that is broken should not learn it from jobs
	if w.orderKnown(taking) && taking.Err() == nil {
		w.holdIntake() // what was adopted may be the one job
		if err := w.Intake.Start(w.take, w.fits); err != nil {
			return err
		}
		w.taking.Store(true)
		if unfit == nil && w.Ordered() == nil {
			w.log.InfoContext(ctx, "worker takes jobs", "host", w.opts.HostID, "slots", w.opts.Slots)
		}
		helpers.Go(func() { w.watchLeaving(taking) })
		helpers.Go(func() { w.tellWarm(taking) })
		<-taking.Done()
	}
	w.Intake.StopTaking()
	running, _ := w.Busy()
	w.log.InfoContext(ctx, "worker drains", "running", running)
	w.drainNow(hurry)
	return w.over(ctx, nil)
}

// ready waits until the engine answers; a worker without one takes no jobs.
// false means that ctx ended first: the worker is to end.
func (w *Worker) ready(ctx context.Context) bool {
	for {
		info, err := w.askEngine(ctx)
		if err == nil {
			w.mu.Lock()
			w.engine = info
			if w.opts.Platform == "" {
				w.opts.Platform = info.Platform
			}
			w.offer = offer(w.opts, info)
			w.mu.Unlock()
			_ = w.fit.set(nil)
			nudge(w.registerNow) // what the host has is known only now
			return true
		}
		_ = w.fit.set(err)
		nudge(w.registerNow)
		w.log.WarnContext(ctx, "the engine does not answer; no jobs are taken", "err", err)
		if !pause(ctx, 2*time.Second) {
			return false
		}
	}
}

// hear nudges attempts that a user wants ended, and answers calls to this host.
// Hints can be lost; the next renewal tells for certain.
func (w *Worker) hear(ctx context.Context) {
	for id := range w.Claims.Cancellations(ctx) {
		if id == w.opts.HostID {
			nudge(w.called)
			continue
		}
		if host, ok := jobs.HintedOrder(id); ok {
			if host == w.opts.HostID {
				nudge(w.order.hinted)
			}
			continue
		}
		w.mu.Lock()
		a, kept := w.running[id], w.services[id] != nil
		w.mu.Unlock()
		if a != nil {
			nudge(a.renewNow)
		}
		if kept { // every worker of the farm hears every hint
			nudge(w.servicesNow)
		}
	}
}
