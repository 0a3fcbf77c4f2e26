//go:build integration

package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
)

const stored = 4000

// memory weighs jobs in Redis: many copies of one that was really run, taken
// through queue and store in the steps of the worker.
func (f *farm) memory(r *report) {
	run := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"true"}}}
	f.weigh(r, "no-op", f.submit(run, jobs.Succeeded))
	f.weigh(r, "built and run", f.built())
}

func (f *farm) weigh(r *report, kind string, sample jobs.Job) {
	doc, err := json.Marshal(sample.Spec)
	f.must(err)
	server := hosttest.StartRedis(f)
	rdb := f.open(server)
	specs := make([]jobs.Spec, stored)
	for i := range specs {
		specs[i] = sample.Spec
	}
	// One job first, for what is there once: scripts, indexes, queues.
	records := records.New(rdb, records.Options{LogTailKeep: time.Second})
	_, err = service(rdb).Submit(f.ctx, sample.Spec)
	f.must(err)
	f.work(server, records, sample, 1)
	empty := f.used(rdb)
	subs, err := service(rdb).SubmitBatch(f.ctx, specs)
	f.must(err)
	queued := f.used(rdb)
	f.work(server, records, sample, stored)
	f.expired(rdb, subs)
	finished := f.used(rdb)
	const bar = 2 << 10
	r.weight("Redis memory per queued job, "+kind, bar, (queued-empty)/stored)
	r.weight("Redis memory per finished job without its live log, "+kind, bar, (finished-empty)/stored)
	r.note("%s: a document of %d bytes; keys of a finished job: %s", kind, len(doc), f.byKey(rdb, subs[0].ID))
}

// built is the record of a job that was built and run.
func (f *farm) built() jobs.Job {
	dir := f.TempDir()
	f.must(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nCOPY Dockerfile /\nCMD [\"echo\", \"hello\"]\n"), 0o600))
	cmd := exec.CommandContext(f.ctx, filepath.Join(f.bins, "enqueue"), "submit", "-d", "-q",
		"--name", "hello-web", "--tag", "registry.example.com/team/hello-web:1.2.3", "--run", dir)
	cmd.Env = f.env(f.redis)
	id, err := cmd.Output()
	f.must(err)
	return f.succeeded(strings.TrimSpace(string(id)))
}

// work takes n jobs from the queue to their end the way a worker does.
func (f *farm) work(server *hosttest.Redis, records *records.DB, sample jobs.Job, n int) {
	f.Helper()
	intake := queue.NewIntake(f.open(server), queue.IntakeOptions{Queues: []string{sample.Spec.Queue}, Slots: 8})
	done := make(chan error, n)
	f.must(intake.Start(func(ctx context.Context, d jobs.Delivery) error {
		done <- oneJob(ctx, records, sample, d)
		return nil
	}, func(jobs.Needs) jobs.Fit { return jobs.FitsNow }))
	for range n {
		f.must(<-done)
	}
	f.must(intake.Close())
}

func oneJob(ctx context.Context, records *records.DB, sample jobs.Job, d jobs.Delivery) error {
	id, nonce := d.Ticket.ID, "0123456789abcdef0123456789abcdef"
	o := jobs.Owner{Worker: sample.Worker, Host: sample.Host, Nonce: nonce, Lease: time.Minute}
	if _, err := records.Claim(ctx, d.Ticket, o); err != nil {
		return err
	}
	for _, t := range sample.Result.Times {
		p := jobs.Progress{Stage: t.Stage}
		if t.Stage == jobs.StageRun {
			p.Container, p.RunTimeout = jobs.Container{Name: jobs.ContainerName(id, 1)}, time.Hour
		}
		if err := records.Note(ctx, id, nonce, p); err != nil {
			return err
		}
	}
	p := jobs.Progress{Container: jobs.Container{ID: sample.Result.ContainerID}, Partial: sample.Result}
	if err := records.Note(ctx, id, nonce, p); err != nil {
		return err
	}
	frame := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Now(), Data: []byte("hello\n")})
	if err := records.AppendLog(ctx, id, nonce, jobs.LogChunk{Attempt: 1, Data: frame}); err != nil {
		return err
	}
	return records.Finish(ctx, id, nonce, *sample.Result)
}

// used is the server's memory without what it only buffers for clients.
func (f *farm) used(rdb redis.UniversalClient) float64 {
	f.Helper()
	f.must(rdb.Do(f.ctx, "MEMORY", "PURGE").Err())
	info, err := rdb.InfoMap(f.ctx, "memory").Result()
	f.must(err)
	m := info["Memory"]
	n := func(name string) float64 {
		v, err := strconv.ParseFloat(m[name], 64)
		f.must(err)
		return v
	}
	return n("used_memory") - n("mem_clients_normal") - n("mem_aof_buffer")
}

// expired waits until the jobs' live logs and what wakes their readers are gone;
// asking for a key whose time is over makes Redis notice.
func (f *farm) expired(rdb redis.UniversalClient, subs []jobs.Submitted) {
	f.Helper()
	f.eventually("the live logs are gone", func() bool {
		pipe := rdb.Pipeline()
		left := make([]*redis.IntCmd, len(subs))
		for i, sub := range subs {
			left[i] = pipe.Exists(f.ctx, "slipway:{"+sub.ID+"}:log", "slipway:{"+sub.ID+"}:news")
		}
		_, err := pipe.Exec(f.ctx)
		f.must(err)
		return !slices.ContainsFunc(left, func(c *redis.IntCmd) bool { return c.Val() > 0 })
	})
}

// byKey lists what the keys of one job take.
func (f *farm) byKey(rdb redis.UniversalClient, id string) string {
	f.Helper()
	keys, err := rdb.Keys(f.ctx, "slipway:{"+id+"}:*").Result()
	f.must(err)
	sizes := map[string]float64{}
	for _, k := range keys {
		n, err := rdb.MemoryUsage(f.ctx, k).Result()
		f.must(err)
		sizes[k[len("slipway:{}:")+len(id):]] = float64(n)
	}
	var parts []string
	for _, k := range byValue(sizes) {
		parts = append(parts, fmt.Sprintf("%s %.0f", k, sizes[k]))
	}
	return strings.Join(parts, ", ")
}
