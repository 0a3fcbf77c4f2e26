package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serve answers with the given answers, the last of them for ever, and returns a client and
// what came.
func serve(t *testing.T, answers ...http.HandlerFunc) (*Client, *requests) {
	t.Helper()
	r := &requests{}
	r.answer(answers[:len(answers)-1]...)
	s := httptest.NewServer(r.before(answers[len(answers)-1]))
	t.Cleanup(s.Close)
	c := newClient(s.URL, "token")
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c, r
}

func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func aJob(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id": "a", "state": "succeeded"}`) }

// short says that more comes than does.
func short(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `{"id":`)
}

// What another try may mend is tried again, and nothing else.
func TestTries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answers []http.HandlerFunc
		want    int // requests
		err     string
	}{
		{"at once", []http.HandlerFunc{aJob}, 1, ""},
		{"cut twice", []http.HandlerFunc{cut, cut, aJob}, 3, ""},
		{"cut in the answer", []http.HandlerFunc{short, aJob}, 2, ""},
		{"busy", []http.HandlerFunc{busy("0"), aJob}, 2, ""},
		{"too many", []http.HandlerFunc{status(429, ""), aJob}, 2, ""},
		{"a proxy without its server", []http.HandlerFunc{status(502, "<h1>Bad Gateway</h1>"), aJob}, 2, ""},
		{"broken for ever", []http.HandlerFunc{status(500, "oops"), aJob}, 1, "Internal Server Error (status 500): oops"},
		{"no JSON", []http.HandlerFunc{status(200, "<html>"), aJob}, 1, "read the answer"},
		{"refused", []http.HandlerFunc{status(403, ""), aJob}, 1, "Forbidden"},
		{"sent elsewhere", []http.HandlerFunc{http.RedirectHandler("https://elsewhere.example/", http.StatusFound).ServeHTTP, aJob}, 1, "redirects to https://elsewhere.example/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, r := serve(t, tt.answers...)
			job, err := c.Submit(t.Context(), image())
			switch {
			case tt.err == "" && (err != nil || job.ID != "a"):
				t.Errorf("got %+v, %v", job, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if got := r.take(); len(got) != tt.want {
				t.Errorf("%d requests came, want %d", len(got), tt.want)
			}
		})
	}
}

// A call waits for as long as the server asks, and gives up when that is longer than its
// patience, or when its context ends.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, busy("1"), aJob)
	began := time.Now()
	if _, err := c.Job(t.Context(), "a"); err != nil || time.Since(began) < time.Second {
		t.Errorf("answered after %s: %v", time.Since(began), err)
	}
	c, r := serve(t, busy("3600"), aJob)
	if _, err := c.Job(t.Context(), "a"); kind(err) != "busy" || len(r.take()) != 1 {
		t.Errorf("busy for an hour: %v", err)
	}
	c.Patience = 2 * time.Hour
	r.answer(busy("3600"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Job(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || kind(err) != "busy" {
		t.Errorf("until the context ends: %v", err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "-1": 0, "7": 7 * time.Second, "Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second, "Wed, 31 Dec 2025 00:00:00 GMT": 0, "99999999": 24 * time.Hour, "soon": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("Retry-After: %s is %s, want %s", text, got, want)
		}
	}
}

// A server that does not answer is asked again, and one that answers slowly is waited for.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	half := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"id": "b`)
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}
	slow := func(w http.ResponseWriter, _ *http.Request) {
		for _, b := range []byte(`{"id": "a"}`) {
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}
	c, r := serve(t, hang, half, slow)
	c.answer = time.Second
	if job, err := c.Job(t.Context(), "a"); err != nil || job.ID != "a" || len(r.take()) < 3 {
		t.Errorf("got %+v, %v", job, err)
	}
}

// What cannot work is told at once.
func TestBadServers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"", "farm.example.com", "ftp://farm.example.com", "http://", "http://a b"} {
		began := time.Now()
		if _, err := newClient(server, "").Job(t.Context(), "a"); err == nil || time.Since(began) > time.Second {
			t.Errorf("the server %q: %v after %s", server, err, time.Since(began))
		}
	}
	secure := httptest.NewTLSServer(http.HandlerFunc(aJob))
	defer secure.Close()
	c := newClient(secure.URL, "")
	if _, err := c.Job(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	c.HTTP.Transport = secure.Client().Transport
	if _, err := c.Job(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	f := newFarm(t)
	f.client.token = "slipway_nonsense"
	if _, err := f.client.Job(t.Context(), "a"); kind(err) != "unauthorized" {
		t.Errorf("a bad token: %v", err)
	}
	f = newFarm(t)
	_, err := f.client.Submit(t.Context(), Document{Run: &Run{}, Name: "A B"})
	if p, ok := errors.AsType[*Problem](err); !ok || p.Kind() != "spec_invalid" || p.Fault != UserFault || len(p.Errors) != 2 || p.Errors[0].Pointer == "" {
		t.Errorf("a bad document: %#v", err)
	}
}
