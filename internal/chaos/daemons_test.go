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
)

// witness is what the daemons did with containers by their own account. Nothing
// of the farm writes it, so it can contradict the records.
type witness struct {
	mu  sync.Mutex
	all map[string]*life // by container
}

// life is a container's.
type life struct {
	id, host, job, attempt string
	started, died          time.Time
	code                   string
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
		l = &life{id: id, host: host, job: labels[engine.LabelJob], attempt: labels[engine.LabelAttempt]}
		if w.all == nil {
			w.all = map[string]*life{}
		}
		w.all[id] = l
	}
	switch {
	case action == "start" && l.started.IsZero():
		l.started = at
	case action == "die" && l.died.IsZero():
		l.died, l.code = at, labels["exitCode"]
	case action == "destroy" && l.died.IsZero(): // its end went by while the daemon was away
		l.died = at
	}
}

// of returns the containers of a job that ran, the first one first.
func (w *witness) of(job string) []life {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []life
	for _, l := range w.all {
		if l.job == job && !l.started.IsZero() {
			found = append(found, *l)
		}
	}
	slices.SortFunc(found, func(a, b life) int { return a.started.Compare(b.started) })
	return found
}

// overlap is a time in which a job had two containers.
type overlap struct {
	first, second life
	until         time.Time
}

func (o overlap) String() string {
	return fmt.Sprintf("attempt %s on %s and attempt %s on %s ran at once for %s", o.first.attempt, o.first.host,
		o.second.attempt, o.second.host, o.until.Sub(o.second.started).Round(time.Millisecond))
}

// overlaps lists them; one that still runs has no end yet.
func overlaps(lives []life) (all []overlap) {
	for i, a := range lives {
		for _, b := range lives[i+1:] {
			until := time.Now()
			for _, end := range []time.Time{a.died, b.died} {
				if !end.IsZero() && end.Before(until) {
					until = end
				}
			}
			if until.After(b.started) {
				all = append(all, overlap{a, b, until})
			}
		}
	}
	return all
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
