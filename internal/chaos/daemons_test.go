//go:build integration && chaos

package chaos_test

import (
	"bufio"
	"context"
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
	"github.com/slipway-farm/slipway/internal/oracle"
)

// witness is what the daemons did with containers by their own account. Nothing
// of the farm writes it, so it can contradict the records.
type witness struct {
	mu  sync.Mutex
	all map[string]*oracle.Life // by container
}

// watch begins the account of a host's daemon, through its restarts.
func (w *witness) watch(t *testing.T, h *hosttest.Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	since := time.Now()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			since = w.listen(ctx, h, since)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// listen reads one stream to its end and returns where the next has to begin.
func (w *witness) listen(ctx context.Context, h *hosttest.Host, since time.Time) time.Time {
	cmd := exec.CommandContext(ctx, "docker", "events", "--since", fmt.Sprintf("%.6f", float64(since.UnixMicro())/1e6),
		"--filter", "type=container", "--format", "{{json .}}")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return since
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Action   string
			TimeNano int64
			Actor    struct {
				ID         string
				Attributes map[string]string
			}
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		since = time.Unix(0, e.TimeNano)
		w.note(h.Name, e.Action, e.Actor.ID, e.Actor.Attributes, since)
	}
	_ = cmd.Wait() // the daemon went, or the test is over
	return since
}

func (w *witness) note(host, action, id string, labels map[string]string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.all[id]
	if l == nil {
		l = &oracle.Life{ID: id, Host: host, Job: labels[engine.LabelJob], Attempt: labels[engine.LabelAttempt]}
		if w.all == nil {
			w.all = map[string]*oracle.Life{}
		}
		w.all[id] = l
	}
	switch {
	case action == "start" && l.Started.IsZero():
		l.Started = at
	case action == "die" && l.Died.IsZero():
		l.Died, l.Code = at, labels["exitCode"]
	case action == "destroy" && l.Died.IsZero(): // its end went by while the daemon was away
		l.Died = at
	}
}

// of returns the containers of a job that ran, the first one first.
func (w *witness) of(job string) []oracle.Life {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []oracle.Life
	for _, l := range w.all {
		if l.Job == job && !l.Started.IsZero() {
			found = append(found, *l)
		}
	}
	slices.SortFunc(found, func(a, b oracle.Life) int { return a.Started.Compare(b.Started) })
	return found
}

// docker runs the docker command on a host and returns its output by line.
func docker(ctx context.Context, h *hosttest.Host, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("docker %q on %s: %w: %s", args, h.Name, err, out)
	}
	return strings.Fields(string(out)), nil
}

// things is what is on a host: containers, volumes, networks, and images that have
// a name of the farm's own, or none; with a farm only what it made.
func things(ctx context.Context, h *hosttest.Host, farm string) (all []string, err error) {
	containers := []string{"ps", "-a", "--no-trunc", "--format", "{{.ID}}={{.Names}}"}
	images := []string{"images", "--no-trunc", "--format", "{{.ID}}={{.Repository}}:{{.Tag}}"}
	lists := [][]string{
		containers, append(images, "--filter", "reference=slipway-job/*"), append(images, "--filter", "reference="+engine.ProbeName),
		append(images, "--filter", "dangling=true"),
		{"volume", "ls", "-q"},
		{"network", "ls", "-q"},
	}
	if farm != "" {
		lists = [][]string{append(containers, "--filter", "label="+engine.LabelFarm+"="+farm), append(images, "--filter", "reference="+jobs.ImageRepository(farm))}
	}
	for _, list := range lists {
		found, err := docker(ctx, h, list...)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
