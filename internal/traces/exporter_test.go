package traces

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/client"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// collector notes what it is sent.
type collector struct {
	mu sync.Mutex
	// refuse is what it answers with, bad a job of which it takes nothing.
	refuse error
	bad    string
	calls  int
	spans  []*tracepb.Span
}

func (c *collector) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; c.refuse != nil {
		return c.refuse
	}
	if c.bad != "" && strings.Contains(fmt.Sprint(spans), strconv.Quote(c.bad)) {
		return errors.New("400 Bad Request")
	}
	for _, r := range spans {
		for _, s := range r.ScopeSpans {
			c.spans = append(c.spans, s.Spans...)
		}
	}
	return nil
}

// took is which jobs traces came of, and how often it was called, since the last time.
func (c *collector) took() (ids []string, calls int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		for _, a := range s.Attributes {
			if a.Key == "cicd.pipeline.run.id" {
				ids = append(ids, value(a.Value))
			}
		}
	}
	calls = c.calls
	c.spans, c.calls = nil, 0
	return ids, calls
}

func (c *collector) answer(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = err
}

type farm struct {
	*jobstest.Memory
	*collector
	t     *testing.T
	blobs *artifacts.Blobs
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	store, err := dirstore.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &farm{jobstest.NewMemory(jobstest.Options{Now: time.Now}), &collector{}, t, artifacts.NewBlobs(store, "")}
}

// exporter runs one until the test ends or stop is called.
func (f *farm) exporter(change ...func(*Deps)) (e *Exporter, stop func()) {
	f.t.Helper()
	d := Deps{Endings: f.Memory, Records: f.Memory, Blobs: f.blobs, Collector: Collector{Uploader: f.collector}}
	for _, c := range change {
		c(&d)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	e = New(nil, d, Options{Nonce: "n"})
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	f.t.Cleanup(stop)
	return e, stop
}

// end has a worker end a job.
func (f *farm) end(j jobs.Job, r jobs.Result) {
	f.t.Helper()
	j.Spec.Run = &jobs.Run{Image: "a"}
	j.Spec = j.Spec.Normalize()
	if _, err := f.Create(f.t.Context(), []jobs.Job{j}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.Claim(f.t.Context(), j.Ticket(), jobs.Owner{Worker: "w", Host: "h", Nonce: "n-" + j.ID, Lease: time.Hour}); err != nil {
		f.t.Fatal(err)
	}
	r.Attempt = 1
	if err := f.Finish(f.t.Context(), j.ID, "n-"+j.ID, r); err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) succeed(ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		f.end(jobs.NewJob(id, jobs.Spec{}), jobs.Result{State: jobs.Succeeded})
	}
}

// wants waits and compares what the collector took.
func (f *farm) wants(wait time.Duration, want ...string) {
	f.t.Helper()
	time.Sleep(wait) // in a bubble
	synctest.Wait()
	if got, _ := f.took(); !slices.Equal(got, want) {
		f.t.Errorf("the collector took %q; want %q", got, want)
	}
}

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func TestExport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.succeed("1", "2")
		e, _ := f.exporter()
		f.wants(0, "1", "2")
		f.succeed("3")
		e.Wake()
		f.wants(0, "3")
		f.succeed("4") // nothing wakes it
		f.wants(time.Minute, "4")
		f.wants(time.Minute)
	})
}

// What a caller does not want traced, and what ended before anyone looked, is passed over.
func TestWhatIsNotTraced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.succeed("old")
		time.Sleep(oldest + time.Hour)
		off := jobs.NewJob("off", jobs.Spec{})
		off.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
		f.end(off, jobs.Result{State: jobs.Succeeded})
		f.succeed("1")
		f.exporter()
		f.wants(0, "1")
	})
}

// While the collector is away all waits; what it refuses for good is passed over after a while.
func TestCollectorRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.answer(errors.New("connection refused"))
		e, _ := f.exporter()
		f.succeed("1")
		e.Wake()
		f.wants(10 * time.Minute)
		f.answer(nil)
		f.wants(15*time.Second, "1")

		f.bad = "bad"
		f.succeed("before", "bad", "behind")
		e.Wake()
		f.wants(14*time.Minute, "before")
		f.wants(2*time.Minute, "behind")
	})
}

// More jobs that end do not make the exporter ask a collector that does not answer more often.
func TestCollectorIsSpared(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.answer(errors.New("503"))
		e, _ := f.exporter()
		for i := range 60 {
			f.succeed(fmt.Sprint(i))
			e.Wake()
			time.Sleep(time.Second)
		}
		if _, calls := f.took(); calls > 7 {
			t.Errorf("in a minute the collector was asked %d times", calls)
		}
	})
}

// A process that ends between sending and saying so leads to the same spans once more.
func TestSentTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFarm(t)
		f.succeed("1")
		_, stop := f.exporter(func(d *Deps) { d.Endings = forgetful{d.Endings} })
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		first := drawn(f.spans)
		if ids, _ := f.took(); !slices.Equal(ids, []string{"1"}) {
			t.Fatalf("at first the collector took %q", ids)
		}
		f.exporter()
		time.Sleep(time.Second)
		synctest.Wait()
		if again := drawn(f.spans); again != first || first == "" {
			t.Errorf("again it took\n%s\nand at first\n%s", again, first)
		}
	})
}

// forgetful loses its Redis when something is acknowledged.
type forgetful struct{ jobs.Endings }

func (forgetful) Acknowledge(context.Context, string, string, jobs.EndedPage) (bool, error) {
	return false, errors.New("connection reset")
}

// The steps of a build come from the stored log, with those of attempts before, and from the
// live log where a service keeps that from being stored. A log that is lost is told of.
func TestStepsOfBuilds(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	log := func(step string) []byte {
		return slices.Concat(
			jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.BuildStatus, At: at(0), Data: built(t, &client.Vertex{Name: step, Started: when(1), Completed: when(2)})}),
			jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: at(3), Data: []byte("hello")}),
		)
	}
	stored := func(log []byte) jobs.LogInfo {
		blob, err := f.blobs.Write(t.Context(), bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		return jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}
	}
	e := New(nil, Deps{Endings: f.Memory, Records: f.Memory, Blobs: f.blobs}, Options{})
	steps := func(j jobs.Job) string {
		j.Spec.Build = &jobs.Build{}
		_, builds, err := e.read(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for attempt := 1; attempt <= j.Attempt; attempt++ {
			if b := builds[attempt]; b != nil {
				for _, s := range b.Steps() {
					all = append(all, fmt.Sprint(attempt, " ", s.Name))
				}
				if b.gaps {
					all = append(all, fmt.Sprint(attempt, " gaps"))
				}
			}
		}
		return strings.Join(all, ", ")
	}
	f.succeed("1", "2")
	job := jobs.NewJob("1", jobs.Spec{})
	job.Attempt, job.Result = 3, &jobs.Result{Attempt: 3, Log: stored(log("last"))}
	job.Past = []jobs.PastAttempt{{Attempt: 1, Log: stored(log("first"))}, {Attempt: 2, Log: jobs.LogInfo{Digest: "sha256:" + strings.Repeat("0", 64), Size: 100}}}
	if got := steps(job); got != "1 first, 2 gaps, 3 last" {
		t.Errorf("of the store: %s", got)
	}

	live := jobs.NewJob("live", jobs.Spec{Run: &jobs.Run{Image: "a"}}.Normalize())
	if _, err := f.Create(t.Context(), []jobs.Job{live}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Claim(t.Context(), live.Ticket(), jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := f.AppendLog(t.Context(), live.ID, "n", jobs.LogChunk{Attempt: 1, Data: log("now")}); err != nil {
		t.Fatal(err)
	}
	live.Result = &jobs.Result{Attempt: 1}
	if got := steps(live); got != "1 now" {
		t.Errorf("of the live log: %s", got)
	}
}
