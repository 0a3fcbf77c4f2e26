package traces

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func at(s float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s * float64(time.Second))).UTC()
}

// value is an attribute as text.
func value(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	}
	return "?"
}

// drawn writes spans as a tree of lines, with their times and attributes.
func drawn(spans []*tracepb.Span) string {
	depth := map[string]int{}
	var b strings.Builder
	for _, s := range spans {
		d := 0
		if below, ok := depth[string(s.ParentSpanId)]; ok {
			d = below + 1
		}
		depth[string(s.SpanId)] = d
		second := func(n uint64) float64 { return time.Unix(0, int64(n)).Sub(at(0)).Seconds() }
		fmt.Fprintf(&b, "%s%s %g-%g", strings.Repeat("  ", d), s.Name, second(s.StartTimeUnixNano), second(s.EndTimeUnixNano))
		for _, a := range s.Attributes {
			fmt.Fprintf(&b, " %s=%s", a.Key[strings.LastIndexByte(a.Key, '.')+1:], value(a.Value))
		}
		if s.Status != nil {
			fmt.Fprintf(&b, " %s: %s", s.Status.Code, s.Status.Message)
		}
		for _, e := range s.Events {
			fmt.Fprintf(&b, " (%s)", e.Name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// built is what BuildKit says of steps.
func built(t *testing.T, steps ...*client.Vertex) []byte {
	t.Helper()
	for _, s := range steps {
		s.Digest = digest.FromString(s.Name)
	}
	raw, err := json.Marshal(client.SolveStatus{Vertexes: steps})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func when(s float64) *time.Time { t := at(s); return &t }

func traced() (jobs.Job, []jobs.Event) {
	f := jobs.Fail(jobs.KindExitNonzero, nil, "look", "the container ended with exit code 3")
	f.Stage = jobs.StageRun
	lost := jobs.Fail(jobs.KindWorkerLost, nil, "", "the worker was lost")
	job := jobs.NewJob("0192f0c1-2345-7abc-8def-0123456789ab", jobs.Spec{Name: "web", Tenant: "blue", Build: &jobs.Build{}, Run: &jobs.Run{}}.Normalize())
	job.State, job.Attempt, job.Created, job.Finished = jobs.Failed, 3, at(0), at(20)
	job.Result = &jobs.Result{State: jobs.Failed, Attempt: 3, Worker: "two", Host: "h2", ImageID: "sha256:1", Failure: f}
	job.Past = []jobs.PastAttempt{{Attempt: 1, Worker: "one", Host: "h1", Failure: lost}, {Attempt: 2, Worker: "one", Host: "h1", Reason: "the worker ends"}}
	event := func(s float64, kind jobs.EventType, text string) jobs.Event {
		return jobs.Event{At: at(s), Type: kind, Text: text}
	}
	return job, []jobs.Event{
		event(0, jobs.EventSubmitted, ""), event(1, jobs.EventClaimed, "one"), event(2, jobs.EventStage, "build"), event(3, jobs.EventLost, "one"),
		event(4, jobs.EventClaimed, "one"), event(5, jobs.EventReturned, ""),
		event(6, jobs.EventClaimed, "two"), event(7, jobs.EventStage, "fetch"), event(8, jobs.EventStage, "build"), event(12, jobs.EventStage, "run"), event(20, jobs.EventFinished, "failed"),
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	job, events := traced()
	b, lost := &build{}, &build{gaps: true}
	b.Lines(built(t,
		&client.Vertex{Name: "[1/2] FROM base", Started: when(8), Completed: when(8), Cached: true},
		&client.Vertex{Name: "[2/2] RUN make", Started: when(9), Completed: when(11), Error: "exit code: 2"}))
	got := drawn(spansOf(job, events, map[int]*build{1: lost, 3: b}))
	want := `BUILD web 0-20 name=BUILD name=web id=0192f0c1-2345-7abc-8def-0123456789ab result=failure queue=builds attempt=3 tenant=blue id=sha256:1 type=exit_nonzero STATUS_CODE_ERROR: the container ended with exit code 3
  queue 0-1 attempt=1 queue=builds
  attempt 1 1-3 attempt=1 name=one id=h1 type=worker_lost STATUS_CODE_ERROR: the worker was lost
    prepare 1-2 name=prepare id=0192f0c1-2345-7abc-8def-0123456789ab/1/prepare
    build 2-3 name=build id=0192f0c1-2345-7abc-8def-0123456789ab/1/build type=build gaps=true
  queue 3-4 attempt=2 queue=builds
  attempt 2 4-5 attempt=2 name=one id=h1 (handed back: the worker ends)
    prepare 4-5 name=prepare id=0192f0c1-2345-7abc-8def-0123456789ab/2/prepare
  queue 5-6 attempt=3 queue=builds
  attempt 3 6-20 attempt=3 name=two id=h2 type=exit_nonzero STATUS_CODE_ERROR: the container ended with exit code 3
    prepare 6-7 name=prepare id=0192f0c1-2345-7abc-8def-0123456789ab/3/prepare
    fetch 7-8 name=fetch id=0192f0c1-2345-7abc-8def-0123456789ab/3/fetch
    build 8-12 name=build id=0192f0c1-2345-7abc-8def-0123456789ab/3/build type=build
      [1/2] FROM base 8-8 cached=true
      [2/2] RUN make 9-11 STATUS_CODE_ERROR: exit code: 2
    run 12-20 name=run id=0192f0c1-2345-7abc-8def-0123456789ab/3/run type=exit_nonzero STATUS_CODE_ERROR: the container ended with exit code 3
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The IDs of a job's spans are its own, and the same whenever they are made; its trace is
// that of its submission, or the job's ID.
func TestIDs(t *testing.T) {
	t.Parallel()
	job, events := traced()
	ids := func(j jobs.Job) (all []string) {
		for _, s := range spansOf(j, events, nil) {
			all = append(all, hex.EncodeToString(s.TraceId)+" "+hex.EncodeToString(s.SpanId))
		}
		return all
	}
	own := ids(job)
	if again := ids(job); !slices.Equal(own, again) {
		t.Errorf("made again they are %q; were %q", again, own)
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(own))); len(sorted) != len(own) {
		t.Errorf("of %d spans %d have IDs of their own", len(own), len(sorted))
	}
	root := spansOf(job, events, nil)[0]
	if hex.EncodeToString(root.TraceId) != strings.ReplaceAll(job.ID, "-", "") || len(root.ParentSpanId) != 0 {
		t.Errorf("the trace is %x below %x; want the job's ID, and nothing above", root.TraceId, root.ParentSpanId)
	}
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	job.Traceparent = "00-" + trace + "-" + span + "-01"
	root = spansOf(job, events, nil)[0]
	if hex.EncodeToString(root.TraceId) != trace || hex.EncodeToString(root.ParentSpanId) != span {
		t.Errorf("the trace is %x below %x; want that of the submission", root.TraceId, root.ParentSpanId)
	}
	plain := job
	plain.ID, plain.Traceparent = "no-uuid", ""
	if id := TraceID(plain); id == [16]byte{} || id == TraceID(job) {
		t.Errorf("a job with another ID has the trace %x", id)
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	for kind, want := range map[jobs.Kind]string{
		jobs.KindExitNonzero: "failure", jobs.KindTimeout: "timeout", jobs.KindQueueTimeout: "timeout", jobs.KindDaemonLost: "error", jobs.KindSpecInvalid: "failure",
	} {
		if got := outcome(kind.Info().State, &jobs.Result{Failure: &jobs.Failure{Kind: kind}}); got != want {
			t.Errorf("%s: %s; want %s", kind, got, want)
		}
	}
	for state, want := range map[jobs.State]string{jobs.Succeeded: "success", jobs.Cancelled: "cancellation"} {
		if got := outcome(state, &jobs.Result{}); got != want {
			t.Errorf("%s: %s; want %s", state, got, want)
		}
	}
}
