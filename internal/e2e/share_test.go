//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// lot is a number of jobs of one sort, and what must become of each.
type lot struct {
	name  string
	count int
	// spec makes the document; mark is the job's own word.
	spec  func(mark string) jobs.Spec
	state jobs.State
	kind  jobs.Kind
	// builds and starts are how often its build step and its container run,
	// outputs is how many files it leaves.
	builds, starts, outputs int
}

func runs(script string, more ...func(*jobs.Spec)) func(string) jobs.Spec {
	return func(mark string) jobs.Spec {
		s := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"sh", "-c", script}, Env: map[string]string{"MARK": mark}}}
		for _, change := range more {
			change(&s)
		}
		return s
	}
}

func builds(change func(mark string, s *jobs.Spec)) func(string) jobs.Spec {
	return func(mark string) jobs.Spec {
		s := jobs.Spec{Build: &jobs.Build{}}
		change(mark, &s)
		return s
	}
}

// shared is how many jobs a mix has.
const shared = 120

// mix is that many jobs.
func mix() []lot {
	const say = "echo $MARK"
	tagged := func(mark string, s *jobs.Spec) { s.Build.Tags = []string{"share/" + mark + ":latest"} }
	return []lot{
		{"build", 18, builds(tagged), jobs.Succeeded, "", 1, 0, 0},
		{"build and run", 12, builds(func(_ string, s *jobs.Spec) { s.Run = &jobs.Run{} }), jobs.Succeeded, "", 1, 1, 0},
		{"failing build", 6, builds(func(_ string, s *jobs.Spec) { s.Build.Args = map[string]string{"EXIT": "3"} }), jobs.Failed, jobs.KindBuildFailed, 1, 0, 0},
		{"run", 54, runs(say), jobs.Succeeded, "", 0, 1, 0},
		{"outputs", 9, runs(say+" | tee /tmp/out", func(s *jobs.Spec) { s.Run.Outputs = []string{"/tmp/out"} }), jobs.Succeeded, "", 0, 1, 1},
		{"failing run", 9, runs(say + "; exit 7"), jobs.Failed, jobs.KindExitNonzero, 0, 1, 0},
		{"retried run", 3, runs(say+"; exit 7", func(s *jobs.Spec) { s.Retries = 1 }), jobs.Failed, jobs.KindExitNonzero, 0, 2, 0},
		{"no such command", 6, runs(say, func(s *jobs.Spec) { s.Run.Command = []string{"no-such-command"} }), jobs.Failed, jobs.KindCommandNotFound, 0, 0, 0},
		{"no such context", 3, func(mark string) jobs.Spec {
			return jobs.Spec{Build: &jobs.Build{}, Context: &jobs.Context{Ref: "file:///nowhere/" + mark}}
		}, jobs.Refused, jobs.KindFileOutsideRoots, 0, 0, 0},
	}
}

// buildCounter counts build steps as they run: each one asks for a page of the
// test, which lives in the host's network namespace. Daemons tell nothing of
// build steps.
type buildCounter struct {
	mu    sync.Mutex
	steps map[string][]string // mark -> hosts
}

const counterPort = "9999" // in the hosts' own namespaces

func (c *buildCounter) listen(t *testing.T, h *hosttest.Host) {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", "0.0.0.0:"+counterPort)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		mark := strings.TrimPrefix(r.URL.Path, "/")
		c.steps[mark] = append(c.steps[mark], h.Name)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

// of returns the hosts on which the build step of a job ran.
func (c *buildCounter) of(mark string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.steps[mark])
}

// countedDockerfile asks for the page on the host, which is the way out.
const countedDockerfile = `FROM busybox
VOLUME /data
ARG EXIT=0
COPY mark /
RUN wget -q -O /dev/null "http://$(ip route | awk '/^default/ {print $3}'):` + counterPort + `/$(cat /mark)" && exit $EXIT
CMD ["cat", "/mark"]
`

// sharing is a run of the mix through a farm of two hosts.
type sharing struct {
	*farm
	hosts   map[string]*hosttest.Host // by worker
	events  map[string]*dockerEvents
	counter *buildCounter
	lots    map[string]lot                 // by mark
	jobs    map[string]jobs.Job            // by mark
	tags    map[string]map[string][]string // image IDs by worker and mark
}

func TestShare(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	hostB := hosttest.StartHost(t, "e2e-b")
	hosttest.Busybox(t, hostB)
	f := newFarm(t)
	s := &sharing{
		farm: f, hosts: map[string]*hosttest.Host{"one": hostA, "two": hostB}, events: map[string]*dockerEvents{},
		counter: &buildCounter{steps: map[string][]string{}},
		lots:    map[string]lot{}, jobs: map[string]jobs.Job{}, tags: map[string]map[string][]string{},
	}
	before := map[string][]string{}
	contexts := t.TempDir()
	workers := map[string]*workerProcess{}
	for name, h := range s.hosts {
		before[name] = baseline(t, h)
		s.events[name] = watch(t, h)
		s.counter.listen(t, h)
		workers[name] = s.worker(h, name, "--slots", "4", f.fileRoots(contexts))
	}
	ids := s.submitMix(contexts)
	s.awaitAll(ids)
	for name, l := range s.events {
		workers[name].stop() // which ends what it is still tidying up
		l.settle()
		s.readTags(name)
	}
	used := map[string]int{}
	for mark, job := range s.jobs {
		s.check(mark, job)
		used[job.Result.Worker]++
	}
	if used["one"] < shared/4 || used["two"] < shared/4 {
		t.Errorf("jobs by worker: %v; want a fair share for each", used)
	}
	tagged := 0
	for name, h := range s.hosts {
		s.noStrangers(name)
		for mark := range s.tags[name] {
			tagged++
			docker(t, h, "rmi", "share/"+mark+":latest")
		}
		clean(t, h, before[name])
	}
	if tagged != mix()[0].count {
		t.Errorf("%d images are tagged on the two hosts, want %d", tagged, mix()[0].count)
	}
	s.onlyRecords()
}

// submitMix submits the mix from eight processes at once, most of it in
// batches, and returns the IDs.
func (s *sharing) submitMix(contexts string) []string {
	s.t.Helper()
	var batches [4]bytes.Buffer
	var singles [4][][]string
	n := 0
	for _, l := range mix() {
		for i := range l.count {
			n++
			mark := fmt.Sprintf("m%03d", n)
			s.lots[mark] = l
			spec := l.spec(mark)
			spec.Name, spec.Priority = mark, jobs.Priorities()[n%3]
			if i%4 == 0 {
				singles[n%4] = append(singles[n%4], s.single(contexts, spec))
			} else {
				batches[n%4].Write(s.line(contexts, spec))
			}
		}
	}
	ids := make(chan []string, n)
	var g errgroup.Group
	submit := func(stdin []byte, args ...string) error {
		a := s.enqueueWith(stdin, append([]string{"submit", "-q"}, args...)...)
		ids <- strings.Fields(a.stdout)
		if a.code != 0 {
			return fmt.Errorf("submit %q: exit code %d\n%s", args, a.code, a.stderr)
		}
		return nil
	}
	for i := range batches {
		g.Go(func() error { return submit(batches[i].Bytes(), "--batch", "-") })
		g.Go(func() error {
			for _, args := range singles[i] {
				if err := submit(nil, args...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		s.t.Fatal(err)
	}
	close(ids)
	var all []string
	for some := range ids {
		all = append(all, some...)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) != n || n != shared {
		s.t.Fatalf("%d jobs got %d IDs, want %d", n, len(all), shared)
	}
	return all
}

// single is a submission of its own: the document in a file, and the directory
// to build.
func (s *sharing) single(contexts string, spec jobs.Spec) []string {
	s.t.Helper()
	file := filepath.Join(contexts, spec.Name+".json")
	if err := os.WriteFile(file, s.encode(spec), 0o600); err != nil {
		s.t.Fatal(err)
	}
	args := []string{"-d", "--spec", file}
	if spec.Build != nil && spec.Context == nil {
		args = append(args, s.buildDir(spec.Name))
	}
	return args
}

// line is a line of a batch; what it builds is a tar that the workers read.
func (s *sharing) line(contexts string, spec jobs.Spec) []byte {
	s.t.Helper()
	if spec.Build != nil && spec.Context == nil {
		spec.Context = &jobs.Context{Ref: "file://" + tarOf(s.t, s.buildDir(spec.Name), filepath.Join(contexts, spec.Name+".tar"))}
	}
	return append(s.encode(spec), '\n')
}

func (s *sharing) buildDir(mark string) string {
	s.t.Helper()
	return contextDir(s.t, map[string]string{"Dockerfile": countedDockerfile, "mark": mark + "\n"})
}

func (s *sharing) encode(spec jobs.Spec) []byte {
	s.t.Helper()
	doc, err := json.Marshal(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return doc
}

// tarOf writes a directory as a tar and returns its path.
func tarOf(t *testing.T, dir, path string) string {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(file)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// awaitAll waits for all of the jobs in one command and reads them with another.
func (s *sharing) awaitAll(ids []string) {
	s.t.Helper()
	a := s.enqueue(append([]string{"wait", "--timeout", "4m"}, ids...)...)
	if lines := strings.Count(a.stdout, "\n"); lines != len(ids) || a.code == jobs.ExitPending {
		s.t.Fatalf("waiting for %d jobs: exit code %d, %d answers\n%s", len(ids), a.code, lines, a.stderr)
	}
	a = s.enqueue(append([]string{"status", "-o", "jsonl"}, ids...)...)
	for dec := json.NewDecoder(strings.NewReader(a.stdout)); ; {
		var job jobs.Job
		if err := dec.Decode(&job); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			s.t.Fatalf("status: %v\n%s", err, a.stderr)
		}
		if job.Result == nil {
			s.t.Fatalf("job %s is %s and has no result", job.ID, job.State)
		}
		s.jobs[job.Spec.Name] = job
	}
	if len(s.jobs) != len(ids) {
		s.t.Fatalf("status shows %d jobs of %d", len(s.jobs), len(ids))
	}
}
