//go:build integration

package e2e_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/traces/tracestest"
)

// A caller's trace goes on through the queue to each step of the build, whichever way the
// job came, with the attempts that were lost; each span is once in it.
func TestTraces(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	l, err := hostA.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	collector := tracestest.Serve(t, l)
	f.vars = append(f.vars, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	w := f.worker(hostA, "one", "--slots", "4", "--lease", "6s")
	const caller = "00f067aa0ba902b7"
	trace := func(n int) string { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02d", n) }
	in := func(n int) string { return "00-" + trace(n) + "-" + caller + "-01" }

	f.vars = append(f.vars, "TRACEPARENT="+in(1))
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo built >/built\nRUN sleep 1\nCMD [\"cat\", \"/built\"]\n"})
	built := f.submit("--name", "web", dir, "--run")
	f.ended(built)

	f.vars[len(f.vars)-1] = "TRACEPARENT=" + in(2)
	again := f.submit("--retries", "1", "--image", hosttest.BusyboxTag, "--", "sh", "-c", "exit 7")
	f.vars = f.vars[:len(f.vars)-1]

	strange := newStranger(f)
	payload := fmt.Sprintf(`{"id": "stranger", "spec": %s}`, echo("hello"))
	task := asynq.NewTaskWithHeaders("slipway:job", []byte(payload), map[string]string{"traceparent": in(3)})
	if _, err := strange.client.EnqueueContext(t.Context(), task, asynq.Queue("builds")); err != nil {
		t.Fatal(err)
	}
	f.known("stranger")
	f.ended(again)

	lost := f.submit("--init", "--image", hosttest.BusyboxTag, "--", "sleep", "3")
	f.eventually(20*time.Second, "the job runs", func() bool { return f.job(lost).State == jobs.Running && f.job(lost).Container.ID != "" })
	w.Kill()
	w.start() // it goes on with the container
	f.ended(lost)

	of := func(id string) (spans []*tracepb.Span) {
		for _, s := range collector.Spans() {
			if hex.EncodeToString(s.TraceId) == id {
				spans = append(spans, s)
			}
		}
		return spans
	}
	own := strings.ReplaceAll(lost, "-", "")
	for _, tt := range []struct {
		job, trace, parent string
		names              []string
	}{
		{built, trace(1), caller, []string{"BUILD web", "queue", "attempt 1", "build", "[2/3] RUN echo built >/built", "[3/3] RUN sleep 1", "run"}},
		{again, trace(2), caller, []string{"RUN job", "attempt 1", "attempt 2", "run"}},
		{"stranger", trace(3), caller, []string{"RUN stranger", "queue", "attempt 1", "run"}},
		{lost, own, "", []string{"RUN job", "queue", "attempt 1", "run"}},
	} {
		f.eventually(30*time.Second, "the trace of job "+tt.job+" is sent", func() bool { return len(of(tt.trace)) > 0 })
		tree := checkTrace(t, of(tt.trace), tt.parent)
		for _, name := range tt.names {
			if !tree[name] {
				t.Errorf("job %s has no span %q; it has %v", tt.job, name, tree)
			}
		}
	}
	if job := f.job(built); string(job.Traceparent) != in(1) {
		t.Errorf("the record has the trace %q; want %q", job.Traceparent, in(1))
	}
	clean(t, hostA, before)
}

// checkTrace returns the names of the spans of one job. Each has an ID of its own, stands
// below another one and within its time, but for the first.
func checkTrace(t *testing.T, spans []*tracepb.Span, parent string) map[string]bool {
	t.Helper()
	names, known := map[string]bool{}, map[string]*tracepb.Span{}
	for i, s := range spans {
		names[s.Name] = true
		if known[string(s.SpanId)] != nil {
			t.Errorf("the span %s came twice", s.Name)
		}
		known[string(s.SpanId)] = s
		above := known[string(s.ParentSpanId)]
		switch {
		case i == 0:
			if got := hex.EncodeToString(s.ParentSpanId); got != parent {
				t.Errorf("the job's span stands below %q; want %q", got, parent)
			}
		case above == nil:
			t.Errorf("the span %s stands below none", s.Name)
		case s.StartTimeUnixNano > s.EndTimeUnixNano, s.StartTimeUnixNano+1e6 < above.StartTimeUnixNano, s.EndTimeUnixNano > above.EndTimeUnixNano+1e6:
			t.Errorf("the span %s (%d to %d) is not within %s (%d to %d)", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano, above.Name, above.StartTimeUnixNano, above.EndTimeUnixNano)
		}
	}
	return names
}
