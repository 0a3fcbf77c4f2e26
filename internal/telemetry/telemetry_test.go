package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
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
	metrics := telemetry.NewMetrics("v1", []string{"builds"})
	metrics.Claimed("builds", 3*time.Millisecond)
	metrics.Slots(1, 4)
	for queue, r := range map[string]jobs.Result{
		"builds":     {State: jobs.Succeeded},
		"not-served": {State: jobs.Failed, Failure: jobs.Fail(jobs.KindEngine, nil, "", "no")},
	} {
		metrics.Ended(jobs.EndedJob{State: r.State, Job: &jobs.Job{Spec: jobs.Spec{Queue: queue}, State: r.State, Result: &r}})
	}
	metrics.Ended(jobs.EndedJob{State: jobs.Cancelled}) // its record was forgotten
	metrics.GivenUp("builds", jobs.Fail(jobs.KindDaemonLost, nil, "", "gone"))
	metrics.GivenUp("builds", nil)
	metrics.Lost("h-2", "boiler")
	seven := jobs.Result{
		State: jobs.Failed, Failure: jobs.Fail(jobs.KindExitNonzero, nil, "", "7"), Times: []jobs.StageTime{{Stage: jobs.StageRun, Millis: 1500}}, Log: jobs.LogInfo{Dropped: 7},
	}
	metrics.Ended(jobs.EndedJob{State: seven.State, Job: &jobs.Job{Spec: jobs.Spec{Queue: "builds"}, State: seven.State, Result: &seven}})
	metrics.Concluded("builds", seven)
	var docker error
	checks := []telemetry.Check{
		{Name: "redis", Metric: "slipway_redis_up", Run: func(context.Context) error { return nil }},
		{Name: "docker", Metric: "slipway_docker_up", Run: func(context.Context) error { return docker }},
	}
	metrics.Watch(checks, func(context.Context) []telemetry.Disk {
		return []telemetry.Disk{{Directory: "state", Free: 5, Size: 100, Least: 10, Inodes: 7, CountsInodes: true}, {Directory: "docker", Free: 6, Size: 101, Least: 11}}
	})
	admin, err := telemetry.ListenAdmin(t.Context(), "127.0.0.1:0", metrics.Handler(), checks)
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
	// No client asks /readyz in between.
	for _, up := range []string{"1", "0", "1", "0"} {
		docker = map[string]error{"0": errors.New("the daemon does not answer")}[up]
		if _, body := get(t, admin.Addr(), "/metrics"); !strings.Contains(body, "slipway_docker_up "+up+"\n") || !strings.Contains(body, "slipway_worker_ready "+up+"\n") {
			t.Errorf("metrics do not say that docker is %s now", up)
		}
	}
	if code, body := get(t, admin.Addr(), "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"reason":"docker: the daemon does not answer"`) ||
		!strings.Contains(body, `"redis":"ok"`) {
		t.Errorf("/readyz answers %d %s; want the reason", code, body)
	}
	_, body := get(t, admin.Addr(), "/metrics")
	for _, want := range []string{
		`slipway_jobs_total{fault="user",kind="exit_nonzero",outcome="failed",queue="builds"} 1`,
		`slipway_jobs_total{fault="infra",kind="engine_failed",outcome="failed",queue="other"} 1`,
		`slipway_jobs_total{fault="",kind="",outcome="succeeded",queue="builds"} 1`,
		`slipway_jobs_total{fault="",kind="",outcome="cancelled",queue="other"} 1`,
		`slipway_attempts_given_up_total{fault="infra",kind="daemon_lost",queue="builds"} 1`,
		`slipway_attempts_given_up_total{fault="infra",kind="drain",queue="builds"} 1`,
		`slipway_attempts_lost_total{host="h-2",worker="boiler"} 1`,
		`slipway_redis_up 1`, `slipway_build_info{version="v1"} 1`,
		`slipway_disk_free_bytes{directory="state"} 5`, `slipway_disk_size_bytes{directory="docker"} 101`,
		`slipway_disk_least_bytes{directory="state"} 10`, `slipway_disk_free_inodes{directory="state"} 7`,
		`slipway_job_duration_seconds_sum{phase="run",queue="builds"} 1.5`,
		`slipway_worker_slots{state="busy"} 1`, `slipway_worker_slots{state="idle"} 3`,
		`slipway_log_dropped_bytes_total 7`, `slipway_docker_up 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(body, `slipway_disk_free_inodes{directory="docker"}`) {
		t.Error("metrics have inodes of a file system that does not count them")
	}
}

// What a worker found out at its last look stands for a while, and not for ever.
func TestStaleImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics := telemetry.NewMetrics("v1", nil)
		scrape := func(want string) {
			t.Helper()
			answer := httptest.NewRecorder()
			metrics.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
			line := ""
			for l := range strings.Lines(answer.Body.String()) {
				if strings.HasPrefix(l, "slipway_stale_images ") {
					line = strings.TrimSpace(l)
				}
			}
			if line != want {
				t.Errorf("scraped %q, want %q", line, want)
			}
		}
		scrape("")
		metrics.Stale(3, time.Hour)
		scrape("slipway_stale_images 3")
		time.Sleep(time.Minute)
		metrics.Stale(0, time.Hour)
		scrape("slipway_stale_images 0")
		time.Sleep(time.Hour)
		scrape("")
	})
}

// A check that hangs takes no other's answer for its own, and /readyz answers.
func TestOneCheckHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics := telemetry.NewMetrics("v1", nil)
		checks := []telemetry.Check{
			{Name: "redis", Metric: "slipway_redis_up", Run: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}},
			{Name: "docker", Metric: "slipway_docker_up", Run: func(ctx context.Context) error { return ctx.Err() }},
		}
		metrics.Watch(checks, func(context.Context) []telemetry.Disk { return nil })
		answer := httptest.NewRecorder()
		telemetry.Ready(checks).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		if body := answer.Body.String(); !strings.Contains(body, `"docker":"ok"`) || !strings.Contains(body, `"reason":"redis: no answer within 3s`) {
			t.Errorf("/readyz answers %s; want redis the only one in trouble", body)
		}
		answer = httptest.NewRecorder()
		metrics.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		if body := answer.Body.String(); !strings.Contains(body, "slipway_docker_up 1\n") || !strings.Contains(body, "slipway_redis_up 0\n") {
			t.Errorf("metrics %s; want redis the only one in trouble", body)
		}
	})
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
