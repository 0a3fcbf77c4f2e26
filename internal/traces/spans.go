package traces

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/timeline"
)

// Attributes for which OpenTelemetry's conventions for CI/CD have no name.
const (
	attemptKey = attribute.Key("slipway.attempt")
	queueKey   = attribute.Key("slipway.queue")
	tenantKey  = attribute.Key("slipway.tenant")
	imageKey   = attribute.Key("slipway.image.id")
	cachedKey  = attribute.Key("slipway.build.cached")
	gapsKey    = attribute.Key("slipway.log.gaps")
)

// longest bounds a text in a span, in bytes.
const longest = 300

func scope() *commonpb.InstrumentationScope {
	return &commonpb.InstrumentationScope{Name: "github.com/slipway-farm/slipway"}
}

// tree makes the spans of one job.
type tree struct {
	job   jobs.Job
	trace [16]byte
	spans []*tracepb.Span
}

// TraceID is the trace of a job: that of its submission, else the job's own ID, which is
// made into one when it is no UUID.
func TraceID(j jobs.Job) [16]byte {
	if trace, _, _ := j.Traceparent.IDs(); j.Traceparent != "" {
		return trace
	}
	if id, err := uuid.Parse(j.ID); err == nil {
		return id
	}
	sum := sha256.Sum256([]byte(j.ID))
	return [16]byte(sum[:])
}

// spansOf returns the spans of a job that has ended, each after the one it stands below.
func spansOf(j jobs.Job, events []jobs.Event, builds map[int]*build) []*tracepb.Span {
	t := &tree{job: j, trace: TraceID(j)}
	root := t.root()
	for _, part := range timeline.Of(j, events, j.Finished) {
		if part.Queue {
			t.add(root, fmt.Sprintf("queue %d", part.Attempt), "queue", part.Span, attemptKey.Int(part.Attempt), queueKey.String(j.Spec.Queue))
			continue
		}
		t.attempt(root, part, builds[part.Attempt])
	}
	return t.spans
}

func (t *tree) root() *tracepb.Span {
	j := t.job
	action := semconv.CICDPipelineActionNameRun
	if j.Spec.Build != nil {
		action = semconv.CICDPipelineActionNameBuild
	}
	name := cmp.Or(j.Spec.Name, "job")
	s := t.add(nil, "", action.Value.AsString()+" "+name, timeline.Span{From: j.Created, Until: j.Finished},
		action, semconv.CICDPipelineName(name), semconv.CICDPipelineRunID(j.ID), semconv.CICDPipelineResultKey.String(outcome(j.State, j.Result)),
		queueKey.String(j.Spec.Queue), attemptKey.Int(j.Attempt), tenantKey.String(j.Spec.Tenant))
	s.Kind = tracepb.Span_SPAN_KIND_SERVER
	if _, parent, _ := j.Traceparent.IDs(); j.Traceparent != "" {
		s.ParentSpanId = parent[:]
	}
	if r := j.Result; r != nil {
		describe(s, imageKey.String(r.ImageID))
		failed(s, r.Failure)
	}
	return s
}

// attempt adds an attempt with its stages and the steps of its build.
func (t *tree) attempt(root *tracepb.Span, part timeline.Part, b *build) {
	n := part.Attempt
	worker, host, failure, reason := t.became(n)
	path := fmt.Sprintf("attempt %d", n)
	s := t.add(root, path, path, part.Span, attemptKey.Int(n), semconv.CICDWorkerName(worker), semconv.CICDWorkerID(host))
	failed(s, failure)
	if reason != "" {
		s.Events = append(s.Events, &tracepb.Span_Event{TimeUnixNano: nano(part.Until), Name: "handed back: " + jobs.Line(reason, longest)})
	}
	for i, stage := range part.Stages {
		name := cmp.Or(string(stage.Name), "prepare")
		path := fmt.Sprintf("attempt %d/%d %s", n, i, name)
		below := t.add(s, path, name, stage.Span, semconv.CICDPipelineTaskName(name), semconv.CICDPipelineTaskRunID(fmt.Sprintf("%s/%d/%s", t.job.ID, n, name)))
		if stage.Name != "" && failure != nil && failure.Stage == stage.Name {
			failed(below, failure)
		}
		if stage.Name == jobs.StageBuild && b != nil {
			t.steps(below, path, stage.Span, b)
		}
	}
}

func (t *tree) steps(stage *tracepb.Span, path string, span timeline.Span, b *build) {
	describe(stage, semconv.CICDPipelineTaskTypeBuild)
	if b.gaps {
		describe(stage, gapsKey.Bool(true))
	}
	for _, step := range timeline.Steps(b.Steps(), span) {
		s := t.add(stage, fmt.Sprintf("%s/%d", path, step.Number), jobs.Line(step.Name, longest), step.Span)
		if step.Cached {
			describe(s, cachedKey.Bool(true))
		}
		if step.Error != "" {
			s.Status = wrong(step.Error)
		}
	}
}

// became is what became of an attempt, and where it ran.
func (t *tree) became(attempt int) (worker, host string, failure *jobs.Failure, reason string) {
	for _, p := range t.job.Past {
		if p.Attempt == attempt {
			return p.Worker, p.Host, p.Failure, p.Reason
		}
	}
	if r := t.job.Result; r != nil && attempt == t.job.Attempt {
		return cmp.Or(r.Worker, t.job.Worker), cmp.Or(r.Host, t.job.Host), r.Failure, ""
	}
	return "", "", nil, ""
}

// add adds a span below another one. Its ID is made of its path in the job: whatever sends
// it once more, and whenever, sends the same.
func (t *tree) add(below *tracepb.Span, path, name string, at timeline.Span, attrs ...attribute.KeyValue) *tracepb.Span {
	sum := sha256.Sum256([]byte(t.job.ID + "\x00" + path))
	s := &tracepb.Span{
		TraceId: t.trace[:], SpanId: sum[:8], Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL, Flags: 1,
		StartTimeUnixNano: nano(at.From), EndTimeUnixNano: nano(at.Until),
	}
	if below != nil {
		s.ParentSpanId = below.SpanId
	}
	describe(s, attrs...)
	t.spans = append(t.spans, s)
	return s
}

func nano(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

// describe adds attributes, but for texts that say nothing.
func describe(s *tracepb.Span, attrs ...attribute.KeyValue) {
	s.Attributes = append(s.Attributes, pairs(attrs)...)
}

func pairs(attrs []attribute.KeyValue) []*commonpb.KeyValue {
	var all []*commonpb.KeyValue
	for _, a := range attrs {
		v := &commonpb.AnyValue{}
		switch a.Value.Type() {
		case attribute.BOOL:
			v.Value = &commonpb.AnyValue_BoolValue{BoolValue: a.Value.AsBool()}
		case attribute.INT64:
			v.Value = &commonpb.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
		default:
			text := jobs.Line(a.Value.String(), longest)
			if text == "" {
				continue
			}
			v.Value = &commonpb.AnyValue_StringValue{StringValue: text}
		}
		all = append(all, &commonpb.KeyValue{Key: string(a.Key), Value: v})
	}
	return all
}

// failed marks a span with why it did not succeed.
func failed(s *tracepb.Span, f *jobs.Failure) {
	if f == nil {
		return
	}
	s.Status = wrong(f.Message)
	describe(s, semconv.ErrorTypeKey.String(string(f.Kind)))
}

func wrong(text string) *tracepb.Status {
	return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: jobs.Line(text, longest)}
}

// outcome is the end of a job in OpenTelemetry's words: a failure is the job's own, an error
// the farm's.
func outcome(state jobs.State, r *jobs.Result) string {
	switch {
	case state == jobs.Succeeded:
		return semconv.CICDPipelineResultSuccess.Value.AsString()
	case state == jobs.Cancelled:
		return semconv.CICDPipelineResultCancellation.Value.AsString()
	case r != nil && r.Failure != nil && r.Failure.Kind.Info().Exit == jobs.ExitTimeout:
		return semconv.CICDPipelineResultTimeout.Value.AsString()
	case r != nil && r.Failure != nil && r.Failure.Kind.Info().Fault == jobs.InfraFault:
		return semconv.CICDPipelineResultError.Value.AsString()
	}
	return semconv.CICDPipelineResultFailure.Value.AsString()
}
