//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
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

// mix is 200 jobs.
func mix() []lot {
	const say = "echo $MARK"
	tagged := func(mark string, s *jobs.Spec) { s.Build.Tags = []string{"share/" + mark + ":latest"} }
	return []lot{
		{"build", 30, builds(tagged), jobs.Succeeded, "", 1, 0, 0},
		{"build and run", 20, builds(func(_ string, s *jobs.Spec) { s.Run = &jobs.Run{} }), jobs.Succeeded, "", 1, 1, 0},
		{"failing build", 10, builds(func(_ string, s *jobs.Spec) { s.Build.Args = map[string]string{"EXIT": "3"} }), jobs.Failed, jobs.KindBuildFailed, 1, 0, 0},
		{"run", 90, runs(say), jobs.Succeeded, "", 0, 1, 0},
		{"outputs", 15, runs(say+" | tee /tmp/out", func(s *jobs.Spec) { s.Run.Outputs = []string{"/tmp/out"} }), jobs.Succeeded, "", 0, 1, 1},
		{"failing run", 15, runs(say + "; exit 7"), jobs.Failed, jobs.KindExitNonzero, 0, 1, 0},
		{"retried run", 5, runs(say+"; exit 7", func(s *jobs.Spec) { s.Retries = 1 }), jobs.Failed, jobs.KindExitNonzero, 0, 2, 0},
		{"no such command", 10, runs(say, func(s *jobs.Spec) { s.Run.Command = []string{"no-such-command"} }), jobs.Failed, jobs.KindCommandNotFound, 0, 0, 0},
		{"no such context", 5, func(mark string) jobs.Spec {
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
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		mark := strings.TrimPrefix(r.URL.Path, "/")
		c.steps[mark] = append(c.steps[mark], h.Name)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
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
	ledgers map[string]*ledger
	counter *buildCounter
	store   *dirstore.Store
	lots    map[string]lot                 // by mark
	jobs    map[string]jobs.Job            // by mark
	tags    map[string]map[string][]string // image IDs by worker and mark
}

func TestShare(t *testing.T) {
	hostB := hosttest.StartHost(t, "e2e-b")
	hosttest.Busybox(t, hostB)
	f := newFarm(t)
	store, err := dirstore.New(filepath.Join(f.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	s := &sharing{
		farm: f, hosts: map[string]*hosttest.Host{"one": hostA, "two": hostB}, ledgers: map[string]*ledger{},
		counter: &buildCounter{steps: map[string][]string{}}, store: store,
		lots: map[string]lot{}, jobs: map[string]jobs.Job{}, tags: map[string]map[string][]string{},
	}
	before := map[string][]string{}
	contexts := t.TempDir()
	workers := map[string]*workerProcess{}
	for name, h := range s.hosts {
		before[name] = baseline(t, h)
		s.ledgers[name] = watch(t, h)
		s.counter.listen(t, h)
		workers[name] = s.worker(h, name, "--slots", "4", "--file-root", contexts)
	}
	ids := s.submitMix(contexts)
	s.awaitAll(ids)
	for name, l := range s.ledgers {
		l.settle()
		s.readTags(name)
	}
	used := map[string]int{}
	for mark, job := range s.jobs {
		s.check(mark, job)
		used[job.Result.Worker]++
	}
	if used["one"] < 50 || used["two"] < 50 {
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
		workers[name].stop()
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
	for _, kind := range mix() {
		for i := range kind.count {
			n++
			mark := fmt.Sprintf("m%03d", n)
			s.lots[mark] = kind
			spec := kind.spec(mark)
			spec.Name, spec.Priority = mark, jobs.Priorities()[n%3]
			single := i%4 == 0
			var args []string
			if spec.Build != nil && spec.Context == nil {
				dir := contextDir(s.t, map[string]string{"Dockerfile": countedDockerfile, "mark": mark + "\n"})
				if single {
					args = append(args, dir)
				} else {
					spec.Context = &jobs.Context{Ref: "file://" + pack(s.t, dir, filepath.Join(contexts, mark+".tar"))}
				}
			}
			doc, err := json.Marshal(spec)
			if err != nil {
				s.t.Fatal(err)
			}
			if !single {
				batches[n%4].Write(append(doc, '\n'))
				continue
			}
			file := filepath.Join(contexts, mark+".json")
			if err := os.WriteFile(file, doc, 0o600); err != nil {
				s.t.Fatal(err)
			}
			singles[n%4] = append(singles[n%4], append([]string{"--spec", file}, args...))
		}
	}
	var mu sync.Mutex
	var ids []string
	var g errgroup.Group
	submit := func(stdin []byte, args ...string) error {
		a := s.enqueueWith(stdin, append([]string{"submit", "-q"}, args...)...)
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, strings.Fields(a.stdout)...)
		if a.code != 0 {
			return fmt.Errorf("submit %q: exit code %d\n%s", args, a.code, a.stderr)
		}
		return nil
	}
	for i := range batches {
		g.Go(func() error { return submit(batches[i].Bytes(), "--batch", "-") })
		g.Go(func() error {
			for _, args := range singles[i] {
				if err := submit(nil, append([]string{"-d"}, args...)...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != n || n != 200 {
		s.t.Fatalf("%d jobs got %d IDs, want 200", n, len(ids))
	}
	return ids
}

// pack writes a directory as a tar and returns its path.
func pack(t *testing.T, dir, path string) string {
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

// check holds one record against its sort, the daemons' ledgers and the counter
// of build steps.
func (s *sharing) check(mark string, job jobs.Job) {
	s.t.Helper()
	want, r := s.lots[mark], job.Result
	bad := func(format string, args ...any) {
		s.t.Errorf("%s job %s (%s) of worker %s: %s\n%+v", want.name, mark, job.ID, r.Worker, fmt.Sprintf(format, args...), *r)
	}
	kind := jobs.Kind("")
	if r.Failure != nil {
		kind = r.Failure.Kind
	}
	attempts := max(want.starts, 1)
	if job.State != want.state || kind != want.kind || job.Attempt != attempts || job.Retries != attempts-1 || job.Losses != 0 {
		bad("%s %s, attempt %d, %d retries, %d losses; want %s %s, attempt %d", job.State, kind, job.Attempt, job.Retries, job.Losses, want.state, want.kind, attempts)
	}
	starts := s.everywhere(job.ID, "start")
	for i, e := range starts {
		if e.attempt() != strconv.Itoa(i+1) {
			bad("start %d is of attempt %s", i+1, e.attempt())
		}
	}
	if len(starts) != want.starts {
		bad("the daemons started %d containers, want %d", len(starts), want.starts)
	}
	made := slices.DeleteFunc(s.ledgers[r.Worker].all(), func(e happening) bool { return e.Action != "create" || e.Actor.ID != r.ContainerID })
	if len(made) != 0 && (len(made) != 1 || made[0].job() != job.ID || made[0].attempt() != strconv.Itoa(job.Attempt)) || want.starts > 0 && len(made) == 0 {
		bad("its daemon made %+v as container %s", made, r.ContainerID)
	}
	if created, gone := s.everywhere(job.ID, "create"), s.everywhere(job.ID, "destroy"); len(created) != len(gone) {
		bad("%d containers were made and %d removed", len(created), len(gone))
	}
	steps := s.counter.steps[mark]
	if len(steps) != want.builds || want.builds == 1 && steps[0] != s.hosts[r.Worker].Name {
		bad("its build step ran on %q, want %d times", steps, want.builds)
	}
	if out := s.stdout(job); want.starts > 0 && out != mark+"\n" || want.starts == 0 && out != "" {
		bad("its output is %q", out)
	}
	s.checkFiles(mark, job, bad)
}

// everywhere returns what all daemons did to the job's containers, by attempt.
func (s *sharing) everywhere(id, action string) []happening {
	var all []happening
	for _, l := range s.ledgers {
		all = append(all, slices.DeleteFunc(l.all(), func(e happening) bool { return e.job() != id || e.Action != action })...)
	}
	slices.SortFunc(all, func(a, b happening) int { return cmp.Compare(a.TimeNano, b.TimeNano) })
	return all
}

// checkFiles looks at what the job leaves: an output in the store, a tag on its
// host.
func (s *sharing) checkFiles(mark string, job jobs.Job, bad func(string, ...any)) {
	s.t.Helper()
	r := job.Result
	if want := s.lots[mark].outputs; len(r.Outputs) != want {
		bad("outputs %+v, want %d", r.Outputs, want)
	}
	for _, out := range r.Outputs {
		files := tar.NewReader(bytes.NewReader(s.blob(out.Digest)))
		head, err := files.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if content, err := io.ReadAll(files); err != nil || head.Name != "out" || string(content) != mark+"\n" {
			bad("its output %s holds %q (%v)", head.Name, content, err)
		}
	}
	if job.State == jobs.Succeeded && job.Spec.Build != nil {
		want := []string{r.ImageID}
		if len(job.Spec.Build.Tags) == 0 {
			want = nil // nobody can name it, so it goes with the job
		}
		if got := s.tags[r.Worker][mark]; !slices.Equal(got, want) {
			bad("its tag is on its host as %q, want %q", got, want)
		}
	}
}

// readTags lists the tagged images of a host by mark.
func (s *sharing) readTags(worker string) {
	s.t.Helper()
	s.tags[worker] = map[string][]string{}
	for _, line := range docker(s.t, s.hosts[worker], "images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}") {
		repo, id, _ := strings.Cut(line, " ")
		if mark, ok := strings.CutPrefix(repo, "share/"); ok {
			s.tags[worker][mark] = append(s.tags[worker][mark], id)
		}
	}
}

// blob reads from the artifact store.
func (s *sharing) blob(digest string) []byte {
	s.t.Helper()
	r, err := s.store.Open(s.t.Context(), digest)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return content
}

// stdout is the output of the job's container in the stored log.
func (s *sharing) stdout(job jobs.Job) string {
	s.t.Helper()
	if job.Result.Log.Digest == "" {
		return ""
	}
	var out strings.Builder
	for frames := jobs.NewFrameReader(bytes.NewReader(s.blob(job.Result.Log.Digest))); ; {
		f, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		} else if err != nil {
			s.t.Fatal(err)
		}
		if f.Stream == jobs.Stdout {
			out.Write(f.Data)
		}
	}
}

// noStrangers checks that the daemon started no container that is not a job's.
func (s *sharing) noStrangers(worker string) {
	s.t.Helper()
	known := map[string]bool{}
	for _, job := range s.jobs {
		known[job.ID] = true
	}
	for _, e := range s.ledgers[worker].all() {
		if e.Action == "start" && !known[e.job()] {
			s.t.Errorf("host %s started a container that is no job's: %+v", s.hosts[worker].Name, e)
		}
	}
}

// onlyRecords checks that Redis holds the records of the jobs, asynq's
// statistics and nothing that grows beside them.
func (s *sharing) onlyRecords() {
	s.t.Helper()
	rdb, err := redisconn.Open(s.t.Context(), s.redis.SocketURL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer rdb.Close()
	keys, err := rdb.Keys(s.t.Context(), "*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	allowed := regexp.MustCompile(`^(slipway:\{[0-9a-f-]{36}\}:(job|spec|result|events|log)|slipway:jobs:(succeeded|failed|refused)|slipway:name:m[0-9]{3}` +
		`|slipway:\{builds\}:bell|slipway:leader|asynq:queues|asynq:\{builds(:high|:low)?\}:(processed|failed)(:[0-9-]+)?)$`)
	for _, key := range keys {
		if !allowed.MatchString(key) {
			s.t.Errorf("redis still has %s", key)
		}
		// The live tail is for those who follow; the log is in the store.
		if strings.HasSuffix(key, "}:log") && rdb.TTL(s.t.Context(), key).Val() <= 0 {
			s.t.Errorf("redis keeps %s for ever", key)
		}
	}
	if n := rdb.LLen(s.t.Context(), "slipway:{builds}:bell").Val(); n > 16 {
		s.t.Errorf("the bell has %d tokens", n)
	}
}
