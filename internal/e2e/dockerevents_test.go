//go:build integration

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// dockerEvents is what a daemon did with containers by its own account. Nothing of
// the farm writes it, so it can contradict the records.
type dockerEvents struct {
	t    *testing.T
	host *hosttest.Host

	mu     sync.Mutex
	events []happening
}

// happening is one event of a daemon's stream.
type happening struct {
	Action   string
	TimeNano int64
	Actor    struct {
		ID         string
		Attributes map[string]string
	}
}

func (h happening) at() time.Time   { return time.Unix(0, h.TimeNano) }
func (h happening) job() string     { return h.Actor.Attributes[engine.LabelJob] }
func (h happening) attempt() string { return h.Actor.Attributes[engine.LabelAttempt] }

// watch collects what the daemon of a host does until the test ends.
func watch(t *testing.T, h *hosttest.Host) *dockerEvents {
	t.Helper()
	// The daemon hands in what happened between now and the connection.
	since := fmt.Sprintf("%.6f", float64(time.Now().UnixMicro())/1e6)
	cmd := exec.Command("docker", "events", "--since", since, "--filter", "type=container", "--format", "{{json .}}")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &dockerEvents{t: t, host: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e happening
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("event %q of host %s: %v", lines.Text(), h.Name, err)
				continue
			}
			l.mu.Lock()
			l.events = append(l.events, e)
			l.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait() // killed
	})
	return l
}

// all returns every event so far.
func (l *dockerEvents) all() []happening {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// settle waits until it has everything that the daemon did up to now:
// a container that comes and goes is the last entry.
func (l *dockerEvents) settle() {
	l.t.Helper()
	mark := docker(l.t, l.host, "create", hosttest.BusyboxTag)[0]
	docker(l.t, l.host, "rm", mark)
	l.await("the end of the marker "+mark, func(e happening) bool { return e.Action == "destroy" && e.Actor.ID == mark })
}

// await waits for an event.
func (l *dockerEvents) await(what string, is func(happening) bool) {
	l.t.Helper()
	(&farm{t: l.t}).eventually(30*time.Second, "host "+l.host.Name+" tells of "+what, func() bool {
		return slices.ContainsFunc(l.all(), is)
	})
}

// of returns what happened to the containers of a job, by the kind of event.
func (l *dockerEvents) of(job, action string) []happening {
	l.t.Helper()
	l.settle()
	return slices.DeleteFunc(l.all(), func(e happening) bool { return e.job() != job || e.Action != action })
}

// startedOnce checks that the job had exactly one container, which is the one
// that its record names.
func (l *dockerEvents) startedOnce(job jobs.Job) {
	l.t.Helper()
	starts := l.of(job.ID, "start")
	if len(starts) != 1 || job.Result == nil || starts[0].Actor.ID != job.Result.ContainerID {
		l.t.Errorf("host %s started %+v for job %s; want exactly the container of the record, %+v", l.host.Name, starts, job.ID, job.Result)
	}
}

// records reads the farm's records without a process per look.
func (f *farm) records() *records.DB {
	f.t.Helper()
	rdb, err := redisconn.Open(f.t.Context(), f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = rdb.Close() })
	return records.New(rdb, records.Options{})
}

// inStage waits until a worker has the job in the stage.
func (f *farm) inStage(id string, s jobs.Stage) {
	f.t.Helper()
	records := f.records()
	f.eventually(30*time.Second, fmt.Sprintf("job %s is in stage %s", id, s), func() bool {
		job, err := records.Get(f.t.Context(), id)
		if err == nil && job.State.Terminal() {
			f.t.Fatalf("job %s is %s before stage %s: %v", id, job.State, s, job.Result.Failure)
		}
		return err == nil && job.State == jobs.Running && job.Stage == s
	})
}

// said waits until the text is in the live log of the job.
func (f *farm) said(id, text string) {
	f.t.Helper()
	records := f.records()
	var seen strings.Builder
	var cur jobs.Cursor
	f.eventually(30*time.Second, fmt.Sprintf("the log of job %s has %q", id, text), func() bool {
		news, err := records.Follow(f.t.Context(), id, cur, 100*time.Millisecond)
		if err != nil {
			f.t.Fatal(err)
		}
		cur = news.Next
		for _, c := range news.Log {
			seen.Write(c.Data)
		}
		return strings.Contains(seen.String(), text)
	})
}

// happened counts the events of a type in the job's history.
func (f *farm) happened(id string, kind jobs.EventType) (n int) {
	f.t.Helper()
	records := f.records()
	for cur := (jobs.Cursor{}); ; {
		news, err := records.Follow(f.t.Context(), id, cur, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		if len(news.Events) == 0 && len(news.Log) == 0 {
			return n
		}
		cur = news.Next
		for _, e := range news.Events {
			if e.Type == kind {
				n++
			}
		}
	}
}
