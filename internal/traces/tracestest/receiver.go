// Package tracestest has a collector for tests.
package tracestest

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Receiver is a collector that keeps what it is sent by OTLP over HTTP.
type Receiver struct {
	// URL is its endpoint.
	URL string

	mu  sync.Mutex
	all []*tracepb.ResourceSpans
	// header is that of the last request.
	header http.Header
}

// Serve starts a Receiver, until the test ends, on l; nil is one on loopback.
func Serve(t testing.TB, l net.Listener) *Receiver {
	t.Helper()
	r := &Receiver{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body io.Reader = req.Body
		if req.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(body)
			if err != nil {
				t.Errorf("a trace that says it is compressed: %v", err)
				return
			}
			body = unzipped
		}
		raw, err := io.ReadAll(body)
		sent := &collectorpb.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(raw, sent)
		}
		if err != nil || req.Method != http.MethodPost || req.URL.Path != "/v1/traces" {
			t.Errorf("%s %s with what is no trace: %v", req.Method, req.URL, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all, r.header = append(r.all, sent.ResourceSpans...), req.Header
	}))
	if l != nil {
		_ = server.Listener.Close()
		server.Listener = l
	}
	server.Start()
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Spans returns all that was sent, in its order.
func (r *Receiver) Spans() (spans []*tracepb.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range r.all {
		for _, scope := range resource.ScopeSpans {
			spans = append(spans, scope.Spans...)
		}
	}
	return spans
}

// Last returns the last that was sent as one, and the header of its request.
func (r *Receiver) Last() (*tracepb.ResourceSpans, http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil, nil
	}
	return r.all[len(r.all)-1], r.header
}
