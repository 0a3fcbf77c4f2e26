package traces_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/traces"
	"github.com/slipway-farm/slipway/internal/traces/tracestest"
)

// What OpenTelemetry's variables say is done, and what cannot work is told.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const endpoint, own = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for _, tt := range []struct {
		name string
		env  map[string]string
		on   bool
		err  string
	}{
		{"nothing", nil, false, ""},
		{"an endpoint", map[string]string{endpoint: "http://c:4318"}, true, ""},
		{"one for traces", map[string]string{own: "https://c/v1/traces"}, true, ""},
		{"all is off", map[string]string{endpoint: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, false, ""},
		{"traces are off", map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		{"named", map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{"another exporter", map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "zipkin"}, false, `OTEL_TRACES_EXPORTER is "zipkin"; want otlp`},
		{"no URL", map[string]string{endpoint: "c:4318"}, false, endpoint + ` is "c:4318"; want a URL`},
		{"no URL for traces", map[string]string{endpoint: "http://c:4318", own: "c"}, false, own + ` is "c"; want a URL`},
		{"gRPC", map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"; want http/protobuf`},
		{"gRPC, but not for traces", map[string]string{endpoint: "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, on, err := traces.Environment(t.Context(), func(name string) string { return tt.env[name] }, "farm", "v1")
			if on != tt.on || on != (c.Uploader != nil) {
				t.Errorf("traces are on: %t; want %t", on, tt.on)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v; want %q", err, tt.err)
			}
		})
	}
}

// A collector gets what it is sent, with the headers that the environment names for it.
func TestUpload(t *testing.T) {
	collector := tracestest.Serve(t, nil)
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=builds",
	}
	for name, value := range env { // OpenTelemetry's client reads them
		t.Setenv(name, value)
	}
	c, on, err := traces.Environment(t.Context(), func(name string) string { return env[name] }, "blue", "v1")
	if err != nil || !on {
		t.Fatalf("traces are on: %t, %v", on, err)
	}
	span := &tracepb.Span{Name: "RUN web", TraceId: make([]byte, 16), SpanId: make([]byte, 8)}
	if err := c.UploadTraces(t.Context(), []*tracepb.ResourceSpans{{Resource: c.Resource, ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{span}}}}}); err != nil {
		t.Fatal(err)
	}
	sent, header := collector.Last()
	if sent == nil || len(collector.Spans()) != 1 || header.Get("Api-Key") != "secret" {
		t.Fatalf("the collector got %v with %v", sent, header)
	}
	got := map[string]string{}
	for _, a := range sent.Resource.Attributes {
		got[a.Key] = a.Value.GetStringValue()
	}
	want := map[string]string{"service.name": "builds", "service.namespace": "blue", "service.version": "v1", "deployment.environment.name": "test"}
	if !maps.Equal(got, want) {
		t.Errorf("it says of where it comes from %v; want %v (%v)", got, want, slices.Sorted(maps.Keys(got)))
	}
}
