package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/worker"
)

// daemon is an engine that may be away.
type daemon struct {
	away bool
	root string
}

func (d *daemon) Info(context.Context) (engine.Info, error) {
	if d.away {
		return engine.Info{}, errors.New("the daemon does not answer")
	}
	return engine.Info{}, nil
}

func (d *daemon) Details(context.Context) (engine.Details, error) {
	return engine.Details{Address: "unix:///run/docker.sock", DataRoot: d.root}, nil
}

// Metrics say what is true when they are asked for, whether or not anything else was
// asked before, and /readyz says the same with reasons.
func TestMetricsSayWhatIsTrueNow(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb, err := redisconn.Lazy("redis://" + server.Addr() + "/0")
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	docker := &daemon{root: t.TempDir()}
	c := defaults()
	c.Store, c.Worker.StateDir = t.TempDir(), t.TempDir()
	blobs := artifactstest.NewStore()
	owner := artifacts.NewOwner(records.New(rdb, records.Options{}), blobs, c.Store)
	if err := owner.Look(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	room := newDisks(slog.New(slog.DiscardHandler), docker, c)
	checks := conditions{redis: rdb, engine: docker, store: owner, worker: worker.New(nil, worker.Deps{}, c.Worker)}.checks()
	metrics := telemetry.NewMetrics("v1", c.Queues)
	metrics.Watch(checks, diskMetrics(room))
	var rejected error
	metrics.Tell(facts(c, rdb, func(context.Context) error { return rejected }))
	ask := func(h http.Handler) string {
		t.Helper()
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		return answer.Body.String()
	}
	scraped := func(want ...string) {
		t.Helper()
		text := ask(metrics.Handler())
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("metrics lack %s", w)
			}
		}
	}
	scraped("slipway_docker_up 1\n", "slipway_redis_up 1\n", "slipway_redis_writable 1\n", "slipway_policy_current 1\n", "slipway_redis_safe 0\n", "slipway_redis_clock_offset_seconds ", "slipway_store_up 1\n", "slipway_host_fit 1\n", "slipway_host_in_service 1\n", "slipway_worker_taking 0\n", "slipway_worker_ready 0\n",
		`slipway_disk_free_bytes{directory="state"} `, `slipway_disk_free_bytes{directory="store"} `, `slipway_disk_least_bytes{directory="docker"} `)
	docker.away, rejected = true, errors.New("it is no policy")
	scraped("slipway_policy_current 0\n", "slipway_docker_up 0\n", "slipway_redis_up 1\n")
	docker.away = false
	server.SetError("LOADING Redis is loading the dataset in memory")
	scraped("slipway_docker_up 1\n", "slipway_redis_up 0\n")
	if text := ask(metrics.Handler()); strings.Contains(text, "\nslipway_redis_safe ") || strings.Contains(text, "\nslipway_redis_clock_offset_seconds ") {
		t.Error("metrics have what a Redis that is away cannot tell")
	}
	body := ask(telemetry.Ready(checks))
	for _, want := range []string{`"ready":false`, `"reason":"redis: LOADING Redis is loading`, "intake: the worker has just started", `"docker":"ok"`} {
		if !strings.Contains(body, want) {
			t.Errorf("/readyz answers %s; want %s", body, want)
		}
	}
	server.SetError("")
	if err := os.RemoveAll(c.Worker.StateDir); err != nil {
		t.Fatal(err)
	}
	if text := ask(metrics.Handler()); strings.Contains(text, `directory="state"`) || !strings.Contains(text, `slipway_disk_free_bytes{directory="store"}`) {
		t.Error("metrics have the disk of a directory that is not there, or lack the others'")
	}
}
