package docker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A daemon that does not find a path may mean what it says, or be removing the
// container.
func TestCopyOutFromAContainerThatGoes(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]jobs.Kind{
		"exited": jobs.KindOutputMissing, "removing": jobs.KindContainerLost, "dead": jobs.KindContainerLost, "": jobs.KindContainerLost,
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			shown := ""
			if state != "" {
				shown = fmt.Sprintf(`{"Id": "c", "State": {"Status": %q, "ExitCode": 0}}`, state)
			}
			_, err := daemonWith(t, shown).CopyOut(t.Context(), "c", "/tmp/out")
			if f := jobs.AsFailure(err); err == nil || f.Kind != want {
				t.Errorf("copy = %v, want %s", err, want)
			}
		})
	}
}

// daemonWith is an engine whose daemon has one container, in the words of an inspection,
// or with "" none, and nothing else.
func daemonWith(t *testing.T, container string) *Engine {
	t.Helper()
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case strings.HasSuffix(r.URL.Path, "/json") && container != "":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, container)
		default:
			http.Error(w, `{"message": "not found"}`, http.StatusNotFound)
		}
	}))
	t.Cleanup(daemon.Close)
	e, err := New(nil, Options{Host: "tcp://" + daemon.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}
