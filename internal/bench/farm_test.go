//go:build integration

package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// slots is how many jobs the worker runs at once.
const slots = 4

// BenchmarkFarm takes every measure once; run it with -benchtime 1x.
func BenchmarkFarm(b *testing.B) {
	f := newFarm(b)
	f.startWorker()
	f.measure([]measure{
		{"noop", (*farm).noop},
		{"claim", (*farm).claim},
		{"idle", (*farm).idle},
		{"waiting", (*farm).waiting},
		{"fairness", (*farm).fairness},
		{"affinity", (*farm).affinity},
		{"submissions", (*farm).submissions},
		{"memory", (*farm).memory},
		{"flood", (*farm).flood},
		{"rebuilds", (*farm).rebuilds},
		{"month", (*farm).month},
		{"contexts", (*farm).contexts},
	})
}

// measure is a part of a benchmark that can be run alone.
type measure struct {
	name string
	take func(*farm, *report)
}

// measure takes every measure and prints the report.
func (f *farm) measure(all []measure) {
	r := &report{}
	for _, m := range all {
		f.Run(m.name, func(b *testing.B) {
			part := *f
			part.B, part.ctx = b, b.Context()
			for b.Loop() {
				m.take(&part, r)
			}
			b.ReportMetric(0, "ns/op") // the length of the run says nothing
		})
	}
	fmt.Printf("\n%s\n%s", machine(f), r)
}

// farm is one worker on one build host, with a producer in this process.
type farm struct {
	*testing.B
	ctx  context.Context
	bins string
	dir  string
	// contextDir is open for file:// contexts.
	contextDir string
	host       *hosttest.Host
	// daemon is the address of the host's daemon for the worker. Where bytes are counted, that
	// is toWorker's, and toDocker is for the docker command.
	daemon             string
	toWorker, toDocker *hosttest.Meter
	docker             *client.Client
	redis              *hosttest.Redis
	rdb                redis.UniversalClient
	svc                *jobs.Service
	worker             *farmtest.Worker
}

// newFarm makes a farm whose worker has not started.
func newFarm(b *testing.B) *farm {
	b.Helper()
	f := &farm{B: b, ctx: b.Context(), bins: b.TempDir(), dir: b.TempDir(), contextDir: b.TempDir()}
	f.must(farmtest.Build(f.ctx, f.bins))
	f.host = hosttest.StartHost(b, "bench")
	f.daemon = f.host.DockerHost()
	hosttest.Busybox(b, f.host)
	var err error
	f.docker, err = client.NewClientWithOpts(client.WithHost(f.host.DockerHost()), client.WithAPIVersionNegotiation())
	f.must(err)
	b.Cleanup(func() { _ = f.docker.Close() })
	f.redis = hosttest.StartRedis(b)
	f.rdb = f.open(f.redis)
	f.svc = service(f.rdb)
	return f
}

// service is a producer on an open client.
func service(rdb redis.UniversalClient) *jobs.Service {
	return jobs.NewService(records.New(rdb, records.Options{}), queue.New(rdb), func() string {
		return uuid.Must(uuid.NewV7()).String()
	})
}

func (f *farm) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// open connects to a Redis for the length of the run.
func (f *farm) open(r *hosttest.Redis) redis.UniversalClient {
	f.Helper()
	rdb, err := redisconn.Open(f.ctx, r.SocketURL())
	f.must(err)
	f.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (f *farm) env(r *hosttest.Redis) []string {
	return append(os.Environ(), "SLIPWAY_REDIS="+r.SocketURL(), "SLIPWAY_STORE="+filepath.Join(f.dir, "store"), "SLIPWAY_SUPERVISE=false",
		"XDG_CACHE_HOME="+filepath.Join(f.dir, "cache"), "DOCKER_HOST="+f.daemon, "CI=true")
}

// startWorker runs the worker until the end of the benchmark.
func (f *farm) startWorker() {
	f.Helper()
	policy := filepath.Join(f.dir, "policy.yaml")
	f.must(os.WriteFile(policy, []byte("version: 1\ncontext: {max_compressed: 1GiB, file_roots: ["+f.contextDir+"]}\n"), 0o600))
	f.worker = farmtest.NewWorker(f.B, "bench", filepath.Join(f.dir, "worker.log"), func() *exec.Cmd {
		cmd := f.host.Command(context.Background(), filepath.Join(f.bins, "worker"), "--name", "bench",
			"--state", filepath.Join(f.dir, "state"), "--admin", os.Getenv("BENCH_ADMIN"), "--policy", policy, "--slots", fmt.Sprint(slots))
		cmd.Env = f.env(f.redis)
		return cmd
	})
	f.Cleanup(func() { f.must(f.worker.Drain(time.Minute)) })
	f.worker.Start(f.B)
}

// submit submits a job and waits for the record of its end.
func (f *farm) submit(spec jobs.Spec, want jobs.State) jobs.Job {
	f.Helper()
	job, err := f.done(spec, want)
	f.must(err)
	return job
}

// done is submit for any goroutine.
func (f *farm) done(spec jobs.Spec, want jobs.State) (jobs.Job, error) {
	sub, err := f.svc.Submit(f.ctx, spec)
	if err != nil {
		return jobs.Job{}, err
	}
	job, err := f.svc.Wait(f.ctx, sub.ID)
	if err == nil && job.State != want {
		err = fmt.Errorf("job %s is %s, want %s: %+v", job.ID, job.State, want, job.Result)
	}
	return job, err
}

// succeeded waits for the end of a job that was submitted, and wants it to succeed.
func (f *farm) succeeded(id string) jobs.Job {
	f.Helper()
	job, err := f.svc.Wait(f.ctx, id)
	f.must(err)
	if job.State != jobs.Succeeded {
		f.Fatalf("job %s is %s: %+v", job.ID, job.State, job.Result.Failure)
	}
	return job
}

// quiet waits until the worker has removed its last container.
func (f *farm) quiet() {
	f.Helper()
	f.eventually("no container is left", func() bool {
		all, err := f.docker.ContainerList(f.ctx, container.ListOptions{All: true})
		f.must(err)
		return len(all) == 0
	})
}

func (f *farm) eventually(what string, ok func() bool) {
	f.Helper()
	farmtest.Until(f.B, time.Minute, what, ok)
}
