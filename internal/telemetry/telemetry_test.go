package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// get asks the admin listener and returns status and body.
func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	metrics := telemetry.NewMetrics()
	metrics.Claimed("builds", 3*time.Millisecond)
	metrics.Slots(1, 4)
	metrics.DockerUp(false)
	metrics.Ended("builds", jobs.Result{
		State: jobs.Failed, Times: []jobs.StageTime{{Stage: jobs.StageRun, Millis: 1500}}, Log: jobs.LogInfo{Dropped: 7},
	})
	var docker error
	admin, err := telemetry.ListenAdmin(t.Context(), "127.0.0.1:0", metrics.Handler(), []telemetry.Check{
		{Name: "redis", Run: func(context.Context) error { return nil }},
		{Name: "docker", Run: func(context.Context) error { return docker }},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })

	if code, _ := get(t, admin.Addr(), "/livez"); code != http.StatusOK {
		t.Errorf("/livez answers %d", code)
	}
	if code, body := get(t, admin.Addr(), "/readyz"); code != http.StatusOK || !strings.Contains(body, `"ready":true`) {
		t.Errorf("/readyz answers %d %s; want it ready", code, body)
	}
	docker = errors.New("the daemon does not answer")
	if code, body := get(t, admin.Addr(), "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the daemon does not answer") {
		t.Errorf("/readyz answers %d %s; want the reason", code, body)
	}
	_, body := get(t, admin.Addr(), "/metrics")
	for _, want := range []string{
		`slipway_jobs_total{outcome="failed",queue="builds"} 1`,
		`slipway_job_duration_seconds_sum{phase="run",queue="builds"} 1.5`,
		`slipway_worker_slots{state="busy"} 1`, `slipway_worker_slots{state="idle"} 3`,
		`slipway_log_dropped_bytes_total 7`, `slipway_docker_up 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	lg := telemetry.NewLogger(&out, "warn")
	lg.Info("left out")
	lg.Warn("kept", "job_id", "j")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "kept" || line["job_id"] != "j" {
		t.Errorf("log %q, %v; want one JSON line", out.String(), err)
	}
}
