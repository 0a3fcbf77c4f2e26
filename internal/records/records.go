// Package records keeps the records of jobs in Redis: document, state, owner,
// result, events, the live log tail, and the indexes for listing. A
// record is the truth about its job. DB implements jobs.Records for
// producers and jobs.Claims for workers, what the reconciler needs, and the
// registry and the seats of hosts.
//
// Every change of a record is one Lua script on the keys of that job, decided
// on Redis TIME and the owner's nonce. keys.go lists every key, scripts/ holds
// every script.
package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options tune a DB; the zero value works.
type Options struct {
	// QueueTimeout applies to jobs that set none; 0 means no limit.
	QueueTimeout time.Duration
	// LogTail bounds the live log of one job in bytes, 256 KiB when 0.
	LogTail int64
	// LogTailKeep is how long the tail stays after the job has ended, so that
	// readers can finish; an hour when 0.
	LogTailKeep time.Duration
	// Retention bounds what is kept of ended jobs.
	Retention Retention
	Log       *slog.Logger
}

// Retention is set by the operator; zero fields mean the defaults.
type Retention struct {
	// Age after which an ended job is forgotten, 7 days when 0.
	Age time.Duration
	// Count of ended jobs that are kept, 100,000 when 0.
	Count int64
}

// DB is safe for concurrent use.
type DB struct {
	rdb     redis.UniversalClient
	opts    Options
	scripts *scripts
	log     *slog.Logger
}

var (
	_ jobs.Records = (*DB)(nil)
	_ jobs.Claims  = (*DB)(nil)
	_ jobs.Hosts   = (*DB)(nil)
	_ jobs.Seats   = (*DB)(nil)
	_ jobs.Endings = (*DB)(nil)
	_ jobs.Changes = (*DB)(nil)
)

// New makes a DB on an open client, which stays the caller's to close.
func New(rdb redis.UniversalClient, opts Options) *DB {
	if opts.LogTail == 0 {
		opts.LogTail = 256 << 10
	}
	if opts.LogTailKeep == 0 {
		opts.LogTailKeep = time.Hour
	}
	if opts.Retention.Age == 0 {
		opts.Retention.Age = 7 * 24 * time.Hour
	}
	if opts.Retention.Count == 0 {
		opts.Retention.Count = 100_000
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &DB{rdb: rdb, opts: opts, scripts: loadScripts(), log: opts.Log}
}

// Now is the time of the records, Redis TIME.
func (db *DB) Now(ctx context.Context) (time.Time, error) {
	t, err := db.rdb.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("ask redis for the time: %w", err)
	}
	return t, nil
}

// Create implements jobs.Records. The index entry is written before the
// record, so that no record is ever out of the reconciler's sight.
func (db *DB) Create(ctx context.Context, batch []jobs.Job) ([]bool, error) {
	if err := db.room(ctx); err != nil {
		return nil, err
	}
	now, err := db.pinContexts(ctx, batch)
	if err != nil {
		return nil, err
	}
	made := make([]*redis.Cmd, len(batch))
	again := make([]func(redis.Scripter), len(batch))
	states := make([]jobs.State, len(batch))
	pipe := db.rdb.Pipeline()
	for i, job := range batch {
		spec, err := json.Marshal(job.Spec)
		if err != nil {
			return nil, fmt.Errorf("encode job %s: %w", job.ID, err)
		}
		// A microsecond apart, so that a batch keeps its order in listings.
		created := now.Add(time.Duration(i) * time.Microsecond)
		b, err := db.begin(job, created)
		if err != nil {
			return nil, err
		}
		states[i] = b.state
		entry := redis.Z{Score: float64(created.UnixMicro()), Member: job.ID}
		pipe.Publish(ctx, changesChannel, job.ID) // before there is a record: who hears of it looks a little later
		pipe.ZAddNX(ctx, stateKey(jobs.Queued), entry)
		if b.expires > 0 {
			pipe.ZAddNX(ctx, deadlinesKey, redis.Z{Score: float64(b.expires), Member: job.ID})
		}
		if job.Spec.Name != "" {
			pipe.ZAddNX(ctx, nameKey(job.Spec.Name), entry)
		}
		if job.Spec.Tenant != "" {
			pipe.ZAddNX(ctx, tenantKey(job.Spec.Tenant), entry)
		}
		for k, v := range job.Spec.Labels {
			pipe.ZAddNX(ctx, labelKey(k+"="+v), entry)
		}
		if key := job.Spec.ReservedKey(); key != "" && job.Result == nil {
			// Once more, on the connection that writes the record: the server that
			// was asked for it may be another, and gone.
			pipe.SetNX(ctx, reserveKey(key), reservation(job.ID, jobs.SpecDigest(job.Spec)), db.opts.Retention.Age)
		}
		keys := []string{jobKey(job.ID), specKey(job.ID), resultKey(job.ID)}
		args := []any{spec, created.UnixMicro(), b.expires, recordVersion, b.startBy, string(b.state), b.result, before(b.state), job.Submitter, string(job.Traceparent)}
		made[i] = db.scripts.create.EvalSha(ctx, pipe, keys, args...)
		again[i] = func(pipe redis.Scripter) { made[i] = db.scripts.create.Eval(ctx, pipe, keys, args...) }
	}
	cmds, err := pipe.Exec(ctx)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = otherThan("NOSCRIPT", cmds); err == nil {
			err = db.createWithText(ctx, made, again)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write %d job records: %w", len(batch), err)
	}
	out := make([]bool, len(batch))
	for i, cmd := range made {
		n, err := cmd.Int()
		if err != nil {
			return nil, fmt.Errorf("write job record %s: %w", batch[i].ID, err)
		}
		if out[i] = n == 1; !out[i] || states[i] == jobs.Queued {
			continue
		}
		if err := db.reindex(ctx, batch[i].ID, jobs.Queued, states[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// createWithText runs those scripts again, with their text, that a server did not know. To
// ask all servers of a cluster for a script before it is used takes one that is down for all.
func (db *DB) createWithText(ctx context.Context, made []*redis.Cmd, again []func(redis.Scripter)) error {
	pipe := db.rdb.Pipeline()
	for i, run := range again {
		if made[i].Err() != nil {
			run(pipe)
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}

// otherThan is the first error that does not begin with the word.
func otherThan(word string, cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, word) {
			return err
		}
	}
	return nil
}

// beginning is how a job begins: when it expires and its producer's deadline, in
// microseconds, 0 for never; its state, and the result of one that has ended.
type beginning struct {
	expires, startBy int64
	state            jobs.State
	result           []byte
}

// begin tells how a job begins that is made now.
func (db *DB) begin(job jobs.Job, now time.Time) (b beginning, err error) {
	by, ended := job.StartBy, job.Result
	if !by.IsZero() && !by.After(now) && ended == nil {
		ended = &jobs.Result{State: jobs.Expired, Failure: jobs.Overdue(by)}
	}
	b.state = jobs.Queued
	if ended != nil {
		if b.state = ended.State; !jobs.Queued.CanBecome(b.state) {
			return b, fmt.Errorf("create job %s: a job cannot begin as %q", job.ID, b.state)
		}
		if b.result, err = json.Marshal(ended); err != nil {
			return b, fmt.Errorf("encode result of job %s: %w", job.ID, err)
		}
		return b, nil
	}
	if d := db.expiresIn(job.Spec); d > 0 {
		b.expires = now.UnixMicro() + d
	}
	if !by.IsZero() && (b.expires == 0 || by.UnixMicro() < b.expires) {
		b.expires, b.startBy = by.UnixMicro(), by.UnixMicro()
	}
	return b, nil
}

// pinContexts keeps the contexts of new jobs in the artifact store until their
// records are there to name them. It returns the time of the records.
func (db *DB) pinContexts(ctx context.Context, batch []jobs.Job) (time.Time, error) {
	named := map[string]bool{}
	for _, job := range batch {
		if c := job.Spec.Context; c != nil {
			for _, digest := range anyDigest.FindAllString(c.Ref, 1) {
				named[digest] = true
			}
		}
	}
	if len(named) == 0 {
		return db.Now(ctx)
	}
	// One that is being deleted was named by no job until now: the job will be
	// told that it is gone.
	now, _, err := db.pin(ctx, slices.Collect(maps.Keys(named)))
	return now, err
}

// expiresIn is how long the job may wait for a worker, in microseconds, 0 for
// ever.
func (db *DB) expiresIn(spec jobs.Spec) int64 {
	return spec.Timeouts.Queue.Or(db.opts.QueueTimeout).Microseconds()
}

// Get implements jobs.Records.
func (db *DB) Get(ctx context.Context, id string) (jobs.Job, error) {
	found, err := db.GetAll(ctx, []string{id})
	if err != nil {
		return jobs.Job{}, err
	}
	if len(found) == 0 {
		return jobs.Job{}, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	}
	return found[0], nil
}

// GetAll implements jobs.Records.
func (db *DB) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	type reply struct {
		record *redis.MapStringStringCmd
		spec   *redis.StringCmd
		result *redis.StringCmd
	}
	replies := make([]reply, len(ids))
	pipe := db.rdb.Pipeline()
	for i, id := range ids {
		replies[i] = reply{pipe.HGetAll(ctx, jobKey(id)), pipe.Get(ctx, specKey(id)), pipe.Get(ctx, resultKey(id))}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %d job records: %w", len(ids), err)
	}
	out := make([]jobs.Job, 0, len(ids))
	for i, r := range replies {
		if len(r.record.Val()) == 0 {
			continue
		}
		out = append(out, decodeJob(ids[i], r.record.Val(), r.spec.Val(), r.result.Val()))
	}
	return out, db.addPast(ctx, out)
}

// addPast reads the past attempts of those jobs that have any.
func (db *DB) addPast(ctx context.Context, all []jobs.Job) error {
	pipe := db.rdb.Pipeline()
	replies := map[int]*redis.StringSliceCmd{}
	for i, job := range all {
		if job.Attempt > 1 {
			replies[i] = pipe.LRange(ctx, pastKey(job.ID), 0, -1)
		}
	}
	if len(replies) == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("read the past attempts of %d jobs: %w", len(replies), err)
	}
	for i, r := range replies {
		for _, entry := range r.Val() {
			if p, ok := decodePast(entry); ok {
				all[i].Past = append(all[i].Past, p)
			}
		}
	}
	return nil
}

// decodePast reads an entry of pastKey. One that cannot be read is left out: it
// decides nothing.
func decodePast(entry string) (p jobs.PastAttempt, ok bool) {
	claimed, rest, _ := strings.Cut(entry, " ")
	ended, raw, _ := strings.Cut(rest, " ")
	from, err1 := strconv.ParseInt(claimed, 10, 64)
	to, err2 := strconv.ParseInt(ended, 10, 64)
	if err := json.Unmarshal([]byte(raw), &p); err != nil || err1 != nil || err2 != nil {
		return p, false
	}
	if from > 0 { // a claim of an earlier version did not say
		p.Started = time.UnixMicro(from).UTC()
	}
	p.Ended = time.UnixMicro(to).UTC()
	return p, true
}

// decodeJob makes a Job of what Redis holds. What cannot be read must not keep
// the caller from reading the others, so the job itself says it.
func decodeJob(id string, rec map[string]string, spec, result string) jobs.Job {
	number := func(field string) int {
		n, _ := strconv.Atoi(rec[field])
		return n
	}
	at := func(field string) time.Time {
		us, _ := strconv.ParseInt(rec[field], 10, 64)
		if us == 0 {
			return time.Time{}
		}
		return time.UnixMicro(us).UTC()
	}
	job := jobs.Job{
		ID: id, State: jobs.State(rec["state"]), Stage: jobs.Stage(rec["stage"]),
		Attempt: number("attempt"), Seq: number("seq"), Retries: number("retries"), Losses: number("losses"),
		Created: at("created"), Queued: at("queued"), Started: at("started"), Claimed: at("claimed"), Finished: at("finished"),
		NotBefore: at("not_before"), Expires: at("expires"), StartBy: at("start_by"),
		Worker: rec["worker"], Host: rec["host"], Nonce: rec["nonce"], Lease: at("lease"),
		Container: jobs.Container{Name: rec["name"], ID: rec["cid"], Deadline: at("deadline")},
		Submitter: rec["submitter"], Traceparent: jobs.Traceparent(rec["traceparent"]), CancelBy: rec["cancel"], Newer: number("v") > recordVersion,
	}
	if err := json.Unmarshal([]byte(spec), &job.Spec); err != nil {
		job.Spec, job.Damaged = jobs.Spec{}, fmt.Sprintf("its document cannot be read: %v", err)
	}
	if result == "" {
		return job
	}
	job.Result = new(jobs.Result)
	if err := json.Unmarshal([]byte(result), job.Result); err != nil {
		job.Result, job.Damaged = nil, fmt.Sprintf("its result cannot be read: %v", err)
		return job
	}
	if s := job.Result.Service; s != nil {
		s.Ended = at("ended")
	} else if rec["kept"] != "" { // by a worker of an earlier version
		job.Result.Service = &jobs.ServiceStatus{State: jobs.ServiceUp}
	}
	if r := job.Result; r.ContainerID != "" { // the record does not repeat it
		job.Container = jobs.Container{Name: jobs.ContainerName(id, r.Attempt), ID: r.ContainerID}
	}
	return job
}

// Cancel implements jobs.Records.
func (db *DB) Cancel(ctx context.Context, id, by string) (jobs.Job, error) {
	reply, err := db.end(ctx, id, by, cancelledResult(by), false)
	if err != nil {
		return jobs.Job{}, err
	}
	switch reply {
	case replyMissing:
		return jobs.Job{}, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	case replyAsked:
		// A hint only: the flag in the record is what counts.
		if err := db.rdb.Publish(ctx, cancelChannel, id).Err(); err != nil {
			db.log.WarnContext(ctx, "publishing a cancel hint failed; the worker sees the cancellation when it renews", "job_id", id, "err", err)
		}
	}
	job, err := db.Get(ctx, id)
	if err == nil && reply == replyFinished {
		err = fmt.Errorf("%w: %s is %s", jobs.ErrFinished, id, job.State)
	}
	return job, err
}

// end runs end.lua and moves the job in the indexes when it ended.
func (db *DB) end(ctx context.Context, id, by string, r jobs.Result, onlyExpired bool) (string, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode result of job %s: %w", id, err)
	}
	reply, err := db.scripts.end.Run(ctx, db.rdb, []string{jobKey(id), newsKey(id), resultKey(id), logKey(id)},
		by, string(r.State), raw, seconds(db.opts.LogTailKeep), flag(onlyExpired), before(r.State)).Text()
	if err != nil {
		return "", fmt.Errorf("end job %s: %w", id, err)
	}
	if from := jobs.State(reply); from.Waits() {
		return reply, db.reindex(ctx, id, from, r.State)
	}
	return reply, nil
}

func cancelledResult(by string) jobs.Result {
	return jobs.Result{State: jobs.Cancelled, Failure: &jobs.Failure{
		Stage: jobs.StageQueue, Kind: jobs.KindCancelled, Message: "cancelled by " + by + " before a worker had it",
	}}
}

// Reserve implements jobs.Records. A reservation lives as long as an ended job
// is kept.
func (db *DB) Reserve(ctx context.Context, key, id, digest string) (string, string, error) {
	k := reserveKey(key)
	for range 3 {
		ok, err := db.rdb.SetNX(ctx, k, reservation(id, digest), db.opts.Retention.Age).Result()
		if err != nil {
			return "", "", fmt.Errorf("reserve key: %w", err)
		}
		if ok {
			return id, digest, nil
		}
		bound, err := db.rdb.Get(ctx, k).Result()
		if errors.Is(err, redis.Nil) { // it expired between the two commands
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("read reserved key: %w", err)
		}
		var boundID, boundDigest string
		if _, err := fmt.Sscan(bound, &boundID, &boundDigest); err != nil {
			return "", "", fmt.Errorf("read reserved key: %q is not a reservation", bound)
		}
		return boundID, boundDigest, nil
	}
	return "", "", errors.New("reserve key: it keeps expiring")
}

func reservation(id, digest string) string { return id + " " + digest }

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func seconds(d time.Duration) int64 { return int64(max(d, time.Second) / time.Second) }
