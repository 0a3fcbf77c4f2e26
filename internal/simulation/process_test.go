package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pins"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/worker"
)

// process is one life of a worker on a host. Killed, each of its goroutines ends
// at its next call to the outside: it does nothing more that could be seen.
type process struct {
	h      *host
	number int // of the host's processes
	// identity is the host's as the farm knows it.
	identity string
	engine   engineOf
	began    time.Time
	// life ends when the process is killed.
	life context.Context // it is the process's own
	die  context.CancelFunc
	dead atomic.Bool

	mu     sync.Mutex
	frozen chan struct{} // closed when it goes on; nil while it runs
	// ignorant is when it last missed what Redis had to say of its host's order.
	ignorant time.Time
	calls    map[faults.Call]int
	stop     context.CancelFunc // SIGTERM
	drain    func(worker.DrainMode)
	hurry    context.CancelFunc // a second one
	ended    chan struct{}
}

// String tells the process from others.
func (p *process) String() string { return fmt.Sprintf("%s, process %d", p.h.name, p.number) }

// Killed implements oracle.Process.
func (p *process) Killed() bool { return p.dead.Load() }

// Replaced implements oracle.Process.
func (p *process) Replaced() bool { return p != p.h.current() }

// gate is passed by everything that a process does to the outside.
func (p *process) gate() {
	for {
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if p.dead.Load() {
			runtime.Goexit()
		}
		if frozen == nil {
			return
		}
		select {
		case <-frozen:
		case <-p.life.Done():
		}
	}
}

// alive waits while the process is stopped and reports whether it lives. It is
// for goroutines that are not the process's.
func (p *process) alive() bool {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-p.life.Done():
		}
	}
	return !p.dead.Load()
}

func (p *process) kill() {
	if p.dead.Swap(true) {
		return
	}
	p.h.farm.oracle.Silenced(p.identity)
	p.die()
	p.stop()
}

// freeze stops the process in its tracks until thaw is called.
func (p *process) freeze() (thaw func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		return func() {}
	}
	p.h.farm.oracle.Silenced(p.identity)
	ch := make(chan struct{})
	p.frozen = ch
	return func() {
		p.mu.Lock()
		p.frozen, p.ignorant = nil, time.Now()
		p.mu.Unlock()
		close(ch)
	}
}

// Out of so many calls one is spoiled.
const (
	failEvery = 35
	killEvery = 400
)

var errAway = errors.New("connection refused")

// at is called around every call of the process.
func (p *process) at(_ context.Context, c faults.Call) error {
	p.gate()
	f := p.h.farm
	if c.Name == "adopt" && !c.After {
		p.h.adopting(c.Job)
	}
	if f.healed.Load() {
		return nil
	}
	if c.Name == "claim" && c.After && p.h.withoutDocker(0) {
		p.h.excuse(c.Job, "docker was away")
	}
	if onRedis(c.Name) && p.h.cutOff() {
		p.heardNothing()
		time.Sleep(20 * time.Millisecond)
		p.gate()
		return errAway
	}
	p.mu.Lock()
	p.calls[c]++
	n := p.calls[c]
	p.mu.Unlock()
	x := draw(f.seed, p.h.name, p.number, c, n)
	switch {
	case x%killEvery == 0 && c.Name != "now" && c.Name != "orderof":
		f.oracle.Fault("killed at " + c.Name + when(c))
		f.log.Info("FAULT", "what", "killed at "+c.Name+when(c), "host", p.h.name, "job", c.Job)
		p.h.crash(p, time.Second)
		runtime.Goexit()
	case x/killEvery%failEvery == 0:
		if err := p.spoil(c); err != nil {
			f.oracle.Fault(err.Error() + " " + c.Name + when(c))
			f.log.Info("FAULT", "what", err.Error()+" "+c.Name+when(c), "host", p.h.name, "job", c.Job)
			return err
		}
	}
	return nil
}

// draw makes a number of what it is given, always the same one.
func draw(of ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, of...)
	sum := h.Sum64()
	return (sum ^ sum>>32) * 0x9e3779b97f4a7c15 >> 8 // FNV's lowest bits are not its best
}

// withoutDocker reports whether the daemon is away, or was until so long ago.
func (h *host) withoutDocker(ago time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !time.Now().After(h.noDocker.Add(ago))
}

func when(c faults.Call) string {
	if c.After {
		return " (done)"
	}
	return ""
}

func onRedis(name string) bool {
	switch name {
	case "claim", "adopt", "renew", "note", "finish", "release", "reissue", "appendlog", "now", "owned", "kept", "endservice",
		"get", "push tickets", "lead", "scan", "ended", "acknowledge", "expire", "lost", "missing", "tidy", "create records", "reserve", "seat", "takeseat", "keepseat", "leaveseat", "callhost",
		"rebuild", "rebuilds", "changerebuild", "recipe", "replacerecipe", "promoteturn", "tagged", "retag",
		"beginbuild", "holdbuild", "endbuild", "orderof":
		return true
	}
	return false
}

// spoil returns the error of a call that goes wrong, nil when that cannot be
// told from an error of ours.
func (p *process) spoil(c faults.Call) error {
	if c.Name == "orderof" {
		p.heardNothing()
	}
	if onRedis(c.Name) {
		return errors.New("i/o timeout") // never an excuse: the farm gets over it
	}
	switch c.Name {
	case "build", "create", "start", "reattach", "wait", "inspect", "stop", "remove", "copyout", "list":
		p.h.excuse(c.Job, "the engine failed to "+c.Name)
		return jobs.Fail(jobs.KindEngine, nil, "", "the engine failed")
	case "push":
		if c.After {
			p.engine.pushFailed(c.Job)
		}
		p.h.excuseAll("the registry failed")
		return jobs.Fail(jobs.KindPush, nil, "", "the registry failed")
	case "fetch":
		p.h.excuseAll("the context's server failed")
		return jobs.Fail(jobs.KindContextFetch, nil, "", "the server failed")
	case "put":
		p.h.excuseAll("the artifact store failed")
		return errors.New("the artifact store failed")
	}
	return nil
}

// start runs a worker with its reconciler on the host.
func (h *host) start() *process {
	f := h.farm
	life, die := context.WithCancel(context.Background())
	taking, stop := context.WithCancel(context.Background())
	hurry, hurryUp := context.WithCancel(context.Background())
	h.lives++
	p := &process{h: h, number: h.lives, life: life, die: die, stop: stop, hurry: hurryUp, calls: map[faults.Call]int{}, ended: make(chan struct{})}
	p.engine = engineOf{h.engine, p, &sync.Map{}}
	o := worker.Defaults()
	dir, self := h.open()
	p.identity, p.began = dir.Host(), time.Now()
	if len(h.mates) > 1 {
		f.oracle.Shares(p.identity)
	}
	o.Name, o.HostID, o.StateDir, o.Slots, o.Lease, o.Drain = h.name, p.identity, h.dir, slots, lease, 30*time.Second
	o.Labels = h.labels()
	h.downFor = time.Second
	seats := faults.Seats(f.truth, p.at)
	records, eng := faults.Records(f.truth, p.at), faults.Engine(p.engine, p.at)
	in := p.intake()
	w := worker.New(f.log, worker.Deps{
		Claims: reporting{faults.Claims(f.truth, p.at), p}, Records: records, Queue: faults.Queue(f.queue, p.at),
		Engine: eng, Images: images.New(f.log, imageHost{eng, h.engine}, images.NewNotes(h.mates[0].notes, enginetest.NormalName), func() images.Rules { return images.Rules{} }),
		Pins:      pins.New(f.log, h.engine, f.truth),
		Builds:    buildsOf{f.truth, p.at},
		Orders:    faults.Orders(f.truth, p.at),
		Intake:    faults.Intake(in, p.at),
		Admission: faults.Admission(admission{worker.Fetch(contexts.NewFetcher(contexts.Options{TempDir: h.dir}, source{}).Fetch)}, p.at),
		Blobs:     artifacts.NewBlobs(faults.Artifacts(f.blobs, p.at), h.dir),
		Farm:      member{seats},
		Seat:      seat.New(f.log, dir, seats, seat.Options{Worker: h.name, Lease: lease, Machine: seat.Machine{Self: self, Lives: f.lives}}),
		Host:      machine{worker.Trusted{}, h, eng},
	}, o)
	p.drain = w.Drain
	runner, promoter := p.rebuilds(records, faults.Queue(f.queue, p.at))
	leader := reconcile.New(f.log, recordsOf{f.truth, p, p.at}, ticketsOf{faults.Queue(f.queue, p.at), f.queue, p.at},
		fmt.Sprint(h.name, time.Now().UnixNano()), reconcile.Options{Observer: f.oracle, Rebuilds: runner})
	reconciling, stopLeading := context.WithCancel(life)
	go leader.Run(reconciling)
	go promoter.Run(reconciling, runner.Advance)
	go func() {
		defer close(p.ended)
		defer f.gone(dir, self)
		defer stopLeading()
		defer stop()
		defer in.Intake.StopTaking() // the worker may have ended by itself
		if err := w.Run(taking, hurry); err != nil && !p.dead.Load() && !errors.Is(err, jobs.ErrDisplaced) {
			f.oracle.Violation("worker %s ended: %v", h.name, err)
		}
	}()
	return p
}

// machine is a host whose clock began with the farm.
type machine struct {
	worker.Trusted
	h      *host
	engine engine.Engine
}

func (m machine) Uptime() time.Duration { return time.Since(m.h.farm.began) }

func (m machine) Probe(ctx context.Context, labels map[string]string) error {
	return m.h.probe(ctx, m.engine, labels)
}

// imageHost is an engine with what it knows of its images.
type imageHost struct {
	engine.Engine
	fake *enginetest.Fake
}

func (h imageHost) ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error) {
	return h.fake.ImageFacts(ctx, ref)
}

func (h imageHost) CacheTimes(ctx context.Context) ([]time.Time, error) {
	return h.fake.CacheTimes(ctx)
}

// open opens the host's state directory for a new process; h.mu is held.
func (h *host) open() (*seat.Directory, seat.Process) {
	f := h.farm
	if o := h.original; o != nil && o.current().dead.Load() {
		// In the place of a host that is dead a copy is that host, of a moment ago.
		h.newDir()
	}
	h.original = nil
	dir, err := seat.Open(h.dir)
	if err != nil {
		panic(fmt.Sprintf("open the state directory of %s: %v", h.name, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pids++
	self := seat.Process{Boot: fmt.Sprint(h.mates[0].name, " ", h.boot), Namespace: "one", Pid: f.pids, Start: "1"}
	f.alive[self] = true
	return dir, self
}

// newDir gives the host an empty state directory; h.mu is held. No worker reads what
// goroutines of dead processes write to the old one.
func (h *host) newDir() { h.dir += "+" }

// gone notes the end of a process.
func (f *farm) gone(dir *seat.Directory, p seat.Process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.alive, p)
	if err := dir.Close(); err != nil {
		f.oracle.Violation("close a state directory: %v", err)
	}
}

func (f *farm) lives(p seat.Process) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive[p]
}

// member is what a worker asks of its farm.
type member struct{ jobs.Seats }

func (member) Join(context.Context) (string, error) { return "farm", nil }

// probe makes and removes a container, as the engine does in order to see whether
// it can. Killed in between, it leaves one.
func (h *host) probe(ctx context.Context, eng engine.Engine, labels map[string]string) error {
	name := fmt.Sprint(engine.ProbeName, "-", h.probes.Add(1))
	labels[engine.LabelProbe] = engine.ProbeName
	made, err := eng.Create(ctx, engine.Container{Name: name, Image: "busybox", Labels: labels})
	if err != nil {
		return err
	}
	return eng.Remove(ctx, made.ID)
}

// intake is where a process takes tickets from, as long as it lives.
type intake struct {
	*jobstest.Intake
	p *process
}

func (p *process) intake() intake {
	in := jobstest.NewIntake(p.h.farm.queue, jobstest.IntakeOptions{Slots: slots, Settle: p.settle})
	context.AfterFunc(p.life, in.StopTaking)
	return intake{in, p}
}

func (in intake) Start(h jobs.Handler, fits func(jobs.Needs) jobs.Fit) error {
	in.p.h.recovered()
	return in.Intake.Start(func(_ context.Context, d jobs.Delivery) error {
		in.p.gate()
		return h(in.p.life, d)
	}, fits)
}

func (in intake) StopTaking() {
	in.p.gate()
	in.Intake.StopTaking()
}

// settle decides what becomes of a task that the process had in hand.
func (p *process) settle(d jobs.Delivery, handled bool) {
	q, dead := p.h.farm.queue, p.dead.Load()
	switch {
	case (dead || !handled) && d.Plain() && draw(d.Task)%2 == 0: // it may be tried once
		q.Archive(d)
	case dead: // its lease in the queue passes some time later
		q.ReturnAny(d, 40*time.Second)
	case !handled:
		q.ReturnAny(d, 2*time.Second)
	default:
		q.Done(d)
	}
}

// reporting notes what a process sets out to tell Redis, at that moment,
// whether or not it arrives.
type reporting struct {
	jobs.Claims
	p *process
}

func (r reporting) Claim(ctx context.Context, t jobs.Ticket, o jobs.Owner) (jobs.Job, error) {
	if !r.p.h.farm.oracle.Claims(o.Nonce, r.p) { // else the answer to an earlier call is missing
		r.p.obeys()
	}
	return r.Claims.Claim(ctx, t, o)
}

func (r reporting) Adopt(ctx context.Context, id string, o jobs.Owner) (jobs.Job, error) {
	r.p.h.farm.oracle.Claims(o.Nonce, r.p)
	return r.Claims.Adopt(ctx, id, o)
}

func (r reporting) Finish(ctx context.Context, id, nonce string, res jobs.Result) error {
	r.p.h.farm.oracle.Reports(nonce)
	return r.Claims.Finish(ctx, id, nonce, res)
}

func (r reporting) Release(ctx context.Context, id, nonce string, rel jobs.Release) (jobs.Ticket, error) {
	r.p.h.farm.oracle.Reports(nonce)
	return r.Claims.Release(ctx, id, nonce, rel)
}

// recordsOf and ticketsOf are what the reconciler of a process works with.
type recordsOf struct {
	truth
	p  *process
	at faults.At
}

func (l recordsOf) Unread(ctx context.Context, readers ...string) ([]string, error) {
	if err := l.at(ctx, faults.Call{Name: "unread"}); err != nil {
		return nil, err
	}
	return l.Memory.Unread(ctx, readers...)
}

func (l recordsOf) Ended(ctx context.Context, reader string, limit int) (jobs.EndedPage, error) {
	if err := l.at(ctx, faults.Call{Name: "ended"}); err != nil {
		return jobs.EndedPage{}, err
	}
	return l.Memory.Ended(ctx, reader, limit)
}

func (l recordsOf) Acknowledge(ctx context.Context, reader, nonce string, p jobs.EndedPage) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "acknowledge"}); err != nil {
		// Redis comes back without the lead, so another process may be quicker.
		_, lost := l.Memory.Lead(ctx, nonce, 0)
		return false, errors.Join(err, lost)
	}
	mine, err := l.truth.acknowledge(ctx, reader, nonce, p, l.p)
	if err != nil {
		return false, err
	}
	return mine, l.at(ctx, faults.Call{Name: "acknowledge", After: true})
}

func (l recordsOf) Learn(ctx context.Context, r jobs.Recipe) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "learn", Job: r.Job}); err != nil {
		return false, err
	}
	kept, err := l.Memory.Learn(ctx, r)
	if err != nil {
		return false, err
	}
	return kept, l.at(ctx, faults.Call{Name: "learn", Job: r.Job, After: true})
}

func (l recordsOf) Lead(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "lead"}); err != nil {
		return false, err
	}
	return l.Memory.Lead(ctx, nonce, ttl)
}

func (l recordsOf) Scan(ctx context.Context, s jobs.State, skip, limit int) ([]jobs.Job, bool, error) {
	if err := l.at(ctx, faults.Call{Name: "scan"}); err != nil {
		return nil, false, err
	}
	return l.Memory.Scan(ctx, s, skip, limit)
}

func (l recordsOf) Expire(ctx context.Context, id string) (bool, error) {
	if err := l.at(ctx, faults.Call{Name: "expire", Job: id}); err != nil {
		return false, err
	}
	return l.Memory.Expire(ctx, id)
}

func (l recordsOf) Lost(ctx context.Context, job jobs.Job, d jobs.Decision) (jobs.Ticket, error) {
	if err := l.at(ctx, faults.Call{Name: "lost", Job: job.ID}); err != nil {
		return jobs.Ticket{}, err
	}
	return l.truth.Lost(ctx, job, d)
}

type ticketsOf struct {
	jobs.Queue
	memory *jobstest.Queue
	at     faults.At
}

func (t ticketsOf) Missing(ctx context.Context, ticket jobs.Ticket) (bool, error) {
	if err := t.at(ctx, faults.Call{Name: "missing", Job: ticket.ID}); err != nil {
		return false, err
	}
	return t.memory.Missing(ctx, ticket)
}

func (t ticketsOf) Listed(ctx context.Context) (map[string]string, int, error) {
	if err := t.at(ctx, faults.Call{Name: "listed"}); err != nil {
		return nil, 0, err
	}
	return t.memory.Listed(ctx)
}

func (t ticketsOf) Discard(ctx context.Context, places ...string) error {
	if err := t.at(ctx, faults.Call{Name: "discard"}); err != nil {
		return err
	}
	return t.memory.Discard(ctx, places...)
}

func (t ticketsOf) Tidy(ctx context.Context, accept jobs.Handler) (bool, error) {
	if err := t.at(ctx, faults.Call{Name: "tidy"}); err != nil {
		return false, err
	}
	return t.memory.Tidy(ctx, accept)
}
