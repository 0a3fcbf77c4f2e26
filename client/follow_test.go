package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A log that is followed through connections that are cut is whole, and nothing comes twice.
func TestFollowIsCut(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t)
	f.client.HTTP.CloseIdleConnections()
	f.network.Cut(10, 3_000, 700, 40_000, 90_001)
	const lines = 3000
	w := f.Claim(job.ID)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range lines {
			w.Write(jobs.Stdout, fmt.Sprintf("line %d\n", i))
			if i%500 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		w.Finish(jobs.Result{State: jobs.Succeeded, ImageID: "sha256:abc"})
	}()
	var got, want strings.Builder
	ended, err := f.client.Follow(t.Context(), job.ID, "", func(e Entry) { got.Write(e.Bytes()) })
	if err != nil {
		t.Fatal(err)
	}
	<-written
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if got.String() != want.String() {
		t.Errorf("%d bytes came, want %d", got.Len(), want.Len())
	}
	if ended.State != Succeeded || ended.Result.ImageID != "sha256:abc" || f.network.Cuts() != 5 {
		t.Errorf("the job is %s with %+v after %d cuts, want 5", ended.State, ended.Result, f.network.Cuts())
	}
}

// What has ended is read from the store, from any place on, and bytes that are no text arrive
// as they were.
func TestFollowWhatHasEnded(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t)
	w := f.Claim(job.ID)
	w.Write(jobs.Stdout, "one\n")
	w.Write(jobs.Stderr, "\xff\xfe\n")
	w.Write(jobs.Note, "three\n")
	w.Finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{Kind: "exit_nonzero", Message: "it failed"}})
	var all []Entry
	ended, err := f.client.Follow(t.Context(), job.ID, "", func(e Entry) { all = append(all, e) })
	if err != nil || ended.State != Failed || len(all) != 3 || string(all[1].Bytes()) != "\xff\xfe\n" || all[2].Stream != "note" {
		t.Fatalf("%s with %+v: %v", ended.State, all, err)
	}
	var rest []Entry
	if _, err := f.client.Follow(t.Context(), job.ID, all[1].Place, func(e Entry) { rest = append(rest, e) }); err != nil || len(rest) != 1 || rest[0] != all[2] {
		t.Errorf("behind %s comes %+v: %v", all[1].Place, rest, err)
	}
	_, err = f.client.Follow(t.Context(), "no-such-job", "", func(Entry) {})
	if p, ok := errors.AsType[*Problem](err); !ok || p.Kind() != "job_not_found" {
		t.Errorf("a job that is not there: %v", err)
	}
}

// stream answers with server-sent events, and then does what is told.
func stream(text string, then func(*http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(text))
		_ = http.NewResponseController(w).Flush()
		if then != nil {
			then(r)
		}
	}
}

// A server that falls silent, one that ends in the middle of an event and a gap that comes
// again do no harm.
func TestFollowBadServers(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.client.silence = 2 * time.Second
	const gap = "id: 1:5\nevent: log\ndata: {\"place\":\"1:5\",\"attempt\":1,\"stream\":\"gap\",\"missing\":-1,\"text\":\"lost\"}\n\n"
	hang := func(r *http.Request) { <-r.Context().Done() }
	abort := func(*http.Request) { panic(http.ErrAbortHandler) }
	var resumed []string
	note := func(r *http.Request) { resumed = append(resumed, r.Header.Get("Last-Event-ID")) }
	f.requests.answer(
		stream("retry: 10\n\nevent: log\nid: 1:5\ndata: {\"place\":\"1:5\",\"attempt\":1,\"stream\":\"stdout\",\"text\":\"a\"}\n\n"+gap, hang),
		stream(gap+"event: log\nid: 1:9\ndata: {\"place\":\"1:9\",\"attempt\":1,\"stream\":\"stdout\",\"te", abort),
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		stream(": ping\n\nevent: log\ndata: {\"place\":\"1:9\",\"attempt\":1,\ndata: \"stream\":\"stdout\",\"text\":\"b\"}\nid: 1:9\n\nevent: state\ndata: {}\n\n", note),
		stream("event: done\r\ndata: {\"id\":\"x\",\"state\":\"succeeded\"}\r\n\r\n", note),
	)
	var got []string
	job, err := f.client.Follow(t.Context(), "x", "", func(e Entry) { got = append(got, e.Stream+" "+e.Text) })
	if err != nil || job.ID != "x" || fmt.Sprint(got) != "[stdout a gap lost stdout b]" || fmt.Sprint(resumed) != "[1:5 1:9]" {
		t.Errorf("got %q, resumed behind %q, job %+v: %v", got, resumed, job, err)
	}
}

// Following ends with its context, and gives up a server that is gone.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.client.Follow(ctx, job.ID, "", func(Entry) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the context: %v", err)
	}
	f.client.Patience = 100 * time.Millisecond
	f.server.CloseClientConnections()
	f.server.Close()
	if _, err := f.client.Follow(t.Context(), job.ID, "", func(Entry) {}); err == nil || !strings.Contains(err.Error(), job.ID) {
		t.Errorf("without a server: %v", err)
	}
}
