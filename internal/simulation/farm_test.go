package simulation

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/oracle"
	"github.com/slipway-farm/slipway/internal/rebuild/rebuildtest"
	"github.com/slipway-farm/slipway/internal/seat"
)

const (
	machines = 3
	slots    = 6
	lease    = 90 * time.Second
)

// farm is one simulated farm.
type farm struct {
	seed   uint64
	oracle *oracle.Oracle
	log    *slog.Logger
	began  time.Time
	queue  *jobstest.Queue
	truth  truth
	blobs  *artifactstest.Store
	images *rebuildtest.Registry
	hosts  []*host
	// healed ends all faults.
	healed  atomic.Bool
	rolling sync.Mutex // one rollback at a time
	// wentBack is when the last one was, in Unix microseconds.
	wentBack atomic.Int64
	// ordering is held while a host is out of the farm.
	ordering sync.Mutex
	calls    atomic.Int64 // of the producers
	pushed   atomic.Int64 // plain tasks
	rebuilt  atomic.Int64 // jobs of rebuilds
	pushes   atomic.Int64 // of images
	// away is until when no process reaches Redis, as nanoseconds.
	away atomic.Int64

	mu sync.Mutex // guards what follows
	// tasks are those that were submitted, by their keys.
	tasks map[string]task
	// identities are the hosts by the names that the farm knows or knew them by: who had
	// the seat of a name first.
	identities map[string]*host
	// alive are the workers' processes, pids how many there were.
	alive map[seat.Process]bool
	pids  int
}

// host is a build host: what outlives its workers.
type host struct {
	farm   *farm
	name   string
	engine *enginetest.Fake
	// mates are the hosts of this machine, which share a daemon; this is one of them.
	mates []*host
	// notes is the directory of the notes on the daemon's images, which the machine's
	// workers share, and keep when a state directory is lost.
	notes  string
	probes atomic.Int64 // containers made only to see that one can be

	mu      sync.Mutex
	process *process
	lives   int // how many processes there were
	// dir is the state directory, original the host that it was copied from, nil for
	// none, and boot counts the starts of the machine.
	dir      string
	original *host
	boot     int
	// cut is until when this host does not reach Redis, dark until when
	// no worker on it looks after its containers; gone, that this goes on until a
	// worker has recovered what was left.
	cut, dark time.Time
	gone      bool
	// outages is until when no other outage may begin, blows the same for worse.
	outages, blows time.Time
	// noDocker is until when the daemon is away.
	noDocker time.Time
	// downFor is how long the next restart takes.
	downFor time.Duration
}

func newFarm(seed uint64, dir string, log *slog.Logger) *farm {
	f := &farm{seed: seed, oracle: oracle.New(), log: log, began: time.Now(), queue: jobstest.NewQueue(), blobs: artifactstest.NewStore(), images: rebuildtest.NewRegistry(nil)}
	f.oracle.Counts = true
	f.truth = truth{jobstest.NewMemory(jobstest.Options{}), f, f.oracle, new(sync.Mutex)}
	f.tasks, f.identities, f.alive = map[string]task{}, map[string]*host{}, map[seat.Process]bool{}
	add := func(eng *enginetest.Fake) *host {
		h := &host{farm: f, name: fmt.Sprint("host-", len(f.hosts)), engine: eng}
		h.dir, h.notes, h.mates = filepath.Join(dir, h.name), filepath.Join(dir, h.name+"-images"), []*host{h}
		f.hosts = append(f.hosts, h)
		return h
	}
	for range machines {
		add(enginetest.New())
	}
	// One machine has two workers.
	one, two := f.hosts[0], add(f.hosts[0].engine)
	one.mates, two.mates = []*host{one, two}, []*host{one, two}
	return f
}

// hostOf is the host that has or had an identity, nil for one that no host had.
func (f *farm) hostOf(identity string) *host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.identities[identity]
}

// identified notes whose name that of a seat is.
func (f *farm) identified(s jobs.Seat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.identities[s.Host] == nil {
		f.identities[s.Host] = f.hosts[slices.IndexFunc(f.hosts, func(h *host) bool { return h.name == s.Worker })]
	}
}

// truth is Redis with the oracle at its side: what takes effect is noted,
// whether or not the answer arrives.
type truth struct {
	*jobstest.Memory
	farm   *farm
	oracle *oracle.Oracle
	// whole keeps the two in step, also when both go back in time.
	whole *sync.Mutex
}

func (t truth) Claim(ctx context.Context, ticket jobs.Ticket, o jobs.Owner) (jobs.Job, error) {
	t.whole.Lock()
	defer t.whole.Unlock()
	job, err := t.Memory.Claim(ctx, ticket, o)
	if err == nil {
		t.oracle.Owned(job.ID, o.Nonce, job.Attempt)
	}
	return job, err
}

func (t truth) Adopt(ctx context.Context, id string, o jobs.Owner) (jobs.Job, error) {
	t.whole.Lock()
	defer t.whole.Unlock()
	job, err := t.Memory.Adopt(ctx, id, o)
	if err == nil {
		t.oracle.Owned(id, o.Nonce, job.Attempt)
	}
	return job, err
}

func (t truth) Finish(ctx context.Context, id, nonce string, r jobs.Result) error {
	t.whole.Lock()
	defer t.whole.Unlock()
	err := t.Memory.Finish(ctx, id, nonce, r)
	if err == nil {
		t.oracle.Accepted(id, nonce)
	}
	return err
}

func (t truth) EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error {
	t.whole.Lock()
	defer t.whole.Unlock()
	err := t.Memory.EndService(ctx, id, nonce, e)
	if err == nil {
		t.oracle.Served(id)
	}
	return err
}

func (t truth) Release(ctx context.Context, id, nonce string, r jobs.Release) (jobs.Ticket, error) {
	t.whole.Lock()
	defer t.whole.Unlock()
	ticket, err := t.Memory.Release(ctx, id, nonce, r)
	if err == nil {
		t.oracle.Owned(id, "", 0)
	}
	return ticket, err
}

func (t truth) TakeSeat(ctx context.Context, s jobs.Seat, from string) (jobs.Seat, error) {
	now, err := t.Memory.TakeSeat(ctx, s, from)
	if err == nil && now.Nonce == s.Nonce {
		t.farm.identified(s)
	}
	return now, err
}

// acknowledge is Acknowledge of a process, which is to count the page then.
func (t truth) acknowledge(ctx context.Context, reader, nonce string, p jobs.EndedPage, by *process) (bool, error) {
	t.whole.Lock()
	defer t.whole.Unlock()
	mine, err := t.Memory.Acknowledge(ctx, reader, nonce, p)
	if err == nil && mine && reader == "metrics" {
		t.oracle.Takes(by, p)
	}
	return mine, err
}

func (t truth) Lost(ctx context.Context, job jobs.Job, d jobs.Decision) (jobs.Ticket, error) {
	t.whole.Lock()
	defer t.whole.Unlock()
	ticket, err := t.Memory.Lost(ctx, job, d)
	if err == nil {
		t.farm.taken(job)
		t.oracle.Owned(job.ID, "", 0)
	}
	return ticket, err
}

// source serves the contexts.
type source struct{}

func (source) Schemes() []string { return []string{"file"} }

func (source) Open(_ context.Context, c jobs.Context) (io.ReadCloser, error) {
	content, ok := dockerfiles()[c.Ref]
	if !ok {
		return nil, errors.New("no such context")
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	err := errors.Join(tw.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(content))}))
	_, werr := io.WriteString(tw, content)
	return io.NopCloser(&b), errors.Join(err, werr, tw.Close())
}

// started checks that a container is the only one of its job.
func (f *farm) started(h *host, id string) {
	state, err := h.engine.Inspect(context.Background(), id)
	if err != nil {
		return // another removed it at once
	}
	job := state.Labels[engine.LabelJob]
	f.crowded(id, job)
	f.misplaced(h, job)
	for _, other := range f.hosts {
		for _, c := range other.engine.Containers() {
			if c.ID == id || c.Labels[engine.LabelJob] != job || c.Status != engine.StatusRunning {
				continue
			}
			if !f.oracle.Blurred(job) && !f.excused(c) {
				f.oracle.Violation("I3 job %s: %s starts on %s while %s runs on %s", job, state.Name, h.name, c.Name, other.name)
			}
		}
	}
}

// labels are what jobs may require of the host; each is on several.
func (h *host) labels() map[string]string {
	return map[string]string{"half": halves()[int(h.name[len(h.name)-1])%2]}
}

// misplaced checks that a container is on a host that has what its job needs.
func (f *farm) misplaced(h *host, job string) {
	begun, err := f.truth.Memory.Get(context.Background(), job)
	if err != nil || f.oracle.Blurred(job) {
		return
	}
	if o := (jobs.Offer{Labels: h.labels()}); !o.Meets(begun.Spec.Needs()) {
		f.oracle.Violation("I16 job %s runs on %s: %v", job, h.name, o.Lacks(begun.Spec.Needs()))
	}
}

// crowded checks that a container is not one too many of its concurrency group.
func (f *farm) crowded(id, job string) {
	begun, err := f.truth.Memory.Get(context.Background(), job)
	if err != nil || begun.Spec.Concurrency == nil || f.oracle.Blurred(job) {
		return
	}
	c := *begun.Spec.Concurrency
	running := map[string]bool{job: true}
	for _, other := range f.hosts {
		for _, o := range other.engine.Containers() {
			of := o.Labels[engine.LabelJob]
			j, err := f.truth.Memory.Get(context.Background(), of)
			if err != nil || o.ID == id || o.Status != engine.StatusRunning || j.Spec.Concurrency == nil || j.Spec.Concurrency.Group != c.Group {
				continue
			}
			if !j.State.Terminal() && !f.oracle.Blurred(of) && !f.excused(o) { // a service may outlive its job
				running[of] = true
			}
		}
	}
	if len(running) > c.Limit {
		f.oracle.Violation("I15 job %s: %d jobs of group %s run at once, and its limit is %d: %v", job, len(running), c.Group, c.Limit, slices.Sorted(maps.Keys(running)))
	}
}

// taken checks that nothing runs any more of a job that is taken from its owner:
// from now on another worker may begin it.
func (f *farm) taken(job jobs.Job) {
	for _, h := range f.hosts {
		for _, c := range h.engine.Containers() {
			if c.Name != jobs.ContainerName(job.ID, job.Attempt) || c.Status != engine.StatusRunning {
				continue
			}
			if !f.oracle.Blurred(job.ID) && !f.excused(c) && !h.withoutDocker(recovery) {
				f.oracle.Violation("I3 job %s is taken from %s while %s runs there", job.ID, h.name, c.Name)
			}
		}
	}
}

// excused reports whether no worker could have ended a container: its host is dark,
// or it lost its state directory and its new worker has only just come.
func (f *farm) excused(c engine.State) bool {
	h := f.hostOf(c.Labels[engine.LabelHost])
	if h == nil || h.isDark() {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.process.identity != c.Labels[engine.LabelHost] && time.Since(h.process.began) < orphanTime
}

// orphanTime is how long a new worker needs to find out that the host of a container
// is dead, and to end it.
const orphanTime = recovery + jobs.AnswerTime

func (h *host) isDark() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone || time.Now().Before(h.dark)
}

// darken notes that no worker looks after the host's containers for so long.
func (h *host) darken(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(d + recovery); until.After(h.dark) {
		h.dark = until
	}
}

// recovered is told when a worker takes jobs: what was left is looked after.
func (h *host) recovered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = false
}

func (h *host) cutOff() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	return now.Before(h.cut) || now.UnixNano() < h.farm.away.Load()
}

// attempts calls f with every job that runs on the host's machine.
func (h *host) attempts(f func(jobs.Job)) {
	all, _, _ := h.farm.truth.Scan(context.Background(), jobs.Running, 0, 1<<20)
	for _, job := range all {
		if other := h.farm.hostOf(job.Host); other != nil && other.engine == h.engine {
			f(job)
		}
	}
}

// excuse notes what was done to the attempt that has a container, or is called
// by its job's name; what cannot be told apart excuses the whole host.
func (h *host) excuse(name, why string) {
	if state, err := h.engine.Inspect(context.Background(), name); err == nil {
		name = state.Labels[engine.LabelJob]
	}
	found := false
	h.attempts(func(job jobs.Job) {
		if job.ID == name {
			found = true
			h.farm.oracle.Excuse(job.ID, job.Attempt, why)
		}
	})
	if !found {
		h.excuseAll(why)
	}
}

func (h *host) excuseAll(why string) {
	h.attempts(func(job jobs.Job) { h.farm.oracle.Excuse(job.ID, job.Attempt, why) })
}

// crash kills the process; it is back after down.
func (h *host) crash(p *process, down time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process != p || p.dead.Load() {
		return false
	}
	p.kill()
	h.downFor = down
	if down > lease/3 {
		h.gone = true
		h.excuseAll("its host was gone")
	}
	return true
}

// adopting excuses what an earlier process was doing when it was killed, but
// for what has a container or is decided: with a restart in time that goes on.
func (h *host) adopting(id string) {
	job, err := h.farm.truth.Memory.Get(context.Background(), id)
	if err == nil && h.farm.oracle.Undecided(id) && job.Container.Name == "" {
		h.farm.oracle.Excuse(id, job.Attempt, "its worker was killed")
	}
}

// recovery is how long a worker needs, once it is back, to end what is not its
// own any more.
const recovery = 5 * time.Second

// keepRunning restarts the worker whenever it is dead, as its supervisor does.
func (h *host) keepRunning(ctx context.Context) {
	for {
		h.mu.Lock()
		p := h.start()
		h.process = p
		h.mu.Unlock()
		select {
		case <-p.ended:
		case <-ctx.Done():
			return
		}
		h.mu.Lock()
		wait := h.downFor
		h.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (h *host) current() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.process
}

// submit is a producer: it submits with a key until it is told that the job was
// taken, and again when the database forgot it meanwhile.
func (f *farm) submit(svc *jobs.Service, t task) {
	f.mu.Lock()
	f.tasks[t.Key] = t
	f.mu.Unlock()
	for since := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		epoch := f.oracle.Epoch()
		id, err := f.give(svc, t)
		if err == nil && f.oracle.Acknowledged(id, t.Task, since, epoch) {
			return
		}
	}
}

// give hands a task to the farm once.
func (f *farm) give(svc *jobs.Service, t task) (id string, err error) {
	if t.plain() {
		return t.id, f.push(t)
	}
	sub, err := svc.Submit(context.Background(), t.spec)
	return sub.ID, err
}

// push is what a plain producer does: only the queue knows of the job then.
func (f *farm) push(t task) error {
	call := faults.Call{Name: "push a document", Job: t.id}
	if err := f.producing(context.Background(), call); err != nil {
		return err
	}
	f.queue.PushPlain(jobs.Delivery{
		Ticket: jobs.Ticket{ID: t.id, Queue: t.spec.Queue, Priority: t.spec.Priority},
		Task:   fmt.Sprint(t.id, "-", f.pushed.Add(1)), Spec: &t.spec,
	})
	call.After = true
	return f.producing(context.Background(), call)
}

// producing is called around every call of the producers.
func (f *farm) producing(_ context.Context, c faults.Call) error {
	if f.healed.Load() {
		return nil
	}
	if time.Now().UnixNano() < f.away.Load() {
		return errAway
	}
	if n := f.calls.Add(1); draw(f.seed, "producer", n)%failEvery == 0 {
		f.oracle.Fault("i/o timeout of a producer, " + c.Name + when(c))
		return errors.New("i/o timeout")
	}
	return nil
}

// pick draws one of a list.
func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }
