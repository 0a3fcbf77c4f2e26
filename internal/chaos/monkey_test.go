//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
	"github.com/slipway-farm/slipway/internal/queue"
)

// monkey does to a farm what its seed says.
type monkey struct {
	*farm
	*oracle.Oracle
	// tasks are those that were submitted, by their keys.
	tasks map[string]task
	r     *rand.Rand
	hosts []*hosttest.Host
	// registry is where images are pushed to.
	registry *shelf
	*pair
	sockets map[*worker]*socket
	rest    map[*worker]chan time.Duration // for how long a worker stays away
	later   sync.WaitGroup                 // deeds that outlast the next
	busy    sync.Mutex                     // guards asleep
	asleep  map[*worker]bool               // workers that a long deed has
}

// deed is one kind of fault. It returns false when it had no target.
type deed struct {
	kind string
	do   func(kind string) bool
}

func (m *monkey) deeds() []deed {
	return []deed{
		{"worker killed", m.killed},
		{"worker away past its lease", m.away},
		{"worker stopped for a moment", m.paused},
		{"worker stopped past its lease", m.frozen},
		{"worker drained", m.drained},
		{"worker drained in a hurry", m.hurried},
		{"redis killed", m.redisDown((*hosttest.Redis).Kill)},
		{"redis restarted", m.redisDown((*hosttest.Redis).Stop)},
		{"redis stopped", m.redisPaused},
		{"redis lost its last second", m.rolledBack},
		{"replica promoted", m.promoted},
		{"redis slow", m.poisoned("latency", "downstream", map[string]any{"latency": 400, "jitter": 300})},
		{"redis out of reach", m.unreachable},
		{"redis resets connections", m.poisoned("reset_peer", "downstream", map[string]any{"timeout": 100})},
		{"redis answers in pieces", m.poisoned("slicer", "downstream", map[string]any{"average_size": 20, "size_variation": 10, "delay": 2000})},
		{"redis answers break off", m.poisoned("limit_data", "downstream", map[string]any{"bytes": 2000})},
		{"redis is a black hole", m.poisoned("timeout", "upstream", map[string]any{"timeout": 0})},
		{"worker's disk full", m.diskFull},
		{"docker socket cut", m.cut},
		{"dockerd killed", m.dockerdKilled},
		{"registry away", m.registryAway},
		{"container removed", m.removed},
		{"docker system prune", m.pruned},
		{"ticket deleted", m.ticketDeleted},
		{"pending list deleted", m.listDeleted},
		{"ticket twice", m.ticketTwice},
		{"scripts flushed", m.flushed},
		{"clients killed", m.clientsKilled},
		{"cancelled", m.cancel},
		{"host cordoned", m.ordered(jobs.HostOrder{Kind: jobs.OrderCordon})},
		{"host drained for a while", m.ordered(jobs.HostOrder{Kind: jobs.OrderDrain, Timeout: new(jobs.Duration(time.Second))})},
		{"queue paused", m.queuePaused},
	}
}

// run does n deeds, every kind once before one comes again.
func (m *monkey) run(ctx context.Context, n int) {
	var deck []deed
	for done := 0; done < n && ctx.Err() == nil; {
		if len(deck) == 0 {
			deck = m.deeds()
			m.r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		d := deck[0]
		deck = deck[1:]
		for try := 0; ; try++ {
			if d.do(d.kind) {
				done++
				break
			}
			if try == 20 {
				break // no process was there for it; the next round has it again
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(m.between(200*time.Millisecond, 1500*time.Millisecond))
	}
	m.later.Wait()
	m.check("end all orders and pauses", m.resumeAll(ctx))
}

func (m *monkey) between(low, high time.Duration) time.Duration {
	return low + time.Duration(m.r.Int64N(int64(high-low)))
}

// worker draws one that no longer deed has; release gives it back.
func (m *monkey) worker() (w *worker, release func()) {
	m.busy.Lock()
	defer m.busy.Unlock()
	free := slices.DeleteFunc(slices.Clone(m.workers), func(w *worker) bool { return m.asleep[w] || w.Pid() == 0 })
	if len(free) == 0 {
		return nil, nil
	}
	w = free[m.r.IntN(len(free))]
	m.asleep[w] = true
	return w, func() {
		m.busy.Lock()
		defer m.busy.Unlock()
		delete(m.asleep, w)
	}
}

// hit does something to a worker, and goes on with it in the background when it
// takes long.
func (m *monkey) hit(b oracle.Blow, long bool, do func(*worker)) bool {
	w, release := m.worker()
	if w == nil {
		return false
	}
	b.Worker = w.Name
	end := m.Deal(b)
	whole := func() {
		do(w)
		end()
		release()
	}
	if long {
		m.later.Go(whole)
	} else {
		whole()
	}
	return true
}

func (m *monkey) killed(kind string) bool {
	d := m.between(0, 3*time.Second)
	return m.hit(oracle.Blow{Kind: kind, Costs: true}, false, func(w *worker) {
		m.rested(w, d)
		w.Kill()
		time.Sleep(d)
	})
}

// rested says how long the worker stays away after its next end.
func (m *monkey) rested(w *worker, d time.Duration) {
	select {
	case m.rest[w] <- d:
	default: // it is away already
	}
}

func (m *monkey) away(kind string) bool {
	return m.hit(oracle.Blow{Kind: kind, Costs: true, Blinds: true}, true, func(w *worker) {
		m.rested(w, chaosLease+8*time.Second)
		w.Kill()
		time.Sleep(chaosLease + 9*time.Second)
	})
}

func (m *monkey) paused(kind string) bool {
	d := m.between(time.Second, chaosLease/3)
	return m.hit(oracle.Blow{Kind: kind}, false, func(w *worker) { freeze(w, d) })
}

func (m *monkey) frozen(kind string) bool {
	return m.hit(oracle.Blow{Kind: kind, Costs: true, Blinds: true}, true, func(w *worker) { freeze(w, chaosLease+8*time.Second) })
}

func freeze(w *worker, d time.Duration) {
	pid := w.Pid()
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	time.Sleep(d)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

func (m *monkey) drained(kind string) bool {
	return m.hit(oracle.Blow{Kind: kind}, true, func(w *worker) { m.leave(w, false) })
}

func (m *monkey) hurried(kind string) bool {
	return m.hit(oracle.Blow{Kind: kind}, true, func(w *worker) { m.leave(w, true) })
}

// leave ends a worker in order. One that cannot is a violation.
func (m *monkey) leave(w *worker, hurry bool) {
	ended := w.Ended()
	w.Signal(syscall.SIGTERM)
	if hurry {
		time.Sleep(300 * time.Millisecond)
		w.Signal(syscall.SIGTERM)
	}
	select {
	case <-ended:
	case <-time.After(90 * time.Second):
		m.Violation("worker %s did not end within 90 s of SIGTERM", w.Name)
		w.Kill()
	}
}

func (m *monkey) redisDown(end func(*hosttest.Redis) error) func(string) bool {
	return func(kind string) bool {
		defer m.Deal(oracle.Blow{Kind: kind})()
		err := end(m.primary.Redis)
		time.Sleep(m.between(0, 2*time.Second))
		m.check(kind, errors.Join(err, m.primary.Start()))
		return true
	}
}

func (m *monkey) redisPaused(kind string) bool {
	d := m.between(time.Second, 6*time.Second)
	defer m.Deal(oracle.Blow{Kind: kind, Costs: d > outage})()
	resume, err := m.primary.Pause()
	if err == nil {
		time.Sleep(d)
		err = resume()
	}
	m.check(kind, err)
	return true
}

func (m *monkey) rolledBack(kind string) bool {
	since := time.Now().Add(-2 * time.Second) // Redis may put a write off while the last is synced
	rollback, err := m.primary.Snapshot()
	d := m.between(200*time.Millisecond, 2*time.Second)
	end := m.Deal(oracle.Blow{Kind: kind, Costs: true, Forgets: chaosLease})
	time.Sleep(d)
	if err == nil {
		err = rollback()
	}
	m.check(kind, err)
	m.again(since)
	end()
	return true
}

func (m *monkey) promoted(kind string) bool {
	if !m.inSync(context.Background()) {
		return false
	}
	since := time.Now().Add(-time.Second) // the replica is a little behind
	d := m.between(200*time.Millisecond, 2*time.Second)
	end := m.Deal(oracle.Blow{Kind: kind, Costs: true, Forgets: chaosLease})
	m.check(kind, m.promote(context.Background(), d))
	m.again(since)
	end()
	return true
}

// again submits once more what was acknowledged since then, as a producer does
// that knows that the database lost its end.
func (m *monkey) again(since time.Time) {
	for _, key := range m.Forgot(since) {
		m.later.Go(func() { m.check("submit again", m.place(m.t.Context(), m.tasks[key])) })
	}
}

func (m *monkey) unreachable(kind string) bool {
	d := m.between(time.Second, 6*time.Second)
	defer m.Deal(oracle.Blow{Kind: kind, Costs: d > outage})()
	m.check(kind, m.way.down(d))
	return true
}

func (m *monkey) poisoned(toxic, stream string, attributes map[string]any) func(string) bool {
	return func(kind string) bool {
		d := m.between(time.Second, 4*time.Second)
		defer m.Deal(oracle.Blow{Kind: kind, Costs: d > outage})()
		m.check(kind, m.way.poison(toxic, stream, d, attributes))
		return true
	}
}

func (m *monkey) cut(kind string) bool {
	d := m.between(time.Second, 5*time.Second)
	return m.hit(oracle.Blow{Kind: kind, Costs: true, Blinds: true}, false, func(w *worker) {
		s := m.sockets[w]
		s.set(true)
		time.Sleep(d)
		s.set(false)
	})
}

func (m *monkey) dockerdKilled(kind string) bool {
	h := m.hosts[m.r.IntN(len(m.hosts))]
	defer m.Deal(oracle.Blow{Kind: kind, Costs: true, Blinds: true})()
	err := h.Kill()
	time.Sleep(m.between(0, 2*time.Second))
	m.check(kind, errors.Join(err, h.Start()))
	return true
}

func (m *monkey) registryAway(kind string) bool {
	defer m.Deal(oracle.Blow{Kind: kind, Costs: true})()
	m.registry.away.Store(true)
	time.Sleep(m.between(time.Second, 5*time.Second))
	m.registry.away.Store(false)
	return true
}

func (m *monkey) removed(kind string) bool {
	var all []oracle.Life
	for _, h := range m.hosts {
		lines, err := docker(context.Background(), h, "ps", "--no-trunc", "--filter", "label="+engine.LabelJob, "--format", "{{.ID}}={{.Label \""+engine.LabelJob+"\"}}")
		if err != nil {
			continue
		}
		for _, line := range lines {
			all = append(all, oracle.Life{ID: line[:64], Job: line[65:], Host: h.Name})
		}
	}
	if len(all) == 0 {
		return false
	}
	c := all[m.r.IntN(len(all))]
	defer m.Deal(oracle.Blow{Kind: kind, Job: c.Job, Costs: true})()
	for _, h := range m.hosts {
		if h.Name == c.Host {
			_, _ = docker(context.Background(), h, "rm", "-f", c.ID) // it may have gone
		}
	}
	return true
}

func (m *monkey) pruned(kind string) bool {
	h := m.hosts[m.r.IntN(len(m.hosts))]
	// A container that has ended and an image without a name are fair game.
	defer m.Deal(oracle.Blow{Kind: kind, Costs: true})()
	_, err := docker(context.Background(), h, "system", "prune", "-f")
	m.check(kind, err)
	return true
}

// some draws a job in one of the states.
func (m *monkey) some(states ...jobs.State) (jobs.Job, bool) {
	var all []jobs.Job
	for _, s := range states {
		found, _, err := m.records.Scan(context.Background(), s, 0, 1000)
		m.check("list jobs", err)
		all = append(all, found...)
	}
	if len(all) == 0 {
		return jobs.Job{}, false
	}
	return all[m.r.IntN(len(all))], true
}

// keys are those of asynq that match a pattern.
func (m *monkey) keys(pattern string) []string {
	found, err := m.rdb.Keys(context.Background(), pattern).Result()
	m.check("list keys", err)
	slices.Sort(found)
	return found
}

func (m *monkey) ticketDeleted(kind string) bool {
	job, ok := m.some(jobs.Queued, jobs.Waiting)
	if !ok {
		return false
	}
	found := m.keys("asynq:{builds*}:t:" + job.ID + ":*")
	if len(found) == 0 {
		return false
	}
	defer m.Deal(oracle.Blow{Kind: kind, Job: job.ID})()
	m.check(kind, m.rdb.Del(context.Background(), found...).Err())
	return true
}

func (m *monkey) listDeleted(kind string) bool {
	found := m.keys("asynq:{builds*}:pending")
	if len(found) == 0 {
		return false
	}
	defer m.Deal(oracle.Blow{Kind: kind})()
	m.check(kind, m.rdb.Del(context.Background(), found[m.r.IntN(len(found))]).Err())
	return true
}

func (m *monkey) ticketTwice(kind string) bool {
	job, ok := m.some(jobs.Queued, jobs.Running)
	if !ok {
		return false
	}
	defer m.Deal(oracle.Blow{Kind: kind, Job: job.ID})()
	t := job.Ticket()
	t.Seq += 1000 // asynq drops the very same
	m.check(kind, queue.New(m.rdb).Push(context.Background(), t))
	return true
}

func (m *monkey) flushed(kind string) bool {
	defer m.Deal(oracle.Blow{Kind: kind})()
	m.check(kind, m.rdb.ScriptFlush(context.Background()).Err())
	return true
}

func (m *monkey) clientsKilled(kind string) bool {
	defer m.Deal(oracle.Blow{Kind: kind})()
	m.check(kind, m.rdb.Do(context.Background(), "CLIENT", "KILL", "TYPE", "normal").Err())
	return true
}

func (m *monkey) cancel(kind string) bool {
	job, ok := m.some(jobs.Queued, jobs.Running, jobs.Waiting)
	if !ok {
		return false
	}
	defer m.Deal(oracle.Blow{Kind: kind, Job: job.ID})()
	m.Cancelled(job.ID)
	if _, err := m.records.Cancel(context.Background(), job.ID, "the monkey"); !errors.Is(err, jobs.ErrFinished) {
		m.check(kind, err)
	}
	return true
}

// check fails the test when the rig does not do what it should.
func (m *monkey) check(kind string, err error) {
	if err != nil {
		m.t.Errorf("%s: %v", kind, err)
	}
}
