package pages

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
)

// breaks is an API whose answers break off where they are long.
type breaks struct{}

func (breaks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/whoami"):
		_, _ = io.WriteString(w, `{"name":"me","scopes":["admin"]}`)
	case strings.HasSuffix(r.URL.Path, "/logs"):
		_, _ = io.WriteString(w, "half a l")
		panic(http.ErrAbortHandler)
	case strings.Contains(r.URL.Path, "/jobs/"):
		_, _ = io.WriteString(w, `{"id":"job-1","state":"running","attempt":1,"created":"2026-01-01T00:00:00Z","spec":{}}`)
	default:
		panic(http.ErrAbortHandler)
	}
}

// An answer of the API that breaks off ends no process, and looks broken.
func TestCutOff(t *testing.T) {
	t.Parallel()
	p, err := New(Options{API: breaks{}, Open: true})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	defer server.Close()
	if resp, err := server.Client().Get(server.URL + "/jobs/job-1/raw"); err == nil {
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the log came to its end as %q", body)
		}
	}
	v := &visit{pages: p, ResponseWriter: httptest.NewRecorder(), Request: httptest.NewRequest(http.MethodGet, "/", nil), who: access.Principal{Name: "me"}}
	for _, live := range []bool{true, false} {
		err := v.stream(get("/v1/jobs/job-1/logs", nil), live, func(r io.Reader) error {
			_, err := io.ReadAll(r)
			return err
		})
		if !errors.Is(err, errCutOff) {
			t.Errorf("stream (live: %v): %v", live, err)
		}
	}
	if err := v.ask(get("/v1/hosts", nil), nil); !errors.Is(err, errCutOff) {
		t.Errorf("ask: %v", err)
	}
}
