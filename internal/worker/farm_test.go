package worker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pins"
	"github.com/slipway-farm/slipway/internal/worker"
)

const patience = 20 * time.Second

// farm is everything around a worker, in memory.
type farm struct {
	t      *testing.T
	memory *jobstest.Memory
	queue  *jobstest.Queue
	engine *enginetest.Fake
	store  *artifactstest.Store
	svc    *jobs.Service
	// files is the context that every build gets.
	files map[string]string
	fetch func(ctx context.Context, c jobs.Context) (io.ReadCloser, error)
	// observer is told what happens, nil for none.
	observer worker.Observer
	// names are the rules of names that jobs may give.
	names images.Rules
	// admit judges images.
	admit func(refs []string) error
	// admitJob judges documents, nil for none.
	admitJob func(context.Context, jobs.Spec) error
	room     func() error
	// checkStore looks at the artifact store, nil for not.
	checkStore func(ctx context.Context, prove bool) error
	// provenance is attached to what is pushed, nil for nothing.
	provenance worker.Provenance
	// builds knows builds by their keys; memory does when it is nil.
	builds jobs.Builds
	// hosts is the registry, nil for none.
	hosts jobs.Hosts
	// orders has the orders for hosts; memory has them when it is nil.
	orders jobs.Orders
	// unhinted has workers miss all hints.
	unhinted bool
	// seat is the host's, nil for a host that nothing else can be; others is what it
	// knows of other hosts, nil for nothing.
	seat   worker.Seat
	others worker.Farm
	probe  func(context.Context, map[string]string) error
	state  string
	// uptime is the host's clock, nil for one that begins with the worker.
	uptime func() time.Duration
	// intake takes the place of one that hands out what is in queue; nil does not.
	intake jobs.Intake
	// at is called around every call that a worker makes for its jobs; nil for none.
	at faults.At
	// putFails holds a func() error, the error of the artifact store's Put.
	putFails atomic.Value
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	f := &farm{
		t: t, memory: jobstest.NewMemory(jobstest.Options{}), queue: jobstest.NewQueue(), engine: enginetest.New(),
		store: artifactstest.NewStore(), state: t.TempDir(), files: map[string]string{},
	}
	f.admit = func([]string) error { return nil }
	f.svc = jobs.NewService(f.memory, f.queue, jobstest.NewIDs())
	f.fetch = func(context.Context, jobs.Context) (io.ReadCloser, error) {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for name, content := range f.files {
			_ = tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
			_, _ = io.WriteString(tw, content)
		}
		_ = tw.Close()
		return io.NopCloser(&b), nil
	}
	return f
}

// source serves file: and cas: references with what fetch says.
type source struct{ f *farm }

func (source) Schemes() []string { return []string{"file", "cas"} }

func (s source) Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
	return s.f.fetch(ctx, c)
}

// running is a worker at work.
type running struct {
	*worker.Worker
	stop, hurry context.CancelFunc
	done        chan error
}

// judge is an admission with the default rules of Dockerfiles and those of the test.
type judge struct {
	worker.Fetch
	f *farm
}

func (j judge) Job(ctx context.Context, job jobs.Spec) error {
	if j.f.admitJob == nil {
		return nil
	}
	return j.f.admitJob(ctx, job)
}

func (judge) Build(_ context.Context, _ jobs.Spec, b jobs.Build, d dockerfile.File) (dockerfile.Admitted, error) {
	sources, err := dockerfile.Check(d, b, dockerfile.Defaults())
	return dockerfile.Admitted{Build: b, Sources: sources}, err
}

func (j judge) Images(_ context.Context, refs ...string) error { return j.f.admit(refs) }

// machine is a host with what the test had to say of it when the worker began.
type machine struct {
	worker.Trusted
	uptime     func() time.Duration
	room       func() error
	checkStore func(ctx context.Context, prove bool) error
	probe      func(ctx context.Context, labels map[string]string) error
}

func (m machine) Uptime() time.Duration {
	if m.uptime == nil {
		return m.Trusted.Uptime()
	}
	return m.uptime()
}

func (m machine) Room() error {
	if m.room == nil {
		return nil
	}
	return m.room()
}

func (m machine) Store(ctx context.Context, prove bool) error {
	if m.checkStore == nil {
		return nil
	}
	return m.checkStore(ctx, prove)
}

func (m machine) Probe(ctx context.Context, labels map[string]string) error {
	if m.probe == nil {
		return nil
	}
	return m.probe(ctx, labels)
}

// start runs a worker until the test ends or stop is called.
func (f *farm) start(change ...func(*worker.Options)) *running {
	f.t.Helper()
	o := worker.Defaults()
	o.Name, o.HostID, o.StateDir, o.Slots = "one", "host-1", f.state, 4
	o.Renew = 20 * time.Millisecond
	for _, c := range change {
		c(&o)
	}
	claims := jobs.Claims(f.memory)
	if f.at != nil {
		claims = faults.Claims(claims, f.at)
	}
	tasks := f.intake
	if tasks == nil {
		tasks = jobstest.NewIntake(f.queue, jobstest.IntakeOptions{Queue: jobs.DefaultQueue, Again: 10 * time.Millisecond})
	}
	f.t.Cleanup(tasks.StopTaking)
	if f.unhinted {
		claims = unhinted{claims}
	}
	orders := f.orders
	if orders == nil {
		orders = f.memory
	}
	known := f.builds
	if known == nil {
		known = f.memory
	}
	w := worker.New(nil, worker.Deps{
		Claims: claims, Records: f.memory, Queue: f.queue, Engine: f.engine,
		Blobs: artifacts.NewBlobs(faults.Artifacts(f.store, func(_ context.Context, c faults.Call) error {
			if fails, ok := f.putFails.Load().(func() error); ok && c.Name == "put" && !c.After {
				return fails()
			}
			return nil
		}), f.t.TempDir()),
		Intake:    tasks,
		Admission: judge{worker.Fetch(contexts.NewFetcher(contexts.Options{TempDir: f.t.TempDir()}, source{f}).Fetch), f},
		Host:      machine{worker.NewTrusted(), f.uptime, f.room, f.checkStore, f.probe},
		Observer:  f.observer,
		Images:    images.New(nil, f.engine, images.NewNotes(filepath.Join(f.state, "images"), enginetest.NormalName), func() images.Rules { return f.names }),
		Pins:      pins.New(nil, f.engine, f.memory),
		Builds:    known,
		Hosts:     f.hosts, Orders: orders, Provenance: f.provenance, Seat: f.seat, Farm: f.others,
	}, o)
	ctx, stop := context.WithCancel(context.Background())
	hurryCtx, hurry := context.WithCancel(context.Background())
	r := &running{Worker: w, stop: stop, hurry: hurry, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx, hurryCtx) }()
	f.t.Cleanup(func() {
		stop()
		hurry()
		r.end(f.t)
	})
	return r
}

// end waits for the end of the worker.
func (r *running) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		r.done <- nil
	case <-time.After(patience):
		var where bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&where, 1)
		t.Errorf("the worker did not end; it is at\n%s", where.String())
	}
}

func (f *farm) submit(spec jobs.Spec) string {
	f.t.Helper()
	sub, err := f.svc.Submit(f.t.Context(), spec)
	if err != nil {
		f.t.Fatalf("Submit: %v", err)
	}
	return sub.ID
}

func (f *farm) job(id string) jobs.Job {
	f.t.Helper()
	job, err := f.svc.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return job
}

// ended waits for the job's end and checks that nothing of it is left.
func (f *farm) ended(id string) jobs.Job {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	job, err := f.svc.Wait(ctx, id)
	if err != nil {
		f.t.Fatalf("wait for %s, which is %s: %v", id, job.State, err)
	}
	return job
}

// empty waits until no container and no spool file is left.
func (f *farm) empty() {
	f.t.Helper()
	f.eventually("containers and spool files are gone", func() bool {
		spools, err := os.ReadDir(filepath.Join(f.state, "spool"))
		return len(f.engine.Containers()) == 0 && (err != nil || len(spools) == 0)
	}, func() string {
		spools, err := os.ReadDir(filepath.Join(f.state, "spool"))
		return fmt.Sprintf("there are %+v and %v (%v)", f.engine.Containers(), spools, err)
	})
}

// eventually waits until ok holds. found adds to the complaint what there was instead.
func (f *farm) eventually(what string, ok func() bool, found ...func() string) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.NewTicker(2 * time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			for _, text := range found {
				what += ": " + text()
			}
			f.t.Fatalf("not in time: %s", what)
		}
	}
}

// stage waits until the job runs and has a container that is running.
func (f *farm) containerRuns(id string) {
	f.t.Helper()
	f.eventually("the container of "+id+" runs", func() bool {
		for _, c := range f.engine.Containers() {
			if c.Labels["slipway.job"] == id && c.Status == "running" {
				return true
			}
		}
		return false
	})
}

// log returns the stored log of an ended job by stream.
func (f *farm) log(job jobs.Job) map[jobs.Stream]string {
	f.t.Helper()
	return f.logOf(job.Result.Log)
}

func (f *farm) logOf(l jobs.LogInfo) map[jobs.Stream]string {
	f.t.Helper()
	out := map[jobs.Stream]string{}
	if l.Digest == "" {
		return out
	}
	r, err := artifacts.NewBlobs(f.store, "").Read(f.t.Context(), l.Digest)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	for fr := jobs.NewFrameReader(r); ; {
		frame, err := fr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			f.t.Fatal(err)
		}
		out[frame.Stream] += string(frame.Data)
	}
}

func shell(command string) jobs.Spec {
	return jobs.Spec{Run: &jobs.Run{Image: "busybox", Command: []string{"sh", "-c", command}}}
}

func wantFailure(t *testing.T, job jobs.Job, state jobs.State, stage jobs.Stage, kind jobs.Kind, text string) {
	t.Helper()
	f := job.Result.Failure
	if job.State != state || f == nil || f.Stage != stage || f.Kind != kind || !strings.Contains(f.Message, text) {
		t.Errorf("job is %s, failure %+v; want %s, %s in %s, %q", job.State, f, state, kind, stage, text)
	}
}

// engineContainer is what a worker of host-1 would create for attempt 1.
func engineContainer(name, id string, spec jobs.Spec) engine.Container {
	return engine.Container{Name: name, Image: "busybox", Spec: *spec.Run, Labels: map[string]string{
		engine.LabelFarm: "default", engine.LabelHost: "host-1", engine.LabelJob: id, engine.LabelAttempt: "1",
	}}
}

// spoolFirstLine starts the container and leaves its first line in the spool
// file, as a worker that died a moment later does.
func (f *farm) spoolFirstLine(id, container string) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	first := make(chan []byte, 100)
	proc, err := f.engine.Start(ctx, container, engine.Output{Stdout: writerFunc(func(p []byte) { first <- bytes.Clone(p) }), Stderr: io.Discard})
	if err != nil {
		f.t.Fatal(err)
	}
	line := <-first
	proc.Detach()
	dir := filepath.Join(f.state, "spool")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	whole := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Now(), Data: line})
	torn := whole[:len(whole)-1] // it died while it wrote a second frame
	if err := os.WriteFile(filepath.Join(dir, id+"-a1.log"), append(whole, torn...), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

type writerFunc func(p []byte)

func (w writerFunc) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
