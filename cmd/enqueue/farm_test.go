package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// farm is a farm in memory with one worker that plays what a job asks for: a
// build of two steps, then the container's command as a small language:
//
//	echo WORD...   WORDs on stdout          err WORD...   on stderr
//	exit N         the container's exit     fail KIND     a failure of that kind
//	raw TEXT       Go-quoted bytes          hang          until it is cancelled
//
// A service prints a line when it is ready and another one at its end, which comes
// with exit N at once, and else when it is cancelled.
type farm struct {
	t     testing.TB
	mem   *jobstest.Memory
	queue *jobstest.Queue
	svc   *jobs.Service
	store artifacts.Store
	dir   string
	// paused holds jobs back in their queue.
	paused bool
	// registry is what Redis remembers of the store, nil for nothing at all.
	registry artifacts.Registry

	stop context.CancelFunc
	wg   sync.WaitGroup
}

type farmOptions struct {
	paused    bool
	tailBytes int
}

func newFarm(t testing.TB, dir string, o farmOptions) (*farm, error) {
	store, err := dirstore.New(dir)
	if err != nil {
		return nil, err
	}
	f := &farm{
		t: t, mem: jobstest.NewMemory(jobstest.Options{TailBytes: o.tailBytes}), queue: jobstest.NewQueue(),
		store: store, dir: dir, paused: o.paused,
	}
	f.svc = jobs.NewService(f.mem, f.queue, jobstest.NewIDs())
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	if !o.paused {
		f.wg.Go(func() { f.work(ctx) })
	}
	return f, nil
}

func startFarm(t *testing.T, o farmOptions) *farm {
	t.Helper()
	f, err := newFarm(t, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func (f *farm) close() {
	f.stop()
	f.wg.Wait()
}

// served is the farm as the program reaches it.
func (f *farm) served() api.Farm {
	return api.Farm{Jobs: f.svc, Hosts: f.mem, Orders: f.mem, Recipes: f.mem, Rebuilds: f.mem, Bases: f.mem, Changes: f.mem, Webhooks: f.mem, Calls: f.mem, Tokens: f.mem, Trail: f.mem}
}

// app is a run of the program on this farm.
func (f *farm) app(p process) *app {
	a := newApp(p)
	a.openService = func(context.Context) (service, io.Closer, error) {
		// As redisconn.Open does, look whether Redis answers.
		if _, err := f.svc.List(context.Background(), jobs.Query{Limit: 1}); err != nil {
			return nil, nil, err
		}
		a.registry = f.registry
		return a.reach(f.served()), io.NopCloser(nil), nil
	}
	return a
}

// marked is a registry of a farm that has marked a store.
type marked artifacts.Mark

func (m marked) FarmID(context.Context, bool) (string, error)        { return m.Farm, nil }
func (m marked) StoreID(context.Context) (string, error)             { return m.Store, nil }
func (marked) MarkTurn(context.Context, time.Duration) (bool, error) { panic("enqueue marks nothing") }

func (marked) EndTurn(context.Context) error { panic("enqueue marks nothing") }

func (marked) RememberStore(context.Context, string, bool) (string, error) {
	panic("enqueue marks nothing")
}

func (f *farm) work(ctx context.Context) {
	for {
		t, err := f.queue.Receive(ctx, "")
		if err != nil {
			return
		}
		f.wg.Go(func() { f.play(ctx, t) })
	}
}

// attempt is one attempt of a job that the worker plays.
type attempt struct {
	*farm
	ctx   context.Context
	job   jobs.Job
	nonce string
	log   []byte
	res   jobs.Result
}

func (f *farm) play(ctx context.Context, t jobs.Ticket) {
	a := &attempt{farm: f, ctx: ctx, nonce: rand.Text()}
	var err error
	a.job, err = f.mem.Claim(ctx, t, jobs.Owner{Worker: "w1", Host: "h1", Nonce: a.nonce, Lease: time.Hour})
	if err != nil {
		return
	}
	a.res = jobs.Result{State: jobs.Succeeded, Worker: "w1", Host: "h1", Attempt: a.job.Attempt, Engine: "test"}
	if b := a.job.Spec.Build; b != nil {
		a.build(*b)
	}
	if r := a.job.Spec.Run; r != nil {
		a.run(*r)
	}
	if a.finish(); !a.res.KeepUntil.IsZero() {
		a.serve()
	}
}

func (a *attempt) stage(s jobs.Stage) {
	_ = a.mem.Note(a.ctx, a.job.ID, a.nonce, jobs.Progress{Stage: s})
}

func (a *attempt) write(s jobs.Stream, data string) {
	raw := jobs.AppendFrame(nil, jobs.Frame{Stream: s, At: time.Now(), Data: []byte(data)})
	_ = a.mem.AppendLog(a.ctx, a.job.ID, a.nonce, jobs.LogChunk{Attempt: a.job.Attempt, Offset: int64(len(a.log)), Data: raw})
	a.log = append(a.log, raw...)
}

func (a *attempt) build(b jobs.Build) {
	a.stage(jobs.StageBuild)
	for _, s := range buildStatus("[1/2] FROM docker.io/library/alpine", "[2/2] RUN make") {
		raw, _ := json.Marshal(s)
		a.write(jobs.BuildStatus, string(raw))
	}
	if b.Target == "fails" {
		a.fail(jobs.Fail(jobs.KindBuildFailed, nil, "read its output", "step %q ended with exit code 3", "RUN make"))
		return
	}
	a.res.ImageID, a.res.ImageSize, a.res.Tags = "sha256:"+strings.Repeat("a", 64), 3<<19, b.Tags
	if b.Push {
		a.stage(jobs.StagePush)
		name, _, _ := strings.Cut(b.Tags[0], ":")
		a.res.RepoDigests = []string{name + "@sha256:" + strings.Repeat("d", 64)}
	}
}

// buildStatus is what BuildKit says about steps that go well; the last one
// writes a line.
func buildStatus(steps ...string) []client.SolveStatus {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var all []client.SolveStatus
	for i, name := range steps {
		d := digest.FromString(name)
		from, to := start.Add(time.Duration(i)*time.Second), start.Add(time.Duration(i+1)*time.Second)
		all = append(all, client.SolveStatus{Vertexes: []*client.Vertex{{Digest: d, Name: name, Started: &from}}})
		if i == len(steps)-1 {
			all = append(all, client.SolveStatus{Logs: []*client.VertexLog{{Vertex: d, Stream: 1, Data: []byte("made it\n"), Timestamp: to}}})
		}
		all = append(all, client.SolveStatus{Vertexes: []*client.Vertex{{Digest: d, Name: name, Started: &from, Completed: &to}}})
	}
	return all
}

func (a *attempt) run(r jobs.Run) {
	a.stage(jobs.StageRun)
	a.res.ContainerID = strings.Repeat("c", 64)
	for i, p := range r.Ports {
		a.res.Addresses = append(a.res.Addresses, fmt.Sprintf("127.0.0.1:%d", cmp.Or(p.Host, 30000+i)))
	}
	if r.Keep != 0 {
		a.write(jobs.Stdout, "serving\n")
		a.res.KeepUntil, a.res.Service = time.Now().Add(r.Keep.D()), &jobs.ServiceStatus{State: jobs.ServiceUp}
		return
	}
	code := 0
	verb, args := "", r.Command
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch text := strings.Join(args, " "); verb {
	case "echo":
		a.write(jobs.Stdout, text+"\n")
	case "err":
		a.write(jobs.Stderr, text+"\n")
	case "raw":
		s, err := strconv.Unquote(`"` + text + `"`)
		if err != nil {
			panic(err)
		}
		a.write(jobs.Stdout, s)
	case "exit":
		a.write(jobs.Stderr, "giving up\n")
		code, _ = strconv.Atoi(text)
		if code != 0 {
			a.fail(jobs.Fail(jobs.KindExitNonzero, nil, "read its output", "the container ended with exit code %d", code))
		}
	case "fail":
		a.fail(jobs.Fail(jobs.Kind(text), nil, "try something else", "it failed as asked"))
		return
	case "hang":
		a.write(jobs.Stdout, "hanging\n")
		a.untilCancelled()
		return
	}
	a.res.ExitCode = &code
	if code == 0 {
		a.collect(r.Outputs)
	}
}

// collect makes outputs: a file where the path has a dot in its last part, else
// a directory of a few things.
func (a *attempt) collect(paths []string) {
	for _, p := range paths {
		name := path.Base(p)
		entries := []contextstest.Entry{contextstest.File(name, "content of "+name+"\n")}
		if !strings.Contains(name, ".") {
			entries = []contextstest.Entry{
				contextstest.Dir(name), contextstest.File(name+"/one", "1"), contextstest.Dir(name + "/deep"),
				contextstest.File(name+"/deep/two", "22"), contextstest.Symlink(name+"/link", "/etc/passwd"), contextstest.Hardlink(name+"/same", name+"/one"),
			}
		}
		blob, err := artifacts.NewBlobs(a.store, "").Write(a.ctx, bytes.NewReader(contextstest.Tar(a.t, entries...)))
		if err != nil {
			panic(err)
		}
		a.res.Outputs = append(a.res.Outputs, jobs.Output{Path: p, Digest: blob.Digest, Size: blob.Size, Entries: len(entries)})
	}
}

func (a *attempt) fail(f *jobs.Failure) {
	f.Stage = jobs.StageRun
	a.res.Failure, a.res.State = f, f.Kind.Info().State
}

func (a *attempt) untilCancelled() {
	ctx, stop := context.WithCancel(a.ctx)
	defer stop()
	hints := a.mem.Cancellations(ctx)
	for {
		sig, err := a.mem.Renew(a.ctx, a.job.ID, a.nonce, time.Hour)
		if err != nil {
			return
		}
		if sig.CancelBy != "" {
			a.fail(jobs.Fail(jobs.KindCancelled, nil, "", "cancelled by %s", sig.CancelBy))
			return
		}
		if _, ok := <-hints; !ok {
			return
		}
	}
}

func (a *attempt) finish() {
	a.res.Log = a.stored()
	_ = a.mem.Finish(a.ctx, a.job.ID, a.nonce, a.res)
}

// stored puts the log so far into the store.
func (a *attempt) stored() jobs.LogInfo {
	blob, err := artifacts.NewBlobs(a.store, "").Write(a.ctx, strings.NewReader(string(a.log)))
	if err != nil || len(a.log) == 0 {
		return jobs.LogInfo{}
	}
	return jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}
}

// serve is the rest of the life of a service.
func (a *attempt) serve() {
	var e jobs.ServiceEnd
	if c := a.job.Spec.Run.Command; len(c) == 2 && c[0] == "exit" {
		code, _ := strconv.Atoi(c[1])
		e.Status = jobs.ServiceStatus{State: jobs.ServiceEnded, ExitCode: &code}
	} else {
		ctx, stop := context.WithCancel(a.ctx)
		defer stop()
		hints := a.mem.Cancellations(ctx)
		job, err := a.mem.Get(ctx, a.job.ID)
		for ; err == nil && job.CancelBy == ""; job, err = a.mem.Get(ctx, a.job.ID) {
			if _, ok := <-hints; !ok {
				return
			}
		}
		e.Status = jobs.ServiceStatus{State: jobs.ServiceCancelled, CancelledBy: job.CancelBy}
	}
	a.write(jobs.Stdout, "last words\n")
	e.Log = a.stored()
	_ = a.mem.EndService(a.ctx, a.job.ID, a.nonce, e)
}
