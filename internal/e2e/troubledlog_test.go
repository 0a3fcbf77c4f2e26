//go:build integration

package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestLogOfAWorkerInTrouble reads the log of a worker with all sorts of jobs, whose daemon,
// Redis and own process go away. It is what an operator has after a bad night.
func TestLogOfAWorkerInTrouble(t *testing.T) {
	t.Parallel()
	host := hosttest.StartHost(t, "troubled")
	hosttest.Busybox(t, host)
	f := newFarm(t)
	w := f.worker(host, "one", "--slots", "3", "--lease", "10s", "--docker-patience", "6s")
	image := []string{"--image", hosttest.BusyboxTag}
	sh := func(script string, flags ...string) []string {
		return append(append(flags, image...), "--", "sh", "-c", script)
	}
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN exit 3\n"})
	for _, args := range [][]string{
		{dir}, // the build fails
		sh("exit 4"),
		sh("true"),
		sh("sleep 60", "--timeout", "1s", "--stop-timeout", "1"),
		{"--image", "127.0.0.1:1/absent:1", "--retries", "1"},
	} {
		f.run(args...)
	}
	cancelled := f.submit(sh("echo up; sleep 60", "--stop-timeout", "1")...)
	f.said(cancelled, "up\n")
	f.enqueue("cancel", cancelled)
	f.ended(cancelled)

	through := func(what string, trouble func()) {
		id := f.submit(append([]string{"--retries", "2"}, counting(40, 0)...)...)
		f.said(id, "line 3\n")
		trouble()
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Errorf("the job that went through %s is %s: %+v", what, job.State, job.Result)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	through("a restart of the daemon", func() { must(host.Stop()); time.Sleep(8 * time.Second); must(host.Start()) })
	through("a restart of Redis", func() { must(f.redis.Stop()); time.Sleep(5 * time.Second); must(f.redis.Start()) })
	through("a long absence of Redis", func() { must(f.redis.Stop()); time.Sleep(20 * time.Second); must(f.redis.Start()) })
	through("a crash of the worker", func() { w.Kill(); w.start() })
	w.stop()

	told := map[string]int{} // how often the log says the same in a minute
	took, ended := 0, 0
	for line := range strings.Lines(w.Output()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		at, _ := l["time"].(string)
		delete(l, "time")
		rest, _ := json.Marshal(l)
		same := at[:min(len(at), len("2006-01-02T15:04"))] + string(rest)
		if told[same]++; told[same] == 3 {
			t.Errorf("three times a minute: %s", line)
		}
		switch l["msg"] {
		case "took a job":
			took++
			if l["job_id"] == nil || l["attempt"] == nil || l["waited"] == nil || l["queue"] == nil {
				t.Errorf("which job, and since when? %s", line)
			}
		case "attempt ended":
			ended++
			if l["job_id"] == nil || l["outcome"] == "" || l["took"] == nil || l["queue"] == nil {
				t.Errorf("which job, how, after how long? %s", line)
			}
			if l["outcome"] == "failed" && (l["kind"] == nil || l["fault"] == nil) {
				t.Errorf("whose fault? %s", line)
			}
		}
		if l["level"] != "INFO" && l["err"] == nil && l["text"] == nil && l["job_id"] == nil {
			t.Errorf("why? %s", line)
		}
	}
	// Two attempts were cut off by the absence of Redis, one by the daemon's, and one ran
	// through the crash.
	if took < 10 || ended != took {
		t.Errorf("%d claims and %d ends in the log:\n%s", took, ended, w.Output())
	}
	t.Log(w.Output())
}
