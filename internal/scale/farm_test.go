//go:build integration

package scale_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// farm is one Redis, processes with hosts, and a producer in this process.
type farm struct {
	*testing.T
	dir       string
	slots     int
	url       string
	rdb       redis.UniversalClient
	db        *records.DB
	svc       *jobs.Service
	processes []*process
	hosts     int
	ended     int               // jobs that have ended, as far as this process made them
	dumps     map[string]string // by key
}

// process is a process with hosts.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

func newFarm(t *testing.T, dir string, slots int) *farm {
	t.Helper()
	server := hosttest.StartRedis(t, "--maxclients", "30000", "--slowlog-log-slower-than", "1000", "--slowlog-max-len", "1000")
	f := &farm{T: t, dir: dir, slots: slots, url: server.SocketURL(), dumps: map[string]string{}}
	var err error
	f.rdb, err = redisconn.Open(t.Context(), f.url)
	f.must(err)
	t.Cleanup(func() { _ = f.rdb.Close() })
	f.db, f.svc = producer(f.rdb)
	t.Cleanup(f.end)
	return f
}

func (f *farm) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// grow starts processes with this many hosts each until there are so many in all, and waits
// until they are in the registry.
func (f *farm) grow(hosts, each int) {
	f.Helper()
	for f.hosts < hosts {
		n := min(each, hosts-f.hosts)
		f.start(n)
		f.hosts += n
	}
	farmtest.Until(f.T, 2*time.Minute, fmt.Sprintf("%d workers are there", hosts), func() bool {
		all, _, err := f.db.Hosts(f.Context())
		f.must(err)
		ready := 0
		for _, h := range all {
			if h.State == jobs.HostReady {
				ready++
			}
		}
		return ready == hosts
	})
}

func (f *farm) start(n int) {
	f.Helper()
	config, err := json.Marshal(hostsConfig{Redis: f.url, Dir: f.dir, First: f.hosts, Hosts: n, Slots: f.slots})
	f.must(err)
	self, err := os.Executable()
	f.must(err)
	// The end of stdin ends it, after the test's own context.
	p := &process{cmd: exec.CommandContext(context.Background(), self)}
	p.cmd.Env = append(os.Environ(), hostsVariable+"="+string(config))
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	f.must(err)
	out, err := p.cmd.StdoutPipe()
	f.must(err)
	p.out = json.NewDecoder(bufio.NewReader(out))
	f.must(p.cmd.Start())
	f.processes = append(f.processes, p)
}

// end ends the processes and waits for them, but not for long: what hundreds of workers
// still run and hand back is of no use any more.
func (f *farm) end() {
	start := time.Now()
	late := time.AfterFunc(30*time.Second, func() {
		for _, p := range f.processes {
			_ = p.cmd.Process.Kill()
		}
	})
	defer late.Stop()
	for _, p := range f.processes {
		_ = p.stdin.Close()
	}
	for _, p := range f.processes {
		if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState.Exited() { // else it was killed
			f.Errorf("a process with hosts: %v", err)
		}
	}
	f.Logf("%d workers ended within %s", f.hosts, time.Since(start).Round(time.Millisecond))
}

// read gathers the readings of all processes.
func (f *farm) read() (all readings) {
	f.Helper()
	for _, p := range f.processes {
		_, err := io.WriteString(p.stdin, "\n")
		f.must(err)
	}
	for _, p := range f.processes {
		var r readings
		f.must(p.out.Decode(&r))
		all.Idle = append(all.Idle, r.Idle...)
		all.Memory += r.Memory
		all.CPU += r.CPU
	}
	return all
}

// usage is what Redis has done so far.
type usage struct {
	at time.Time
	// commands counts calls, those inside scripts, too; by has how long each name took.
	commands float64
	by       map[string]time.Duration
	cpu      time.Duration
	clients  float64
}

// usage asks Redis.
func (f *farm) usage() usage {
	f.Helper()
	text, err := f.rdb.Info(f.Context(), "commandstats").Result()
	f.must(err)
	u := usage{at: time.Now(), by: map[string]time.Duration{}}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok || name == "info" {
			continue
		}
		calls, rest, _ := strings.Cut(rest, ",usec=")
		us, _, _ := strings.Cut(rest, ",")
		u.commands += f.number(calls)
		u.by[name] = time.Duration(f.number(us)) * time.Microsecond
	}
	u.cpu = time.Duration((f.info("used_cpu_user") + f.info("used_cpu_sys")) * float64(time.Second))
	u.clients = f.info("connected_clients")
	return u
}

// info is a number that Redis tells.
func (f *farm) info(field string) float64 {
	f.Helper()
	text, err := f.rdb.Info(f.Context()).Result()
	f.must(err)
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return f.number(strings.TrimSpace(v))
		}
	}
	f.Fatalf("INFO has no %s", field)
	return 0
}

func (f *farm) number(text string) float64 {
	f.Helper()
	n, err := strconv.ParseFloat(text, 64)
	f.must(err)
	return n
}

// memory is what Redis keeps, without what it only buffers for clients.
func (f *farm) memory() float64 {
	f.Helper()
	f.must(f.rdb.Do(f.Context(), "MEMORY", "PURGE").Err())
	return f.info("used_memory") - f.info("mem_clients_normal") - f.info("mem_aof_buffer")
}

// roundTrips are how long Redis takes to answer, which is what all that waits for it has in
// it.
func (f *farm) roundTrips() (all []time.Duration) {
	f.Helper()
	for range 200 {
		start := time.Now()
		f.must(f.rdb.Ping(f.Context()).Err())
		all = append(all, time.Since(start))
	}
	return all
}

// count is how many jobs are in a state.
func (f *farm) count(s jobs.State) int {
	f.Helper()
	n, err := f.rdb.ZCard(f.Context(), "slipway:jobs:"+string(s)).Result()
	f.must(err)
	return int(n)
}

// job prints a line and runs for so long.
func job(d time.Duration) jobs.Spec {
	command := fmt.Sprintf("echo hello; sleep %g", d.Seconds())
	return jobs.Spec{Run: &jobs.Run{Image: "busybox", Command: []string{"sh", "-c", command}}}
}

// submit submits n jobs.
func (f *farm) submit(n int, d time.Duration) {
	f.Helper()
	for ; n > 0; n -= 5000 {
		specs := make([]jobs.Spec, min(n, 5000))
		for i := range specs {
			specs[i] = job(d)
		}
		_, err := f.svc.SubmitBatch(f.Context(), specs)
		f.must(err)
	}
}

// until waits until ok holds.
func (f *farm) until(what string, ok func() bool) {
	f.Helper()
	farmtest.Until(f.T, 2*time.Minute, what, ok)
}

// sample is how many jobs are taken to their end through the records; the others are copies.
const sample = 1000

// finish makes n jobs that have ended. A thousand go through the records as a worker's do,
// without one: claim, two notes of progress, result. The others are copies of their keys,
// byte for byte, in the index as they are.
func (f *farm) finish(n int) {
	f.Helper()
	id := func(i int) string { return fmt.Sprintf("019e0000-0000-7000-8000-%012x", i) }
	if f.ended == 0 {
		code := 0
		result := jobs.Result{
			State: jobs.Succeeded, Worker: "host-0000", Host: "0123456789abcdef0123456789abcdef", Attempt: 1, ExitCode: &code, Engine: "docker 29.0.0",
			ContainerID: strings.Repeat("0123456789abcdef", 4), ImageID: "sha256:" + strings.Repeat("0123456789abcdef", 4),
			Times: []jobs.StageTime{{Stage: jobs.StageRun, Millis: 10_000}},
		}
		var g errgroup.Group
		g.SetLimit(32)
		for i := range sample {
			g.Go(func() error { return f.finishOne(jobs.Job{ID: id(i), Spec: job(10 * time.Second).Normalize()}, result) })
		}
		f.must(g.Wait())
		f.ended, n = sample, n-sample
	}
	const batch = 500
	for at := f.ended; n > 0; at, n = at+batch, n-batch {
		f.copyJobs(id, at, min(batch, n))
		f.ended += min(batch, n)
	}
}

// copyJobs copies jobs of the sample.
func (f *farm) copyJobs(id func(int) string, at, n int) {
	f.Helper()
	ctx, pipe := f.Context(), f.rdb.Pipeline()
	index := make([]redis.Z, n)
	for i := range n {
		for _, part := range []string{":job", ":spec", ":result"} {
			from := f.dump("slipway:{" + id((at+i)%sample) + "}" + part)
			pipe.Restore(ctx, "slipway:{"+id(at+i)+"}"+part, 0, from)
		}
		index[i] = redis.Z{Score: float64(time.Now().UnixMicro()), Member: id(at + i)}
	}
	pipe.ZAdd(ctx, "slipway:jobs:"+string(jobs.Succeeded), index...)
	_, err := pipe.Exec(ctx)
	f.must(err)
}

// dump is a key as Redis keeps it.
func (f *farm) dump(key string) string {
	f.Helper()
	if _, ok := f.dumps[key]; !ok {
		text, err := f.rdb.Dump(f.Context(), key).Result()
		f.must(err)
		f.dumps[key] = text
	}
	return f.dumps[key]
}

func (f *farm) finishOne(j jobs.Job, result jobs.Result) error {
	ctx := f.Context()
	if _, err := f.db.Create(ctx, []jobs.Job{j}); err != nil {
		return err
	}
	o := jobs.Owner{Worker: result.Worker, Host: result.Host, Nonce: "0123456789abcdef0123456789abcdef", Lease: time.Minute}
	if _, err := f.db.Claim(ctx, jobs.Ticket{ID: j.ID, Attempt: 1}, o); err != nil {
		return err
	}
	for _, p := range []jobs.Progress{
		{Stage: jobs.StageRun, Container: jobs.Container{Name: jobs.ContainerName(j.ID, 1)}, RunTimeout: time.Hour},
		{Container: jobs.Container{ID: result.ContainerID}},
	} {
		if err := f.db.Note(ctx, j.ID, o.Nonce, p); err != nil {
			return err
		}
	}
	return f.db.Finish(ctx, j.ID, o.Nonce, result)
}

// stateDir is where the hosts keep their state: a disk in memory where there is one, since
// the disks of many hosts are not one.
func stateDir(t *testing.T) string {
	t.Helper()
	const shared = "/dev/shm"
	if _, err := os.Stat(shared); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shared, "slipway-scale-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Clean(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}
