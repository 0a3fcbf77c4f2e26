//go:build integration

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// bins is where TestMain put the programs.
var bins string

// hosts are the build hosts that tests take; each test has a farm (a Redis, a store,
// workers) of its own.
var hosts = &farmtest.Pool{Name: "e2e"}

// sideBySide is how many tests run at once: most of them wait most of the time.
const sideBySide = 4

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "slipway-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bins = dir
	if err := farmtest.Build(context.Background(), dir); err != nil {
		return 1, err
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(sideBySide)); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, hosts.Close()) }()
	return m.Run(), nil
}

// subtests run beside each other, some at a time. Parallel subtests would have to wait for
// each test of the package that began to wait before them.
type subtests struct {
	t     *testing.T
	group errgroup.Group
}

func newSubtests(t *testing.T, atOnce int) *subtests {
	s := &subtests{t: t}
	s.group.SetLimit(atOnce)
	return s
}

// run starts a subtest when there is room for it.
func (s *subtests) run(name string, f func(t *testing.T)) {
	s.group.Go(func() error {
		s.t.Run(name, f)
		return nil
	})
}

// wait returns when all have ended.
func (s *subtests) wait() { _ = s.group.Wait() } // t has the failures

// farm is one Redis with its artifact store, and the environment that the
// programs find them by.
type farm struct {
	t     *testing.T
	redis *hosttest.Redis
	dir   string
	// url is how workers reach Redis, producer how producers do: each with the rights that
	// the documentation gives them, so that no test passes with others.
	url, producer string
	// vars are added to the environment of the programs.
	vars []string
	// server is the farm's, where producers reach it over HTTP.
	server apiServer
	// at is the host whose network producers are on; nil is this machine's.
	at *hosttest.Host
	// cwd is the producers' working directory, that of the test when "".
	cwd string
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	server := hosttest.StartRedis(t, "--appendonly", "yes", "--enable-debug-command", "local", "--include", users(t, false))
	t.Cleanup(func() {
		nothingDenied(t, redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket, MaxRetries: -1}))
	})
	return &farm{t: t, redis: server, dir: t.TempDir(), url: as("worker", server.SocketURL()), producer: as("producer", server.SocketURL())}
}

// blobs reads the farm's artifact store.
func (f *farm) blobs() *artifacts.Blobs {
	f.t.Helper()
	store, err := dirstore.New(filepath.Join(f.dir, "store"))
	if err != nil {
		f.t.Fatal(err)
	}
	return artifacts.NewBlobs(store, f.dir)
}

// policy writes an operator's policy and returns the worker's flag for it.
func (f *farm) policy(text string) string {
	f.t.Helper()
	file := filepath.Join(f.dir, "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\n"+text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return "--policy=" + file
}

// fileRoots is a policy that opens folders for file:// contexts.
func (f *farm) fileRoots(dirs ...string) string {
	f.t.Helper()
	return f.policy(fmt.Sprintf("context: {file_roots: [%s]}\n", strings.Join(dirs, ", ")))
}

func (f *farm) env() []string { return f.envWith(f.url) }

// envWith is the environment of programs that reach Redis by url.
func (f *farm) envWith(url string) []string {
	return append(append(os.Environ(), "SLIPWAY_REDIS="+url, "SLIPWAY_STORE="+filepath.Join(f.dir, "store"), "XDG_CACHE_HOME="+filepath.Join(f.dir, "cache"), "CI=true",
		// Tests act on the worker itself; TestSupervised is about the other one.
		"SLIPWAY_SUPERVISE=false"), f.vars...)
}

// workerProcess is a worker on a build host.
type workerProcess struct {
	*farmtest.Worker
	f    *farm
	host *hosttest.Host
}

// worker starts a worker called name on host and waits until it takes jobs. At
// the end of the test it is drained.
func (f *farm) worker(host *hosttest.Host, name string, args ...string) *workerProcess {
	f.t.Helper()
	return f.workerInside(nil, host, name, args...)
}

// workerInside starts a worker with a command around it, such as unshare.
func (f *farm) workerInside(inside []string, host *hosttest.Host, name string, args ...string) *workerProcess {
	f.t.Helper()
	argv := slices.Concat(inside, []string{filepath.Join(bins, "worker"), "--name", name, "--state", filepath.Join(f.dir, name), "--admin", ""}, args)
	w := &workerProcess{f: f, host: host}
	w.Worker = farmtest.NewWorker(f.t, name, filepath.Join(f.dir, name+".log"), func() *exec.Cmd {
		cmd := w.host.Command(context.Background(), argv[0], argv[1:]...) // a test may move it
		if !strings.HasPrefix(f.url, "unix:") {
			// The host's network has a loopback of its own, without that Redis.
			cmd = exec.Command(argv[0], argv[1:]...)
		}
		cmd.Env = append(append(os.Environ(), "DOCKER_HOST="+w.host.DockerHost()), f.env()...)
		return cmd
	})
	f.t.Cleanup(w.stop)
	w.start()
	return w
}

// start runs the process again after its end.
func (w *workerProcess) start() {
	w.f.t.Helper()
	w.Start(w.f.t)
}

// stop drains the worker and waits for its end.
func (w *workerProcess) stop() {
	w.f.t.Helper()
	if err := w.Drain(time.Minute); err != nil {
		w.Kill()
		w.f.t.Error(err)
	}
}

// answer is what a run of enqueue printed and its exit code.
type answer struct {
	stdout, stderr string
	code           int
}

// enqueue runs the command line with nothing on stdin.
func (f *farm) enqueue(args ...string) answer {
	f.t.Helper()
	return f.enqueueWith(nil, args...)
}

func (f *farm) enqueueWith(stdin []byte, args ...string) answer {
	f.t.Helper()
	return f.program(stdin, "enqueue", args...)
}

// program runs one of ours to its end.
func (f *farm) program(stdin []byte, name string, args ...string) answer {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bins, name), args...)
	if f.at != nil {
		cmd = f.at.Command(ctx, filepath.Join(bins, name), args...)
	}
	cmd.Env, cmd.Dir = f.env(), f.cwd
	if name == "enqueue" {
		cmd.Env = f.producerEnv()
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatalf("%s %q: %v", name, args, err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// submit submits a job without following it and returns its ID.
func (f *farm) submit(args ...string) string {
	f.t.Helper()
	a := f.enqueue(append([]string{"submit", "-d", "-q"}, args...)...)
	if a.code != 0 {
		f.t.Fatalf("submit %q: exit code %d\n%s", args, a.code, a.stderr)
	}
	return strings.TrimSpace(a.stdout)
}

// job reads a job's record as the command line shows it.
func (f *farm) job(id string) jobs.Job {
	f.t.Helper()
	a := f.enqueue("status", id, "-o", "json")
	var job jobs.Job
	if err := json.Unmarshal([]byte(a.stdout), &job); err != nil {
		f.t.Fatalf("status %s: %v (exit code %d)\n%s%s", id, err, a.code, a.stdout, a.stderr)
	}
	return job
}

// ended waits for the end of a job.
func (f *farm) ended(id string) jobs.Job {
	f.t.Helper()
	f.enqueue("wait", id, "--timeout", "3m")
	job := f.job(id)
	if !job.State.Terminal() {
		f.t.Fatalf("job %s is %s after waiting for it", id, job.State)
	}
	return job
}

// eventually waits until ok holds.
func (f *farm) eventually(limit time.Duration, what string, ok func() bool) {
	f.t.Helper()
	farmtest.Until(f.t, limit, what, ok)
}

// docker runs the docker command on a host and returns its output by line.
func docker(t *testing.T, h *hosttest.Host, args ...string) []string {
	t.Helper()
	lines, err := dockerLines(t.Context(), h, args...)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func dockerLines(ctx context.Context, h *hosttest.Host, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("docker %q: %w\n%s", args, err, said.String())
	}
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return l == "" }), nil
}

// baseline is what is on a host: containers, volumes, networks, and images that
// have a name of the farm's own, or none.
func baseline(t *testing.T, h *hosttest.Host) []string {
	t.Helper()
	all, err := belongings(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func belongings(ctx context.Context, h *hosttest.Host) (all []string, err error) {
	for _, what := range [][]string{
		{"ps", "-aq", "--no-trunc"},
		{"volume", "ls", "-q"},
		{"network", "ls", "-q"},
		{"images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=slipway-job/*"},
		{"images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=slipway-doctor"},
		{"images", "-q", "--no-trunc", "--filter", "dangling=true"},
	} {
		lines, err := dockerLines(ctx, h, what...)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	slices.Sort(all)
	return all, nil
}

// clean fails the test when the host is not as it was before.
func clean(t *testing.T, h *hosttest.Host, before []string) {
	t.Helper()
	var now []string
	var err error // containerd's store lists no images while one of them goes
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if now, err = belongings(t.Context(), h); err == nil && slices.Equal(now, before) {
			return
		}
	}
	containers, _ := dockerLines(t.Context(), h, "ps", "-a", "--format", "{{.ID}} {{.Status}} {{.Image}} {{.Labels}}")
	t.Errorf("left behind on host %s (%v):\n got %q\nwant %q\ncontainers:\n%s", h.Name, err, now, before, strings.Join(containers, "\n"))
}

// context writes files into a new directory.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
