package enginetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestShell(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, out, err string
		code                   int
	}{
		{"echo", `echo a  b`, "a b\n", "", 0},
		{"streams and exit", `echo -n out; echo "to err" >&2; exit 7; echo no`, "out", "to err\n", 7},
		{"and", `false && echo no; true && echo yes`, "yes\n", "", 0},
		{"environment", `echo $GREETING '$GREETING' "$GREETING!"`, "hello $GREETING hello!\n", "", 0},
		{"files", `mkdir -p /o && echo x > /o/f && cat /o/f`, "x\n", "", 0},
		{"unknown command", `frobnicate`, "", "sh: frobnicate: not found\n", 127},
		{"last status counts", `false; true`, "", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := New()
			var stdout, stderr bytes.Buffer
			made, err := f.Create(t.Context(), engine.Container{Name: "c", Image: "busybox", Spec: jobs.Run{
				Command: []string{"sh", "-c", tt.script}, Env: map[string]string{"GREETING": "hello"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := f.Start(t.Context(), made.ID, engine.Output{Stdout: &stdout, Stderr: &stderr})
			if err != nil {
				t.Fatal(err)
			}
			s, err := p.Wait(t.Context())
			if err != nil || s.ExitCode != tt.code {
				t.Errorf("wait = code %d, %v; want %d", s.ExitCode, err, tt.code)
			}
			if diff := cmp.Diff([]string{tt.out, tt.err}, []string{stdout.String(), stderr.String()}); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaitOutlastsAnAbsentDaemon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := New()
		made, err := f.Create(t.Context(), engine.Container{Name: "c", Image: "busybox", Spec: jobs.Run{Command: []string{"sleep", "60"}}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Start(t.Context(), made.ID, engine.Output{})
		if err != nil {
			t.Fatal(err)
		}
		f.SetDown(true)
		if _, err := f.Inspect(t.Context(), made.ID); jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
			t.Errorf("inspect while down = %v, want daemon_lost", err)
		}
		go func() {
			time.Sleep(2 * time.Minute)
			f.SetDown(false)
		}()
		start := time.Now()
		s, err := p.Wait(t.Context())
		if err != nil || s.Status != engine.StatusExited || time.Since(start) != 2*time.Minute {
			t.Errorf("wait = %+v, %v after %v; want exited after 2m", s, err, time.Since(start))
		}
	})
}

func TestHookFails(t *testing.T) {
	t.Parallel()
	f := New()
	want := errors.New("boom")
	f.Hook(func(_ context.Context, op, arg string) error {
		if op == "create" && arg == "c" {
			return want
		}
		return nil
	})
	if _, err := f.Create(t.Context(), engine.Container{Name: "c", Image: "busybox"}); !errors.Is(err, want) {
		t.Errorf("create = %v, want the hook's error", err)
	}
}
