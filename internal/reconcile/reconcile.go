// Package reconcile keeps the farm's promise that no acknowledged job is lost:
// it compares the records with the clock and with the queue, and repairs what a
// crash left halfway. Every worker runs one; a short lease in Redis picks
// the one that acts. Every repair is idempotent, so two at once do no harm.
//
//	queued, waiting   ticket missing -> issue another; waited too long -> expire;
//	                  record unreadable -> give up
//	running           lease passed -> another attempt, or poisoned
//	ended             not counted -> metrics; of a name, and built -> recipe;
//	                  of a rebuild -> its next jobs;
//	                  beyond retention -> forget; its service overdue -> lost
//	no record         a plain producer's task that no worker gets -> record, ticket
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Records is what the reconciler needs of Redis. Package records documents the
// promises.
type Records interface {
	jobs.Records // for the jobs of plain producers
	jobs.Hosts
	jobs.Endings
	Learn(ctx context.Context, r jobs.Recipe) (bool, error)
	Recipe(ctx context.Context, name string) (jobs.Recipe, error)
	Lead(ctx context.Context, nonce string, ttl time.Duration) (bool, error)
	Now(ctx context.Context) (time.Time, error)
	Scan(ctx context.Context, s jobs.State, skip, limit int) (found []jobs.Job, more bool, err error)
	// Waiting lists the IDs of all jobs that wait for a worker.
	Waiting(ctx context.Context) ([]string, error)
	// TendGroups gives up places in concurrency groups that a crash left, and returns
	// tickets of jobs that may begin. waiting are those that wait for a place and need no
	// ticket meanwhile.
	TendGroups(ctx context.Context) (tickets []jobs.Ticket, waiting map[string]bool, err error)
	// ExpireDue ends jobs that have waited too long, limit at most.
	ExpireDue(ctx context.Context, limit int) (int, error)
	GiveUp(ctx context.Context, id string, f *jobs.Failure) error
	Lost(ctx context.Context, job jobs.Job, d jobs.Decision) (jobs.Ticket, error)
	Reissue(ctx context.Context, id string, delay time.Duration) (jobs.Ticket, error)
	Sweep(ctx context.Context, limit int) (int, error)
	OverdueServices(ctx context.Context, before time.Time) ([]jobs.Job, error)
	EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error
}

// Tickets is what the reconciler needs of the queue.
type Tickets interface {
	jobs.Queue
	// Missing reports whether a ticket cannot be delivered any more.
	Missing(ctx context.Context, t jobs.Ticket) (bool, error)
	// Listed returns the jobs that have a ticket which will be delivered in its turn, each
	// with a place of it, and what that cost in commands. It mends what a crash left of
	// tickets half pushed.
	Listed(ctx context.Context) (places map[string]string, cost int, err error)
	// Discard removes tickets by their places.
	Discard(ctx context.Context, places ...string) error
	// Tidy calls accept for tasks of plain producers that no worker is going to get,
	// and removes those that it takes, and what is left of tickets that cannot be
	// delivered. more is true when there may be many left.
	Tidy(ctx context.Context, accept jobs.Handler) (more bool, err error)
}

// Options tune a Reconciler; the zero value works.
type Options struct {
	// Interval between two passes, 5 s when 0. Leadership lasts three.
	Interval time.Duration
	// TicketGrace is how long a queued job may be without a ticket before that
	// is an accident rather than an enqueue under way; 10 s when 0.
	TicketGrace time.Duration
	// Batch bounds how many jobs of a state one pass looks at, 500 when 0; the
	// next pass goes on from there.
	Batch int
	// Observer may be nil.
	Observer Observer
	// Watched may be nil: then the load of the farm is not read.
	Watched Watched
	// Rebuilds may be nil: then rebuilds are another's business.
	Rebuilds Rebuilds
	// Readers are the other readers of the ended jobs, by their names. One is called when
	// there may be something for it to read, and must be quick.
	Readers map[string]func()
}

// Rebuilds moves rebuilds on.
type Rebuilds interface {
	// Advance does what can be done for a rebuild now; one that is not there needs nothing.
	Advance(ctx context.Context, id string) error
	// AdvanceAll does that for all of them, and forgets old ones.
	AdvanceAll(ctx context.Context) error
}

// Observer is told what the reconciler decided, for metrics. Its methods must be
// quick.
type Observer interface {
	// Ended is for each job of the farm that ends, wherever that is.
	Ended(e jobs.EndedJob)
	// Lost is for an attempt that was taken from a host.
	Lost(host, worker string)
}

type noRebuilds struct{}

func (noRebuilds) Advance(context.Context, string) error { return nil }
func (noRebuilds) AdvanceAll(context.Context) error      { return nil }

type silent struct{}

func (silent) Ended(jobs.EndedJob) {}
func (silent) Lost(string, string) {}

// Reconciler repairs. Run it on one goroutine.
type Reconciler struct {
	log     *slog.Logger
	records Records
	tickets Tickets
	service *jobs.Service
	nonce   string
	opts    Options
	skip    map[jobs.State]int // where the next pass goes on
	// since is when this reconciler began to see Redis without interruption.
	// Leases that passed while Redis was away are no sign of a dead worker.
	since time.Time
	// leads is true when the last pass found that this reconciler leads, and rebuilt is
	// when a job of a rebuild ended last, on this process's clock.
	leads   bool
	rebuilt time.Time
	// behind is true while a rebuild could not be moved on: the next pass tries again.
	behind bool
	// uncounted is a page of ended jobs whose acknowledgement was not answered.
	uncounted *jobs.EndedPage
	// compared is when waiting jobs were compared with tickets last, on Redis time, and
	// compareAfter is how much later that is due again.
	compared      time.Time
	waited        time.Time // when waiting jobs were looked at last, on Redis time
	compareAfter  time.Duration
	swept, tidied time.Time // when the last sweep was, and the last tidying, on Redis time
	// loaded is when the load was read last, on Redis time, and loadAfter is how much later
	// that is due again.
	loaded    time.Time
	loadAfter time.Duration
}

// New makes a Reconciler. nonce tells it from all others.
func New(lg *slog.Logger, records Records, tickets Tickets, nonce string, opts Options) *Reconciler {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if opts.Interval == 0 {
		opts.Interval = 5 * time.Second
	}
	if opts.TicketGrace == 0 {
		opts.TicketGrace = 10 * time.Second
	}
	if opts.Batch == 0 {
		opts.Batch = 500
	}
	if opts.Observer == nil {
		opts.Observer = silent{}
	}
	if opts.Rebuilds == nil {
		opts.Rebuilds = noRebuilds{}
	}
	return &Reconciler{
		log: lg, records: records, tickets: tickets, service: jobs.NewService(records, tickets, nil),
		nonce: nonce, opts: opts, skip: map[jobs.State]int{},
	}
}

// Run makes passes until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	for {
		if err := r.Pass(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "reconciling failed", "err", err)
		}
		if !r.wait(ctx, tick.C) {
			return
		}
	}
}

// A rebuild goes on soon after one of its jobs has ended: for a while after such an end the
// next one is looked for more often than all the rest.
const (
	rebuildEvery = time.Second
	rebuildFor   = time.Minute
)

// wait waits for the next pass; false means that ctx ended first.
func (r *Reconciler) wait(ctx context.Context, next <-chan time.Time) bool {
	for {
		var soon <-chan time.Time
		if r.leads && time.Since(r.rebuilt) < rebuildFor {
			soon = time.After(rebuildEvery)
		}
		select {
		case <-ctx.Done():
			return false
		case <-next:
			return true
		case <-soon:
			if err := r.readSoon(ctx); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "reading ended jobs failed", "err", err)
			}
		}
	}
}

// readSoon is the part of a pass that moves rebuilds on.
func (r *Reconciler) readSoon(ctx context.Context) error {
	lead, err := r.records.Lead(ctx, r.nonce, 3*r.opts.Interval)
	if r.leads = lead && err == nil; !r.leads {
		return err
	}
	unread, err := r.records.Unread(ctx, recipesReader)
	if err != nil || len(unread) == 0 {
		return err
	}
	return r.learn(ctx)
}

// Pass makes one pass if this reconciler leads.
func (r *Reconciler) Pass(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		r.since = time.Time{}
		return err
	}
	return nil
}

// look fails when Redis does not answer; what goes wrong with one job must not
// keep the others waiting.
func (r *Reconciler) look(ctx context.Context) error {
	lead, err := r.records.Lead(ctx, r.nonce, 3*r.opts.Interval)
	r.leads = lead && err == nil
	if err != nil {
		return err
	}
	if !lead {
		r.unwatch()
	}
	if !lead && !r.since.IsZero() {
		return r.countPage(ctx)
	}
	now, err := r.records.Now(ctx)
	if err != nil {
		return err
	}
	if r.since.IsZero() {
		r.since = now
	}
	if !lead {
		return r.countPage(ctx)
	}
	if err := r.lookAtWaiting(ctx, now); err != nil {
		return err
	}
	running, err := r.scan(ctx, jobs.Running, r.opts.Batch)
	if err != nil {
		return err
	}
	for _, job := range running {
		if err := r.repair(ctx, job, now); err != nil {
			r.log.WarnContext(ctx, "repairing a job failed", "job_id", job.ID, "err", err)
		}
	}
	if err := r.readEnded(ctx, now); err != nil { // while their records are there
		return err
	}
	if err := r.sweep(ctx, now); err != nil {
		return err
	}
	if err := r.tidy(ctx, now); err != nil {
		return err
	}
	r.watchLoad(ctx, now)
	return nil
}

// scan returns the next jobs of a state, and begins anew after the last.
func (r *Reconciler) scan(ctx context.Context, s jobs.State, limit int) ([]jobs.Job, error) {
	found, more, err := r.records.Scan(ctx, s, r.skip[s], limit)
	if err != nil {
		return nil, err
	}
	r.skip[s] += len(found)
	if !more {
		r.skip[s] = 0
	}
	return found, nil
}

// sweep forgets ended jobs, now and then.
func (r *Reconciler) sweep(ctx context.Context, now time.Time) error {
	due := now.Sub(r.swept) >= sweepEvery
	if due || r.behind {
		// What the end of a job should have moved, too: its page was read and the worker died.
		r.advanceAll(ctx)
	}
	if !due {
		return nil
	}
	if err := r.endServices(ctx, now); err != nil {
		return err
	}
	swept := 0
	for range sweeps {
		n, err := r.records.Sweep(ctx, r.opts.Batch)
		swept += n
		if err != nil {
			return err
		}
		if n < r.opts.Batch { // else there may be more: go on, here or with the next pass
			r.swept = now
			break
		}
	}
	if swept > 0 {
		r.log.InfoContext(ctx, "forgot ended jobs beyond the retention", "count", swept)
	}
	return nil
}

// tidy looks at what lies about in the queue, now and then.
func (r *Reconciler) tidy(ctx context.Context, now time.Time) error {
	if now.Sub(r.tidied) < sweepEvery {
		return nil
	}
	more, err := r.tickets.Tidy(ctx, r.accept)
	if !more || err != nil {
		r.tidied = now
	}
	return err
}

// accept makes the record of a stray task's job.
func (r *Reconciler) accept(ctx context.Context, d jobs.Delivery) error {
	rec, err := r.service.Accept(ctx, d)
	if err != nil {
		r.log.WarnContext(ctx, "recording the job of a stray task failed", "job_id", d.Ticket.ID, "queue", d.Ticket.Queue, "task", d.Task, "err", err)
		return err
	}
	if rec.Made {
		r.log.InfoContext(ctx, "recorded the job of a stray task", "job_id", d.Ticket.ID, "queue", d.Ticket.Queue, "task", d.Task)
	}
	rec.Log(ctx, r.log, d)
	return nil
}

// settle does what the record of a job alone asks for. It reports whether the job goes on.
func (r *Reconciler) settle(ctx context.Context, job jobs.Job, now time.Time) (goesOn bool, err error) {
	switch {
	case job.Newer: // it is for those who understand it
		return false, nil
	case job.State == jobs.Running:
		return false, r.lost(ctx, job, now)
	case job.State.Terminal():
		return false, nil
	case job.Damaged != "":
		f := jobs.Fail(jobs.KindRecord, nil, "submit it again", "the farm's record of the job is damaged: %s", job.Damaged)
		f.Stage = jobs.StageQueue
		err := r.records.GiveUp(ctx, job.ID, f)
		if err == nil {
			r.log.ErrorContext(ctx, "gave up a job whose record is damaged", "job_id", job.ID, "err", job.Damaged)
		}
		return false, err
	case !job.Expires.IsZero() && now.After(job.Expires):
		_, err := r.records.Expire(ctx, job.ID)
		return false, err
	}
	return true, nil
}

func (r *Reconciler) repair(ctx context.Context, job jobs.Job, now time.Time) error {
	if goesOn, err := r.settle(ctx, job, now); err != nil || !goesOn {
		return err
	}
	due := latest(job.Queued, job.NotBefore)
	if now.Sub(due) < r.opts.TicketGrace {
		return nil
	}
	missing, err := r.tickets.Missing(ctx, job.Ticket())
	if err != nil || !missing {
		return err
	}
	t, err := r.records.Reissue(ctx, job.ID, 0)
	if errors.Is(err, jobs.ErrNotClaimable) || errors.Is(err, jobs.ErrNotFound) {
		return nil // a worker has it, or it has ended
	} else if err != nil {
		return err
	}
	r.log.WarnContext(ctx, "issued a ticket that was missing", "job_id", job.ID, "attempt", t.Attempt)
	return r.tickets.Push(ctx, t)
}

// overdue is how long after its time a service may be up in the records: longer than
// its worker waits for the artifact store to take its log.
const overdue = 15 * time.Minute

// reportTime is how long workers get to report the ends of services after Redis was away.
const reportTime = 5 * time.Minute

// endServices records the end of services that no worker reports: the host was lost,
// and with it the container, or what the worker knew of it. A worker that comes back
// ends what is left of them. Right after Redis was away, or the whole farm, workers get
// a while to report what they know.
func (r *Reconciler) endServices(ctx context.Context, now time.Time) error {
	if now.Sub(r.since) < reportTime {
		return nil
	}
	late, err := r.records.OverdueServices(ctx, now.Add(-overdue))
	if err != nil {
		return err
	}
	for _, job := range late {
		log := job.Result.Log // it ends where the service was ready
		log.Missing = true
		status := jobs.ServiceStatus{State: jobs.ServiceLost, Reason: "its host did not report its end"}
		err := r.records.EndService(ctx, job.ID, job.Nonce, jobs.ServiceEnd{Status: status, Log: log})
		if err != nil && !errors.Is(err, jobs.ErrStale) && !errors.Is(err, jobs.ErrNotFound) {
			return err
		}
		r.log.WarnContext(ctx, "gave up a service whose host did not report its end", "job_id", job.ID, "host", job.Result.Host)
	}
	return nil
}

// lost gives a job whose owner let the lease pass to another attempt. Right
// after Redis was away all leases look passed, so owners get the length of a
// lease to renew them.
func (r *Reconciler) lost(ctx context.Context, job jobs.Job, now time.Time) error {
	if now.Before(job.Lease) || now.Sub(r.since) < holdOff {
		return nil
	}
	f := jobs.Fail(jobs.KindWorkerLost, nil, "", "worker %s was lost during %s", job.Worker, job.Stage)
	f.Stage = job.Stage
	res := jobs.Result{Failure: f, Worker: job.Worker, Host: job.Host, Attempt: job.Attempt}
	d := jobs.Decide(job, res)
	t, err := r.records.Lost(ctx, job, d)
	if errors.Is(err, jobs.ErrStale) || errors.Is(err, jobs.ErrNotFound) {
		return nil // it came back
	} else if err != nil {
		return fmt.Errorf("take job %s from its dead owner: %w", job.ID, err)
	}
	r.log.WarnContext(ctx, "took a job from a worker that was lost", "job_id", job.ID, "attempt", job.Attempt, "worker", job.Worker, "host", job.Host)
	r.opts.Observer.Lost(job.Host, job.Worker)
	if t.ID == "" {
		return nil
	}
	return r.tickets.Push(ctx, t)
}

// sweepEvery is how often ended jobs are held against the retention, and the queue
// is tidied.
const sweepEvery = time.Minute

// sweeps is how many batches of ended jobs one pass forgets: more than a farm ends between
// two passes.
const sweeps = 20

// holdOff is how long owners get to renew their leases after Redis was away.
const holdOff = 20 * time.Second

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
