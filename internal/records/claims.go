package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Claim implements jobs.Claims.
func (db *DB) Claim(ctx context.Context, t jobs.Ticket, o jobs.Owner) (jobs.Job, error) {
	raw, err := db.rdb.Get(ctx, specKey(t.ID)).Bytes()
	if errors.Is(err, redis.Nil) {
		return jobs.Job{}, fmt.Errorf("%w: %q", jobs.ErrNotFound, t.ID)
	} else if err != nil {
		return jobs.Job{}, fmt.Errorf("read document of job %s: %w", t.ID, err)
	}
	var spec jobs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil { // the reconciler ends it
		return jobs.Job{}, fmt.Errorf("%w: the document of job %s cannot be read: %w", jobs.ErrNotClaimable, t.ID, err)
	}
	if !o.Offer.Meets(spec.Needs()) {
		return jobs.Job{}, fmt.Errorf("%w: job %s", jobs.ErrNotEligible, t.ID)
	}
	var until int64
	if c := spec.Concurrency; c != nil {
		if until, err = db.enterGroup(ctx, t.ID, *c); err != nil {
			return jobs.Job{}, err
		}
	}
	// Before the record says so, as in Create: a worker that dies in between
	// finds its job when it is back.
	if err := db.rdb.SAdd(ctx, hostKey(o.Host), t.ID).Err(); err != nil {
		return jobs.Job{}, fmt.Errorf("index job %s by host: %w", t.ID, err)
	}
	from, err := db.claim(ctx, t, o, until)
	if errors.Is(err, jobs.ErrNotClaimable) || errors.Is(err, jobs.ErrNewer) || errors.Is(err, jobs.ErrNotFound) {
		if spec.Concurrency != nil {
			err = errors.Join(err, db.leaveGroup(ctx, t.ID, spec.Concurrency.Group, until))
		}
		return jobs.Job{}, errors.Join(err, db.rdb.SRem(ctx, hostKey(o.Host), t.ID).Err())
	} else if err != nil { // it may have been written all the same
		return jobs.Job{}, err
	}
	return db.owned(ctx, t.ID, from)
}

// claim runs claim.lua and returns the state that the job was in.
func (db *DB) claim(ctx context.Context, t jobs.Ticket, o jobs.Owner, until int64) (jobs.State, error) {
	reply, err := db.scripts.claim.Run(ctx, db.rdb, []string{jobKey(t.ID), newsKey(t.ID)},
		t.Attempt, o.Nonce, o.Worker, o.Host, o.Lease.Microseconds(), recordVersion, until).Text()
	if err != nil {
		return "", fmt.Errorf("claim job %s: %w", t.ID, err)
	}
	switch reply {
	case replyMissing:
		return "", fmt.Errorf("%w: %q", jobs.ErrNotFound, t.ID)
	case replyNewer:
		return "", fmt.Errorf("%w: job %s", jobs.ErrNewer, t.ID)
	case replyEarly:
		return "", fmt.Errorf("%w: job %s", jobs.ErrTooEarly, t.ID)
	case replyExpired:
		if _, err := db.Expire(ctx, t.ID); err != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: job %s waited too long", jobs.ErrNotClaimable, t.ID)
	case replyLate:
		return "", fmt.Errorf("%w: the place of job %s in its group was given up", jobs.ErrTooEarly, t.ID)
	case "":
		return "", fmt.Errorf("%w: job %s, attempt %d", jobs.ErrNotClaimable, t.ID, t.Attempt)
	}
	return jobs.State(reply), nil
}

// owned reads a job that the caller just became the owner of and moves it in
// the indexes. The claim stands already, so a failure here must not lose it:
// the record is retried by the caller's adoption or the reconciler.
func (db *DB) owned(ctx context.Context, id string, from jobs.State) (jobs.Job, error) {
	job, err := db.Get(ctx, id)
	if err != nil {
		return jobs.Job{}, err
	}
	return job, db.reindex(ctx, id, from, jobs.Running)
}

// partial adds to an adopted job what the earlier incarnation noted.
func (db *DB) partial(ctx context.Context, job jobs.Job) (jobs.Job, error) {
	raw, err := db.rdb.Get(ctx, partialKey(job.ID)).Bytes()
	if errors.Is(err, redis.Nil) {
		return job, nil
	} else if err != nil {
		return job, fmt.Errorf("read progress of job %s: %w", job.ID, err)
	}
	job.Partial = new(jobs.Result)
	if err := json.Unmarshal(raw, job.Partial); err != nil {
		return job, fmt.Errorf("read progress of job %s: %w", job.ID, err)
	}
	return job, nil
}

// Adopt implements jobs.Claims.
func (db *DB) Adopt(ctx context.Context, id string, o jobs.Owner) (jobs.Job, error) {
	reply, err := db.scripts.adopt.Run(ctx, db.rdb, []string{jobKey(id), newsKey(id)},
		o.Nonce, o.Worker, o.Host, o.Lease.Microseconds()).Text()
	if err != nil {
		return jobs.Job{}, fmt.Errorf("adopt job %s: %w", id, err)
	}
	switch reply {
	case replyMissing:
		return jobs.Job{}, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	case replyStale:
		return jobs.Job{}, fmt.Errorf("%w: %s", jobs.ErrStale, id)
	}
	job, err := db.owned(ctx, id, jobs.Queued)
	if err != nil {
		return job, err
	}
	return db.partial(ctx, job)
}

// Renew implements jobs.Claims.
func (db *DB) Renew(ctx context.Context, id, nonce string, lease time.Duration) (jobs.Signal, error) {
	reply, err := db.scripts.renew.Run(ctx, db.rdb, []string{jobKey(id)}, nonce, lease.Microseconds()).StringSlice()
	if errors.Is(err, redis.Nil) {
		return jobs.Signal{}, fmt.Errorf("%w: %s", jobs.ErrStale, id)
	}
	if err != nil {
		return jobs.Signal{}, fmt.Errorf("renew lease of job %s: %w", id, err)
	}
	us, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		return jobs.Signal{}, fmt.Errorf("renew lease of job %s: read time: %w", id, err)
	}
	return jobs.Signal{Now: time.UnixMicro(us).UTC(), CancelBy: reply[1]}, nil
}

// Note implements jobs.Claims.
func (db *DB) Note(ctx context.Context, id, nonce string, p jobs.Progress) error {
	partial := ""
	if p.Partial != nil {
		raw, err := json.Marshal(p.Partial)
		if err != nil {
			return fmt.Errorf("encode progress of job %s: %w", id, err)
		}
		partial = string(raw)
	}
	ok, err := db.scripts.note.Run(ctx, db.rdb, []string{jobKey(id), newsKey(id), partialKey(id)},
		nonce, string(p.Stage), p.Container.Name, p.Container.ID, p.RunTimeout.Microseconds(), partial).Bool()
	return ifOwned(ok, err, "note progress of", id)
}

// AppendLog implements jobs.Claims.
func (db *DB) AppendLog(ctx context.Context, id, nonce string, c jobs.LogChunk) error {
	ok, err := db.scripts.add.Run(ctx, db.rdb, []string{jobKey(id), logKey(id)},
		nonce, c.Attempt, c.Offset, c.Data, db.opts.LogTail).Bool()
	return ifOwned(ok, err, "append to the log of", id)
}

func ifOwned(ok bool, err error, what, id string) error {
	if err != nil {
		return fmt.Errorf("%s job %s: %w", what, id, err)
	}
	if !ok {
		return fmt.Errorf("%s job %s: %w", what, id, jobs.ErrStale)
	}
	return nil
}

// Finish implements jobs.Claims.
func (db *DB) Finish(ctx context.Context, id, nonce string, r jobs.Result) error {
	return db.finish(ctx, id, nonce, r, false)
}

func (db *DB) finish(ctx context.Context, id, nonce string, r jobs.Result, lost bool) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode result of job %s: %w", id, err)
	}
	if r.Host == "" {
		if r.Host, err = db.rdb.HGet(ctx, jobKey(id), "host").Result(); err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("look for the host of job %s: %w", id, err)
		}
	}
	kept := !r.KeepUntil.IsZero()
	if kept { // before the record says so, for the same reason as in Create
		if err := db.indexKept(ctx, id, r); err != nil {
			return err
		}
	}
	reply, err := db.scripts.finish.Run(ctx, db.rdb,
		[]string{jobKey(id), newsKey(id), resultKey(id), logKey(id), staleKey(id), partialKey(id)},
		nonce, string(r.State), raw, flag(kept), seconds(db.opts.LogTailKeep), flag(lost), before(r.State)).Text()
	if err != nil {
		return fmt.Errorf("finish job %s: %w", id, err)
	}
	switch reply {
	case replyMissing:
		return fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	case replyStale:
		return fmt.Errorf("finish job %s: %w", id, jobs.ErrStale)
	case replyForbidden:
		return fmt.Errorf("finish job %s: a running job cannot end as %q", id, r.State)
	}
	c, err := db.groupOf(ctx, id)
	if err != nil {
		return err
	}
	return db.disown(ctx, id, r.Host, c, r.State)
}

// disown moves a job that stopped running in the indexes, and takes it out of its group.
func (db *DB) disown(ctx context.Context, id, host string, c *jobs.Concurrency, to jobs.State) error {
	if c != nil {
		if err := db.rdb.ZRem(ctx, membersKey(c.Group), id).Err(); err != nil {
			return fmt.Errorf("take job %s out of group %s: %w", id, c.Group, err)
		}
	}
	if err := db.reindex(ctx, id, jobs.Running, to); err != nil {
		return err
	}
	if err := db.rdb.SRem(ctx, hostKey(host), id).Err(); err != nil {
		return fmt.Errorf("index job %s by host: %w", id, err)
	}
	return nil
}

// Release implements jobs.Claims. A job that a user cancelled in the
// meantime ends instead, and the ticket is empty.
func (db *DB) Release(ctx context.Context, id, nonce string, r jobs.Release) (jobs.Ticket, error) {
	return db.release(ctx, id, nonce, r, false)
}

func (db *DB) release(ctx context.Context, id, nonce string, r jobs.Release, lost bool) (jobs.Ticket, error) {
	job, err := db.Get(ctx, id)
	if err != nil {
		return jobs.Ticket{}, err
	}
	cancelled, err := json.Marshal(cancelledResult(job.CancelBy))
	if err != nil {
		return jobs.Ticket{}, fmt.Errorf("encode result of job %s: %w", id, err)
	}
	past := ""
	if r.Past != nil {
		raw, err := json.Marshal(r.Past)
		if err != nil {
			return jobs.Ticket{}, fmt.Errorf("encode the end of attempt %d of job %s: %w", r.Past.Attempt, id, err)
		}
		past = string(raw)
	}
	spend := map[jobs.Spend]string{jobs.SpendNothing: "nothing", jobs.SpendRetry: "retry", jobs.SpendLoss: "loss"}[r.Spend]
	attempt, err := db.scripts.release.Run(ctx, db.rdb,
		[]string{jobKey(id), newsKey(id), resultKey(id), logKey(id), partialKey(id), pastKey(id)},
		nonce, r.Reason, spend, r.Delay.Microseconds(), db.expiresIn(job.Spec), cancelled,
		seconds(db.opts.LogTailKeep), flag(lost), past, jobs.MaxPast, before(jobs.Cancelled)).Int()
	switch {
	case err != nil:
		return jobs.Ticket{}, fmt.Errorf("release job %s: %w", id, err)
	case attempt == 0:
		return jobs.Ticket{}, fmt.Errorf("release job %s: %w", id, jobs.ErrStale)
	case attempt < 0:
		return jobs.Ticket{}, db.disown(ctx, id, job.Host, job.Spec.Concurrency, jobs.Cancelled)
	}
	to := jobs.Queued
	if r.Delay > 0 {
		to = jobs.Waiting
	}
	if db.expiresIn(job.Spec) > 0 {
		if err := db.indexDeadline(ctx, id); err != nil {
			return jobs.Ticket{}, err
		}
	}
	t := job.Ticket()
	t.Attempt, t.Seq, t.Delay = attempt, 1, r.Delay
	return t, db.disown(ctx, id, job.Host, job.Spec.Concurrency, to)
}

// Reissue implements jobs.Claims.
func (db *DB) Reissue(ctx context.Context, id string, delay time.Duration) (jobs.Ticket, error) {
	reply, err := db.scripts.reissue.Run(ctx, db.rdb, []string{jobKey(id)}).Int64Slice()
	if errors.Is(err, redis.Nil) {
		return jobs.Ticket{}, fmt.Errorf("%w: job %s", jobs.ErrNotClaimable, id)
	} else if err != nil {
		return jobs.Ticket{}, fmt.Errorf("issue a new ticket of job %s: %w", id, err)
	}
	job, err := db.Get(ctx, id)
	if err != nil {
		return jobs.Ticket{}, err
	}
	t := job.Ticket()
	t.Attempt, t.Seq, t.Delay = int(reply[0]), int(reply[1]), delay
	return t, nil
}

// Owned implements jobs.Claims.
func (db *DB) Owned(ctx context.Context, host string) ([]jobs.Job, error) {
	ids, err := db.rdb.SMembers(ctx, hostKey(host)).Result()
	if err != nil {
		return nil, fmt.Errorf("list jobs of host %s: %w", host, err)
	}
	all, err := db.GetAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	own := all[:0]
	gone := map[string]bool{}
	for _, id := range ids {
		gone[id] = true
	}
	for _, job := range all {
		// One that waits may be about to be claimed.
		gone[job.ID] = job.State.Terminal() || job.State == jobs.Running && job.Host != host
		if job.State == jobs.Running && job.Host == host {
			own = append(own, job)
		}
	}
	return own, db.dropFromHost(ctx, host, gone)
}

// dropFromHost removes what a crash left in the index of a host.
func (db *DB) dropFromHost(ctx context.Context, host string, gone map[string]bool) error {
	var ids []any
	for id, drop := range gone {
		if drop {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return wrapped("index jobs by host "+host, db.rdb.SRem(ctx, hostKey(host), ids...).Err())
}

// Kept implements jobs.Claims.
func (db *DB) Kept(ctx context.Context, host string, known ...string) ([]jobs.Job, error) {
	ids, err := db.rdb.ZRange(ctx, keptKey(host), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list kept services of host %s: %w", host, err)
	}
	unlisted := slices.DeleteFunc(slices.Clone(known), func(id string) bool { return slices.Contains(ids, id) })
	all, err := db.GetAll(ctx, append(ids, unlisted...))
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	var elsewhere []any
	for _, job := range all {
		up, here := job.Up(), job.Result != nil && job.Result.Host == host
		switch {
		case up && here:
			kept = append(kept, job)
			if slices.Contains(unlisted, job.ID) { // Redis lost its last seconds
				if err := db.indexKept(ctx, job.ID, *job.Result); err != nil {
					return nil, err
				}
			}
		case up: // this host's result came too late
			elsewhere = append(elsewhere, job.ID)
		}
		if up || !job.State.Terminal() { // that one is indexed just before its result is accepted
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == job.ID })
		}
	}
	if len(elsewhere) > 0 {
		if err := db.rdb.ZRem(ctx, keptKey(host), elsewhere...).Err(); err != nil {
			return nil, fmt.Errorf("index kept services of host %s: %w", host, err)
		}
	}
	return kept, db.dropFromKept(ctx, host, ids...) // what a crash left
}

// OverdueServices lists jobs that keep a service which should have ended before a time, like
// Kept.
func (db *DB) OverdueServices(ctx context.Context, before time.Time) ([]jobs.Job, error) {
	ids, err := db.rdb.ZRange(ctx, upKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list kept services: %w", err)
	}
	var found []jobs.Job
	for part := range slices.Chunk(ids, 500) {
		all, err := db.GetAll(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, job := range all {
			if job.Up() && job.Result.KeepUntil.Before(before) {
				found = append(found, job)
			}
		}
	}
	return found, nil
}

// indexKept adds a job to the indexes of kept services.
func (db *DB) indexKept(ctx context.Context, id string, r jobs.Result) error {
	created, err := db.rdb.HGet(ctx, jobKey(id), "created").Float64()
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	}
	if err == nil {
		pipe := db.rdb.Pipeline()
		pipe.ZAdd(ctx, keptKey(r.Host), redis.Z{Score: float64(r.KeepUntil.UnixMicro()), Member: id})
		pipe.ZAdd(ctx, upKey, redis.Z{Score: created, Member: id})
		_, err = pipe.Exec(ctx)
	}
	return wrapped("index kept service of job "+id, err)
}

// dropFromKept undoes indexKept.
func (db *DB) dropFromKept(ctx context.Context, host string, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	members := make([]any, len(ids))
	for i, id := range ids {
		members[i] = id
	}
	pipe := db.rdb.Pipeline()
	pipe.ZRem(ctx, keptKey(host), members...)
	pipe.ZRem(ctx, upKey, members...)
	_, err := pipe.Exec(ctx)
	return wrapped("index kept services of host "+host, err)
}

// EndService implements jobs.Claims.
func (db *DB) EndService(ctx context.Context, id, nonce string, e jobs.ServiceEnd) error {
	job, err := db.Get(ctx, id)
	if err != nil {
		return err
	}
	if job.Result == nil {
		return fmt.Errorf("end the service of job %s: %w", id, jobs.ErrStale)
	}
	r := *job.Result
	r.Service, r.Log = &e.Status, e.Log
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode result of job %s: %w", id, err)
	}
	reply, err := db.scripts.endService.Run(ctx, db.rdb, []string{jobKey(id), newsKey(id), resultKey(id), logKey(id)},
		nonce, raw, e.Status.String(), max(e.Ago, 0).Microseconds(), seconds(db.opts.LogTailKeep)).Text()
	if err != nil {
		return fmt.Errorf("end the service of job %s: %w", id, err)
	}
	if reply == replyStale {
		return fmt.Errorf("end the service of job %s: %w", id, jobs.ErrStale)
	}
	return db.dropFromKept(ctx, r.Host, id)
}

// Cancellations implements jobs.Claims.
func (db *DB) Cancellations(ctx context.Context) <-chan string {
	return db.hints(ctx, cancelChannel)
}

// Changes implements jobs.Changes.
func (db *DB) Changes(ctx context.Context) <-chan string { return db.hints(ctx, changesChannel) }

// hints delivers what a channel carries until ctx ends.
func (db *DB) hints(ctx context.Context, channel string) <-chan string {
	out := make(chan string)
	sub := db.rdb.Subscribe(ctx, channel)
	go func() {
		defer close(out)
		defer sub.Close()
		// A connection that broke unnoticed costs hints only.
		hints := sub.Channel(redis.WithChannelHealthCheckInterval(15 * time.Second))
		for {
			select {
			case <-ctx.Done():
				return
			case msg, ok := <-hints:
				if !ok {
					return
				}
				select {
				case out <- msg.Payload:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
