//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// failing is a job that does not succeed, and what its owner is told.
type failing struct {
	name string
	// files make a context, which is submitted when there are any.
	files map[string]string
	args  []string
	state jobs.State
	stage jobs.Stage
	kind  jobs.Kind
	// message matches the whole sentence.
	message, hint string
	// tail is the last line of output that the failure quotes, "" for none.
	tail string
	// code is the container's exit code, -1 when none ended.
	code int
	oom  bool
	// exit is the exit code of the command line.
	exit     int
	attempts int // 1 when 0
	// losses are attempts that the infrastructure failed; the others but the
	// last spent retries.
	losses int
}

// failings need nothing but a worker and an image with a shell.
func failings() []failing {
	run := func(command ...string) []string { return append([]string{"--image", "busybox", "--"}, command...) }
	with := func(flags []string, command ...string) []string { return append(flags, run(command...)...) }
	dockerfile := func(text string) map[string]string { return map[string]string{"Dockerfile": text} }
	const lines = "for i in $(seq 30); do echo line $i; done; echo the last words >&2; exit 3"
	return []failing{{
		name:  "Dockerfile syntax error",
		args:  []string{"file://ROOT/syntax.tar"},
		state: jobs.Refused, stage: jobs.StageBuild, kind: jobs.KindDockerfileInvalid, code: -1, exit: jobs.ExitUsage,
		message: `Dockerfile line 2: unknown instruction: RUNN.*`, hint: "correct the Dockerfile",
	}, {
		name:  "Dockerfile without FROM",
		args:  []string{"file://ROOT/nofrom.tar"},
		state: jobs.Refused, stage: jobs.StageBuild, kind: jobs.KindDockerfileInvalid, code: -1, exit: jobs.ExitUsage,
		message: `Dockerfile line 1: the first instruction must be FROM`, hint: "correct the Dockerfile",
	}, {
		name:  "RUN fails",
		files: dockerfile("FROM busybox\nRUN echo a step before\nRUN " + lines + "\n"),
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindBuildFailed, code: -1, exit: jobs.ExitFailed,
		message: `step "RUN for i in .*" ended with exit code 3`, hint: "the build's log", tail: "any",
	}, {
		name:  "COPY of nothing",
		files: dockerfile("FROM busybox\nCOPY nothing /\n"),
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindBuildFailed, code: -1, exit: jobs.ExitFailed,
		message: `step "COPY nothing /" failed: .*nothing.*not found.*`, hint: "the build's log",
	}, {
		name:  "base image missing",
		files: dockerfile("FROM REGISTRY/no-such-base:1\n"),
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindBaseMissing, code: -1, exit: jobs.ExitFailed,
		message: `base image REGISTRY/no-such-base:1 was not found`, hint: "check the name",
	}, {
		name:  "build timeout",
		files: dockerfile("FROM busybox\nRUN echo it begins; sleep 60\n"), args: []string{"--build-timeout", "2s"},
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindTimeout, code: -1, exit: jobs.ExitTimeout,
		message: `the build took longer than 2s`, hint: "timeouts.build",
	}, {
		name:  "build idle timeout",
		files: dockerfile("FROM busybox\nRUN echo it begins; sleep 61\n"), args: []string{"--idle-timeout", "1s"},
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindIdleTimeout, code: -1, exit: jobs.ExitTimeout,
		message: `the build printed nothing for 1s`, hint: "timeouts.idle",
	}, {
		name:  "secret the worker lacks",
		files: dockerfile("FROM busybox\nRUN --mount=type=secret,id=token true\n"), args: []string{"--secret", "id=token"},
		state: jobs.Refused, stage: jobs.StageBuild, kind: jobs.KindSecretNotFound, code: -1, exit: jobs.ExitUsage,
		message: `the worker has no secret (?:named )?"token"`, hint: "the operator",
	}, {
		name:  "secret the job does not name",
		files: dockerfile("FROM busybox\nRUN --mount=type=secret,id=token,required true\n"),
		state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindBuildFailed, code: -1, exit: jobs.ExitFailed,
		message: `step "RUN --mount=.*" wants secret "?token"?, which the job does not name`, hint: "build.secrets",
	}, {
		name:  "wrong digest of the context",
		args:  []string{"--digest", "sha256:" + strings.Repeat("0", 64), "file://ROOT/context.tar"},
		state: jobs.Refused, stage: jobs.StageFetch, kind: jobs.KindContextDigest, code: -1, exit: jobs.ExitUsage,
		message: `.*sha256:0{64}.*sha256:[0-9a-f]{64}.*|.*sha256:[0-9a-f]{64}.*sha256:0{64}.*`, hint: "submit again",
	}, {
		name:  "context not in the store",
		args:  []string{"cas:sha256:" + strings.Repeat("0", 64)},
		state: jobs.Refused, stage: jobs.StageFetch, kind: jobs.KindContextNotFound, code: -1, exit: jobs.ExitUsage,
		message: `.*sha256:0{64}.*`, hint: "submit",
	}, {
		name:  "context of an unknown scheme",
		args:  []string{"htp://example.com/context.tar"},
		state: jobs.Refused, stage: jobs.StageFetch, kind: jobs.KindSchemeNotAllowed, code: -1, exit: jobs.ExitUsage,
		message: `contexts of scheme "htp" are not allowed; allowed are cas, .*https.*`, hint: "context.schemes",
	}, {
		name:  "context file not there",
		args:  []string{"file://ROOT/no-such.tar"},
		state: jobs.Refused, stage: jobs.StageFetch, kind: jobs.KindContextNotFound, code: -1, exit: jobs.ExitUsage,
		message: `there is no file "ROOT/no-such.tar" on the worker`, hint: "on the worker's host",
	}, {
		name:  "context outside of what is open",
		args:  []string{"file:///etc/passwd"},
		state: jobs.Refused, stage: jobs.StageFetch, kind: jobs.KindFileOutsideRoots, code: -1, exit: jobs.ExitUsage,
		message: `"/etc/passwd" is outside the folders that are open for contexts`, hint: "submit the directory",
	}, {
		name: "exit code 7", args: run("sh", "-c", "echo before the end; exit 7"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindExitNonzero, code: 7, exit: jobs.ExitFailed,
		message: `the container ended with exit code 7`, hint: "the end of its output", tail: "before the end",
	}, {
		name: "command not found", args: run("no-such-program", "-v"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindCommandNotFound, code: -1, exit: jobs.ExitFailed,
		message: `command "no-such-program" was not found in the image`, hint: "check the command",
	}, {
		name: "command not executable", args: run("/etc/passwd"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindCommandNotExec, code: -1, exit: jobs.ExitFailed,
		message: `command "/etc/passwd" cannot be executed`, hint: "executable",
	}, {
		// The victim is a child, so that the engine has seen the kernel's word
		// before the container ends: 20.10 misses it now and then for pid 1.
		name:  "out of memory",
		args:  with([]string{"-m", "32m"}, "sh", "-c", "(x=aaaa; while :; do x=$x$x; done); code=$?; echo it was $code >&2; sleep 0.5; exit $code"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindOOM, code: 137, oom: true, exit: jobs.ExitFailed,
		message: `the container ran out of its memory limit of 32MiB \(exit code 137\)`, hint: "run.limits.memory", tail: "it was 137",
	}, {
		name: "137 without lack of memory", args: run("sh", "-c", "sh -c 'kill -9 $$'; exit $?"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindExitNonzero, code: 137, exit: jobs.ExitFailed,
		message: `the container ended with exit code 137`, hint: "SIGKILL", tail: "Killed",
	}, {
		name:  "run timeout",
		args:  with([]string{"--timeout", "3s", "--stop-timeout", "1"}, "sh", "-c", "echo started; sleep 60"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindTimeout, code: 137, exit: jobs.ExitTimeout,
		message: `the run took longer than 3s`, hint: "timeouts.run", tail: "started",
	}, {
		name:  "run idle timeout",
		args:  with([]string{"--idle-timeout", "1s", "--stop-timeout", "1"}, "sh", "-c", "echo started; sleep 60"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindIdleTimeout, code: 137, exit: jobs.ExitTimeout,
		message: `the run printed nothing for 1s`, hint: "timeouts.idle", tail: "started",
	}, {
		name:  "port taken",
		args:  with([]string{"-p", "PORT:80"}, "sleep", "60"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindPortConflict, code: -1, exit: jobs.ExitFailed,
		message: `host address 127.0.0.1:PORT is taken`, hint: "another host port",
	}, {
		name:  "service that ends",
		args:  with([]string{"--keep", "1m", "-p", "80"}, "sh", "-c", "echo cannot serve; exit 4"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindNotReady, code: 4, exit: jobs.ExitFailed,
		message: `the service ended with exit code 4 before it was ready`, hint: "foreground", tail: "cannot serve",
	}, {
		// Docker's proxy listens in its place.
		name:  "service that does not listen",
		args:  with([]string{"--keep", "1m", "-p", "80", "--ready-timeout", "2s", "--stop-timeout", "1"}, "sh", "-c", "echo thinking; sleep 60"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindNotReady, code: 137, exit: jobs.ExitFailed,
		message: `the service was not ready within 2s: nothing accepts connections behind 127.0.0.1:\d+`, hint: "run.ready", tail: "thinking",
	}, {
		name:  "larger than any host",
		args:  with([]string{"--cpus", "512", "--memory", "8t", "--queue-timeout", "1s"}, "true"),
		state: jobs.Expired, stage: jobs.StageQueue, kind: jobs.KindQueueTimeout, code: -1, exit: jobs.ExitTimeout,
		message: `no worker took the job within its queue timeout`, hint: "timeouts.queue",
	}, {
		name: "image to run missing", args: []string{"--image", "REGISTRY/no-such-image:1", "--", "true"},
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindImageMissing, code: -1, exit: jobs.ExitFailed,
		message: `image REGISTRY/no-such-image:1 was not found`, hint: "check the name",
	}, {
		name: "queue timeout", args: with([]string{"--queue", "nobody", "--queue-timeout", "1s"}, "true"),
		state: jobs.Expired, stage: jobs.StageQueue, kind: jobs.KindQueueTimeout, code: -1, exit: jobs.ExitTimeout,
		message: `no worker took the job within its queue timeout`, hint: "timeouts.queue",
	}, {
		name: "retries spent", args: with([]string{"--retries", "2"}, "sh", "-c", "echo again; exit 9"),
		state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindExitNonzero, code: 9, exit: jobs.ExitFailed,
		message: `the container ended with exit code 9`, hint: "the end of its output", tail: "again", attempts: 3,
	}}
}

// Every failure has one honest outcome, and leaves nothing behind.
func TestFailures(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	root := contextDir(t, map[string]string{"context.tar": ""})
	for name, text := range map[string]string{"context": "FROM busybox\n", "syntax": "FROM busybox\nRUNN echo\n", "nofrom": "RUN echo\n"} {
		f.tarOf(filepath.Join(root, name+".tar"), map[string]string{"Dockerfile": text})
	}
	taken, err := hostA.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	secrets := t.TempDir()
	f.worker(hostA, "one", f.fileRoots(root), "--secrets", secrets)
	fill := strings.NewReplacer("ROOT", root, "PORT", port, "REGISTRY", hosttest.StartRegistry(t, hostA, hosttest.Login{}))
	for _, tt := range failings() {
		t.Run(tt.name, func(t *testing.T) {
			before := baseline(t, hostA)
			f := f.in(t)
			var args []string
			for name, text := range tt.files {
				tt.files[name] = fill.Replace(text)
			}
			if tt.files != nil {
				args = append(args, contextDir(t, tt.files))
			}
			for _, a := range tt.args {
				args = append(args, fill.Replace(a))
			}
			tt.message = fill.Replace(tt.message)
			job, a := f.run(args...)
			tt.check(t, job)
			if got := job.Result.Failure.Tail; tt.tail == "any" && !(slices.Contains(got, "the last words") && slices.Contains(got, "line 30")) {
				t.Errorf("the failure lacks the last words or the last line: %q", got)
			}
			if a.code != tt.exit {
				t.Errorf("exit code of submit = %d, want %d", a.code, tt.exit)
			}
			told(t, a.stderr, job)
			if a := f.enqueue("wait", job.ID); a.code != tt.exit {
				t.Errorf("exit code of wait = %d, want %d", a.code, tt.exit)
			}
			clean(t, hostA, before)
			f.noSpools("one")
		})
	}
}

// check compares a job that has ended with what is wanted.
func (tt failing) check(t *testing.T, job jobs.Job) {
	t.Helper()
	r := job.Result
	if r == nil || r.Failure == nil {
		t.Fatalf("the job is %s without a failure: %+v", job.State, r)
	}
	fl := *r.Failure
	t.Logf("%s in %s, %s: %s (hint: %s)", job.State, fl.Stage, fl.Kind, fl.Message, fl.Hint)
	if job.State != tt.state || r.State != tt.state {
		t.Errorf("state = %s, in the result %s, want %s", job.State, r.State, tt.state)
	}
	if fl.Stage != tt.stage || fl.Kind != tt.kind {
		t.Errorf("failure in %s, %s; want %s, %s", fl.Stage, fl.Kind, tt.stage, tt.kind)
	}
	if !regexp.MustCompile(`^(?:` + tt.message + `)$`).MatchString(fl.Message) {
		t.Errorf("message %q does not match %q", fl.Message, tt.message)
	}
	if fl.Hint == "" || !strings.Contains(fl.Hint, tt.hint) {
		t.Errorf("hint %q does not mention %q", fl.Hint, tt.hint)
	}
	presentable(t, fl)
	last := ""
	if len(fl.Tail) > 0 {
		last = fl.Tail[len(fl.Tail)-1]
	}
	// BuildKit does not keep the order of a step's two streams.
	if last != tt.tail && tt.tail != "any" || len(fl.Tail) > 20 {
		t.Errorf("the failure quotes %d lines that end with %q, want at most 20 and %q", len(fl.Tail), last, tt.tail)
	}
	code := -1
	if r.ExitCode != nil {
		code = *r.ExitCode
	}
	if code != tt.code || r.OOM != tt.oom {
		t.Errorf("exit code %d, oom %t; want %d, %t", code, r.OOM, tt.code, tt.oom)
	}
	attempts := max(tt.attempts, 1)
	if retries := attempts - 1 - tt.losses; job.Attempt != attempts || job.Retries != retries || job.Losses != tt.losses {
		t.Errorf("attempt %d with %d retries and %d losses, want %d with %d and %d", job.Attempt, job.Retries, job.Losses, attempts, retries, tt.losses)
	}
}

// presentable fails when a failure shows people what is not theirs: paths of
// the host, the daemon's own words, more than a sentence.
func presentable(t *testing.T, fl jobs.Failure) {
	t.Helper()
	for _, text := range []string{fl.Message, fl.Hint} {
		for _, raw := range []string{
			filepath.Join(os.TempDir(), "slipway-"), "/var/lib", "/run/", "overlay2", "OCI runtime", "runc ", "runc:", "rpc error", "failed to solve", "Error response", "containerd",
			"context canceled", "deadline exceeded", "docker.sock", "process \"", "\n",
		} {
			if strings.Contains(text, raw) {
				t.Errorf("%q holds %q", text, raw)
			}
		}
		// Three full stops stand for what was cut.
		if len(text) > 300 || strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "...") {
			t.Errorf("%q is no short sentence without a full stop", text)
		}
	}
}

// told fails when the last lines of submit lack a part of the failure.
func told(t *testing.T, stderr string, job jobs.Job) {
	t.Helper()
	fl := job.Result.Failure
	for _, want := range append([]string{fl.Message, string(fl.Stage), string(fl.Kind), fl.Hint, string(job.State)}, fl.Tail...) {
		if !strings.Contains(stderr, want) {
			t.Errorf("submit does not tell %q:\n%s", want, stderr)
		}
	}
	if !strings.Contains(stderr, "enqueue logs "+job.ID) {
		t.Errorf("submit does not tell what to type next:\n%s", stderr)
	}
}

// A job can be cancelled wherever it is.
func TestCancel(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	building := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo building; sleep 62\n"})
	queued := f.submit("--image", "busybox", "--", "true")
	f.cancel(queued)
	f.wantCancelled(queued, jobs.StageQueue, "before a worker had it")

	f.worker(hostA, "one")
	for _, tt := range []struct {
		stage jobs.Stage
		shown string // in the log before it is cancelled
		args  []string
	}{
		{jobs.StageBuild, "building", []string{building}},
		{jobs.StageRun, "running", []string{"--image", "busybox", "--stop-timeout", "1", "--", "sh", "-c", "echo running; sleep 62"}},
	} {
		id := f.submit(tt.args...)
		f.eventually(20*time.Second, string(tt.stage)+" prints", func() bool {
			a := f.enqueue("logs", id)
			return f.job(id).Stage == tt.stage && strings.Contains(a.stdout+a.stderr, tt.shown)
		})
		f.cancel(id)
		f.wantCancelled(id, tt.stage, "during "+string(tt.stage))
		if a := f.enqueue("cancel", id); a.code != jobs.ExitUsage || !strings.Contains(a.stderr, "ended already") {
			t.Errorf("cancelling it again: exit code %d, %q", a.code, a.stderr)
		}
	}
	if sleeping := f.sleeping("62"); len(sleeping) > 0 {
		t.Errorf("processes of cancelled jobs are left: %q", sleeping)
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

func (f *farm) cancel(id string) {
	f.t.Helper()
	if a := f.enqueue("cancel", id); a.code != 0 {
		f.t.Fatalf("cancel: exit code %d\n%s", a.code, a.stderr)
	}
}

func (f *farm) wantCancelled(id string, stage jobs.Stage, when string) {
	f.t.Helper()
	started := time.Now()
	if a := f.enqueue("wait", id, "--timeout", "1m"); a.code != jobs.ExitCancelled {
		f.t.Errorf("exit code of wait = %d, want %d\n%s", a.code, jobs.ExitCancelled, a.stderr)
	}
	if took := time.Since(started); took > 10*time.Second {
		f.t.Errorf("the cancel took %s", took)
	}
	job := f.job(id)
	if job.State != jobs.Cancelled || job.Result == nil || job.Result.Failure == nil {
		f.t.Fatalf("job is %s with %+v, want it cancelled with a failure", job.State, job.Result)
	}
	fl := *job.Result.Failure
	if fl.Kind != jobs.KindCancelled || fl.Stage != stage || !strings.HasPrefix(fl.Message, "cancelled by ") || !strings.HasSuffix(fl.Message, when) {
		f.t.Errorf("failure %+v; want %s in %s, cancelled by a person %s", fl, jobs.KindCancelled, stage, when)
	}
	presentable(f.t, fl)
}

// What cannot be meant is refused on the spot, and makes no job.
func TestBadSubmissions(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	document := func(text string) string {
		return filepath.Join(contextDir(t, map[string]string{"job.json": text}), "job.json")
	}
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\n"})
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown field", []string{"-f", document(`{"run": {"image": "busybox", "comand": ["true"]}}`)}, []string{"/run/comand", "command"}},
		{"field of a wrong type", []string{"-f", document(`{"run": {"image": 7}}`)}, []string{"/run/image"}},
		{"no JSON", []string{"-f", document(`FROM busybox`)}, []string{"job.json", "enqueue submit -f"}},
		{"value beyond its limit", []string{"--image", "busybox", "--retries", "99", "--", "true"}, []string{"--retries", "99", "10"}},
		{"unknown flag", []string{"--tagg", "x", dir}, []string{"--tagg", "--tag"}},
		{"flag without a number", []string{"--image", "busybox", "--cpus", "many", "--", "true"}, []string{"--cpus", `found "many"; want a number`}},
		{"flag without a size", []string{"--image", "busybox", "-m", "12q", "--", "true"}, []string{"12q", "512m"}},
		{"build and image", []string{"--image", "busybox", dir}, []string{"--image", "PATH"}},
		{"build flag without a build", []string{"--image", "busybox", "--no-cache", "--", "true"}, []string{"--no-cache"}},
		{"nothing", nil, []string{"nothing to do", "enqueue submit ."}},
		{"no such directory", []string{filepath.Join(dir, "none")}, []string{"none", "no such file"}},
		{"no such Dockerfile", []string{"-f", "Dockerfile.none", dir}, []string{"Dockerfile.none"}},
		{"two directories", []string{dir, dir}, []string{"one PATH", "--"}},
		{"push without a tag", []string{"--push", dir}, []string{"--push", "tag"}},
		{"impossible scheme", []string{"HTTPS://example.com/context.tar"}, []string{"HTTPS://", "https:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			a := f.enqueue(append([]string{"submit"}, tt.args...)...)
			if a.code != jobs.ExitUsage {
				t.Errorf("exit code %d, want %d", a.code, jobs.ExitUsage)
			}
			if a.stdout != "" {
				t.Errorf("stdout %q, want nothing", a.stdout)
			}
			for _, want := range append(tt.want, "error:") {
				if !strings.Contains(a.stderr, want) {
					t.Errorf("stderr lacks %q:\n%s", want, a.stderr)
				}
			}
			if lines := strings.Count(a.stderr, "\n"); lines > 5 {
				t.Errorf("%d lines are too many for one mistake:\n%s", lines, a.stderr)
			}
			if made := f.enqueue("ls", "-o", "name").stdout; made != "" {
				t.Errorf("jobs were made: %q", made)
			}
		})
	}
	a := f.enqueue("frobnicate")
	if a.code != jobs.ExitUsage || !strings.Contains(a.stderr, "frobnicate") {
		t.Errorf("unknown verb: exit code %d, %q", a.code, a.stderr)
	}
	a = f.enqueue("--redis", "redis://127.0.0.1:1/0", "ls")
	if a.code != jobs.ExitUnreachable || !strings.Contains(a.stderr, "127.0.0.1:1") || !strings.Contains(a.stderr, "SLIPWAY_REDIS") {
		t.Errorf("no Redis: exit code %d, %q", a.code, a.stderr)
	}
}

// in is the farm for a subtest.
func (f *farm) in(t *testing.T) *farm {
	sub := *f
	sub.t = t
	return &sub
}

// noSpools fails the test when a worker's state directory holds logs of jobs
// that have ended.
func (f *farm) noSpools(worker string) {
	f.t.Helper()
	dir := filepath.Join(f.dir, worker, "spool")
	f.eventually(5*time.Second, "no spool is left in "+dir, func() bool {
		left, err := os.ReadDir(dir)
		return os.IsNotExist(err) || err == nil && len(left) == 0
	})
}

// sleeping lists processes whose whole command line is sleep with that argument.
func (f *farm) sleeping(argument string) (found []string) {
	f.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, path := range all {
		line, _ := os.ReadFile(path) // it may have ended
		if string(line) == "sleep\x00"+argument+"\x00" {
			found = append(found, fmt.Sprintf("%s: %q", path, line))
		}
	}
	return found
}

// tarOf writes files as a tar archive.
func (f *farm) tarOf(path string, files map[string]string) {
	f.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}); err != nil {
			f.t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		f.t.Fatal(err)
	}
}
