package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Lead makes nonce the farm's reconciler for ttl, or prolongs that; false means
// that another worker is.
func (db *DB) Lead(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	held, err := db.hold(ctx, leaderKey, nonce, ttl)
	return held, wrapped("become or stay reconciler", err)
}

// hold makes nonce the value of a key for ttl, or prolongs that; false means that it has
// another one. A holder that the key expires under in between has it no more, and the
// next call tells.
func (db *DB) hold(ctx context.Context, key, nonce string, ttl time.Duration) (bool, error) {
	switch holder, err := db.rdb.Get(ctx, key).Result(); {
	case errors.Is(err, redis.Nil):
		return db.rdb.SetNX(ctx, key, nonce, ttl).Result()
	case err != nil || holder != nonce:
		return false, err
	}
	return true, db.rdb.Expire(ctx, key, ttl).Err()
}

// Scan returns up to limit jobs of a state's index from the oldest on, starting
// after skip of them, and repairs the index by the records on its way: entries
// without a record go, entries of another state move. more tells whether there
// are any left.
func (db *DB) Scan(ctx context.Context, state jobs.State, skip, limit int) (found []jobs.Job, more bool, err error) {
	entries, err := db.rdb.ZRangeWithScores(ctx, stateKey(state), int64(skip), int64(skip+limit-1)).Result()
	if err != nil {
		return nil, false, fmt.Errorf("scan %s jobs: %w", state, err)
	}
	if len(entries) == 0 {
		return nil, false, nil
	}
	ids := make([]string, len(entries))
	for i, z := range entries {
		ids[i], _ = z.Member.(string)
	}
	all, err := db.GetAll(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	now, err := db.Now(ctx)
	if err != nil {
		return nil, false, err
	}
	known := make(map[string]bool, len(all))
	for _, job := range all {
		known[job.ID] = true
		if job.State == state {
			found = append(found, job)
		} else if err := db.reindex(ctx, job.ID, state, job.State); err != nil {
			return nil, false, err
		}
	}
	for i, id := range ids {
		// A record follows its index entry within a moment; give it a minute.
		if !known[id] && now.Sub(time.UnixMicro(int64(entries[i].Score))) > time.Minute {
			if err := db.vanished(ctx, state, id, int64(entries[i].Score)); err != nil {
				return nil, false, err
			}
		}
	}
	return found, len(entries) == limit, nil
}

// vanished settles an index entry without a record: it is made again when there
// is still a document, and goes when there is none.
func (db *DB) vanished(ctx context.Context, state jobs.State, id string, created int64) error {
	n, err := db.rdb.Exists(ctx, specKey(id)).Result()
	if err == nil && n == 0 {
		err = db.rdb.ZRem(ctx, stateKey(state), id).Err()
	}
	if err != nil || n == 0 {
		return wrapped("drop index entry of "+id, err)
	}
	to, kept := jobs.Waiting, jobs.Result{}
	raw, err := db.rdb.Get(ctx, resultKey(id)).Result()
	if err == nil {
		var r jobs.Result
		if json.Unmarshal([]byte(raw), &r) == nil && r.State.Terminal() {
			to = r.State
			if (jobs.Job{Result: &r}).Up() {
				kept = r
			}
		}
	} else if !errors.Is(err, redis.Nil) {
		return wrapped("look for the result of "+id, err)
	}
	begun := to
	if to.Terminal() {
		begun = to.Before()[0]
	}
	err = db.scripts.restore.Run(ctx, db.rdb, []string{jobKey(id)}, created, string(to), recordVersion, restoreWait.Microseconds(), flag(kept.Service != nil), string(begun), before(to)).Err()
	if err == nil {
		db.log.WarnContext(ctx, "recreated a lost job record", "job_id", id, "state", to)
		err = db.reindex(ctx, id, state, to)
	}
	if err == nil && kept.Service != nil {
		err = db.indexKept(ctx, id, kept)
	}
	return wrapped("make the record of "+id+" again", err)
}

// restoreWait is how long a restored job waits: longer than its owner, if there is
// one, takes to find out.
const restoreWait = 20 * time.Second

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// GiveUp ends a queued or waiting job that no worker can run, for a reason of the
// farm's.
func (db *DB) GiveUp(ctx context.Context, id string, f *jobs.Failure) error {
	_, err := db.end(ctx, id, "", jobs.Result{State: jobs.Failed, Failure: f}, false)
	return err
}

// Expire ends a job that waited for a worker longer than it may. It reports
// whether it did.
func (db *DB) Expire(ctx context.Context, id string) (bool, error) {
	by, err := db.rdb.HGet(ctx, jobKey(id), "start_by").Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("look for the deadline of job %s: %w", id, err)
	}
	var startBy time.Time
	if by != 0 {
		startBy = time.UnixMicro(by)
	}
	reply, err := db.end(ctx, id, "", jobs.Result{State: jobs.Expired, Failure: jobs.Overdue(startBy)}, true)
	return jobs.State(reply).Waits(), err
}

// Lost takes a running job away from an owner whose lease has passed, as d
// says. It is refused with ErrStale when the owner renewed it meanwhile. The
// ticket is empty when the job has ended.
func (db *DB) Lost(ctx context.Context, job jobs.Job, d jobs.Decision) (jobs.Ticket, error) {
	if d.Final {
		d.Result.Host = job.Host
		return jobs.Ticket{}, db.finish(ctx, job.ID, job.Nonce, d.Result, true)
	}
	return db.release(ctx, job.ID, job.Nonce, d.Release, true)
}

// Sweep forgets ended jobs beyond the retention, at most limit of each state,
// and returns how many.
func (db *DB) Sweep(ctx context.Context, limit int) (int, error) {
	now, err := db.Now(ctx)
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, state := range jobs.States() {
		if !state.Terminal() {
			continue
		}
		over, aged, err := db.beyond(ctx, state, now)
		if err != nil {
			return swept, err
		}
		due := min(int64(limit), max(over, aged))
		if due <= 0 {
			continue
		}
		old, _, err := db.Scan(ctx, state, 0, int(due))
		if err != nil {
			return swept, err
		}
		var gone []jobs.Job
		for i, job := range old {
			if int64(i) >= over && now.Sub(job.Finished) < db.opts.Retention.Age {
				continue
			}
			if job.Up() && job.Result.KeepUntil.After(now) {
				continue
			}
			gone = append(gone, job)
		}
		if err := db.forget(ctx, gone); err != nil {
			return swept, err
		}
		swept += len(gone)
	}
	return swept, nil
}

// beyond counts the jobs in a state's index that are more than may be kept, and
// those that are old enough to have ended too long ago. Both stand at its start.
func (db *DB) beyond(ctx context.Context, state jobs.State, now time.Time) (over, aged int64, err error) {
	pipe := db.rdb.Pipeline()
	total := pipe.ZCard(ctx, stateKey(state))
	old := pipe.ZCount(ctx, stateKey(state), "-inf", strconv.FormatInt(now.Add(-db.opts.Retention.Age).UnixMicro(), 10))
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, 0, fmt.Errorf("count %s jobs: %w", state, err)
	}
	return total.Val() - db.opts.Retention.Count, old.Val(), nil
}

// forget removes every key of jobs, the index entries of each last, so that a crash in
// between leaves something that the next sweep finds.
func (db *DB) forget(ctx context.Context, gone []jobs.Job) error {
	if len(gone) == 0 {
		return nil
	}
	pipe := db.rdb.Pipeline()
	for _, job := range gone {
		id := job.ID
		pipe.Unlink(ctx, jobKey(id), specKey(id), resultKey(id), newsKey(id), logKey(id), staleKey(id), partialKey(id), pastKey(id))
		if job.Spec.Name != "" {
			pipe.ZRem(ctx, nameKey(job.Spec.Name), id)
		}
		if job.Spec.Tenant != "" {
			pipe.ZRem(ctx, tenantKey(job.Spec.Tenant), id)
		}
		for k, v := range job.Spec.Labels {
			pipe.ZRem(ctx, labelKey(k+"="+v), id)
		}
		pipe.ZRem(ctx, upKey, id)
		pipe.ZRem(ctx, deadlinesKey, id)
		pipe.ZRem(ctx, stateKey(job.State), id)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("forget %d jobs: %w", len(gone), err)
	}
	return nil
}
