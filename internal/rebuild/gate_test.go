package rebuild_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

func candidate() rebuild.Candidate {
	return rebuild.Candidate{Rebuild: "r-1", Name: "app", Tags: []jobs.TagMove{{Tag: "app:1", From: "sha256:old", To: "sha256:new"}}}
}

// judged fails the test unless a gate says what it should: refusal "" lets pass, fails is
// part of the error.
func judged(t *testing.T, gate rebuild.Gate, refusal, fails string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	got, err := gate(ctx, candidate())
	if got != refusal || (err != nil) != (fails != "") || err != nil && !strings.Contains(err.Error(), fails) {
		t.Errorf("the gate said %q, %v; want %q, %q", got, err, refusal, fails)
	}
}

func TestNoGate(t *testing.T) {
	t.Parallel()
	if rebuild.NewGate("") != nil {
		t.Error("there is a gate")
	}
}

func TestProgramAsGate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, script, refusal, fails string }{
		{"it agrees", `grep -q '"tag":"app:1","from":"sha256:old","to":"sha256:new"'`, "", ""},
		{"it agrees without reading", `exit 0`, "", ""},
		{"it refuses in words", `cat >&2; echo; echo CVE-2026-1 is in it; exit 1`, "", ""},
		{"it refuses in silence", `exit 3`, "exit status 3", ""},
		{"it says much", `head -c 5000 /dev/zero | tr '\0' x; exit 1`, strings.Repeat("x", 1000), ""},
		{"it dies", `kill -9 $$`, "", "signal: killed"},
		{"it hangs", `sleep 60`, "", "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "gate")
			// A process that is forked meanwhile would have the file open for writing, and a
			// file that is open so cannot be run.
			syscall.ForkLock.RLock()
			err := os.WriteFile(path, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "it refuses in words" {
				raw, err := json.Marshal(candidate())
				if err != nil {
					t.Fatal(err)
				}
				tt.refusal = string(raw) + "\nCVE-2026-1 is in it"
			}
			judged(t, rebuild.NewGate(path), tt.refusal, tt.fails)
		})
	}
	judged(t, rebuild.NewGate(filepath.Join(t.TempDir(), "none")), "", "no such file")
}

func TestURLAsGate(t *testing.T) {
	t.Parallel()
	status, words := http.StatusOK, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c rebuild.Candidate
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.Name != "app" || c.Tags[0].To != "sha256:new" || r.Method != http.MethodPost {
			t.Errorf("the gate got %s %+v, %v", r.Method, c, err)
		}
		w.WriteHeader(status)
		fmt.Fprintln(w, words)
	}))
	defer srv.Close()
	gate := rebuild.NewGate(srv.URL)
	judged(t, gate, "", "")
	status, words = http.StatusForbidden, "CVE-2026-1 is in it"
	judged(t, gate, words, "")
	words = ""
	judged(t, gate, "403 Forbidden", "")
	status = http.StatusServiceUnavailable
	judged(t, gate, "", "it answered with 503")
	srv.Close()
	judged(t, gate, "", "ask the gate: ") // refused, or reset where it was about to listen
}
