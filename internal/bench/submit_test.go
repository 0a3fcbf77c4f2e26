//go:build integration

package bench_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	batch       = 10_000
	batchRounds = 3
)

// submissions measures how fast a batch is acknowledged: by the program, from
// its start to its end, and inside a process, against plain asynq enqueues of
// the same documents from 32 goroutines. No worker is on this Redis.
func (f *farm) submissions(r *report) {
	server := hosttest.StartRedis(f)
	rdb := f.open(server)
	spec := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"true"}}}
	doc, err := json.Marshal(spec)
	f.must(err)
	specs := make([]jobs.Spec, batch)
	for i := range specs {
		specs[i] = spec
	}
	lines := bytes.Repeat(append(doc, '\n'), batch)
	svc, plain := service(rdb), asynq.NewClientFromRedisClient(rdb)
	var program, process, base []float64
	timed := func(work func()) float64 {
		start := time.Now()
		work()
		rate := batch / time.Since(start).Seconds()
		f.must(rdb.FlushAll(f.ctx).Err())
		return rate
	}
	for range batchRounds {
		base = append(base, timed(func() {
			var g errgroup.Group
			g.SetLimit(32)
			for range batch {
				g.Go(func() error {
					_, err := plain.EnqueueContext(f.ctx, asynq.NewTask("bench", doc))
					return err
				})
			}
			f.must(g.Wait())
		}))
		process = append(process, timed(func() {
			_, err := svc.SubmitBatch(f.ctx, specs)
			f.must(err)
		}))
		program = append(program, timed(func() {
			cmd := exec.CommandContext(f.ctx, filepath.Join(f.bins, "enqueue"), "submit", "--batch", "-", "-q")
			cmd.Env, cmd.Stdin = f.env(server), bytes.NewReader(lines)
			out, err := cmd.Output()
			f.must(err)
			if n := bytes.Count(out, []byte("\n")); n != batch {
				f.Fatalf("submit --batch acknowledged %d of %d jobs", n, batch)
			}
		}))
	}
	r.atLeast("submissions of a batch of 10,000, in process", "plain asynq", "/s", 5000, median(process), median(base))
	r.atLeast("submissions of a batch of 10,000, enqueue submit --batch", "plain asynq", "/s", 5000, median(program), median(base))
}
