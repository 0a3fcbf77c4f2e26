//go:build integration

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// A worker whose engine is away leads its farm all the same, and tells what waits there.
func TestMetricsOfAFarm(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t, "--appendonly", "yes")
	rdb, err := redisconn.Lazy(server.SocketURL())
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	svc := jobs.NewService(records.New(rdb, records.Options{}), queue.New(rdb), func() string { return uuid.Must(uuid.NewV7()).String() })
	gpu := &jobs.Requires{Labels: map[string]string{"gpu": "yes"}}
	for _, spec := range []jobs.Spec{{Queue: "lost"}, {Requires: gpu}, {Requires: gpu}} {
		spec.Run = &jobs.Run{Image: "busybox"}
		if _, err := svc.Submit(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := free.Addr().String()
	_ = free.Close()

	ctx, end := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var said bytes.Buffer
	go func() {
		ended <- run(ctx, ctx, []string{
			"--supervise=false", "--redis", server.SocketURL(), "--state", t.TempDir(), "--store", t.TempDir(), "--admin", admin, "--docker-host", "unix:///no/such.sock",
		}, nil, &said, &said)
	}()
	defer func() {
		end()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d, %q", code, said.String())
		}
	}()
	want := []string{
		`slipway_queue_waiting{priority="normal",queue="builds",route="gpu=yes"} 2`,
		`slipway_queue_waiting{priority="normal",queue="lost",route=""} 1`,
		`slipway_waiting_jobs{blocker="queue",queue="lost"} 1`,
		`slipway_hosts{state="unfit"} 1`, `slipway_slots{state="unusable"} 2`,
	}
	text := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		text = scrape(t, admin)
		missing := false
		for _, w := range want {
			missing = missing || !strings.Contains(text, w+"\n")
		}
		if !missing {
			return
		}
	}
	t.Errorf("metrics lack one of %q:\n%s", want, text)
}

// scrape reads the metrics, "" while there are none.
func scrape(t *testing.T, admin string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}
