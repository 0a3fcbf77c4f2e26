//go:build integration

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

var echoRuns = flag.Int("echo.runs", 100, "how many runs TestEchoIsNeverLost makes; 1000 take some minutes")

// Run after run of echo never loses the line. Every one goes the whole way: it
// costs little more than the bare containers would. Their stored logs are read
// here; a sample is asked from enqueue, because as many processes would take
// longer than the jobs.
//
// The worker is as it was afterwards: it holds no more goroutines or memory than
// after the first of them.
func TestEchoIsNeverLost(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	const sample = 20
	runs := *echoRuns
	before := baseline(t, hostA)
	f := newFarm(t)
	admin := freeAddress(t)
	f.worker(hostA, "one", "--slots", "4", "--admin", admin)
	for range 2 * sample { // it has its pools and connections then
		f.submit("--image", hosttest.BusyboxTag, "--", "true")
	}
	f.idle(5 * time.Minute)
	first := gauges(t, hostA, admin)
	var batch bytes.Buffer
	for i := range runs {
		fmt.Fprintf(&batch, `{"name": "echo", "run": {"image": "busybox", "command": ["echo", "x %d"]}}`+"\n", i)
	}
	submitted := f.enqueueWith(batch.Bytes(), "submit", "--batch", "-")
	ids := strings.Fields(submitted.stdout)
	if submitted.code != 0 || len(ids) != runs {
		t.Fatalf("%d jobs were submitted, exit code %d\n%s", len(ids), submitted.code, submitted.stderr)
	}
	want := map[string]string{}
	for i, id := range ids {
		want[id] = fmt.Sprintf("x %d\n", i)
	}
	started := time.Now()
	f.idle(25 * time.Minute)
	t.Logf("%d runs in %s", runs, time.Since(started).Round(time.Second))
	var last gauge
	defer func() {
		t.Logf("goroutines %.0f -> %.0f, resident memory %.1f -> %.1f MB", first.goroutines, last.goroutines, first.memory/1e6, last.memory/1e6)
	}()
	// A check of the host or a connection about to close may be among them at first.
	f.eventually(30*time.Second, "the worker has no more goroutines than before", func() bool {
		last = gauges(t, hostA, admin)
		return last.goroutines <= first.goroutines+5
	})
	if last.memory > first.memory+20e6 {
		t.Errorf("the worker grew")
	}
	for _, job := range f.list(runs) {
		text, ok := want[job.ID]
		if !ok {
			t.Fatalf("job %s is listed twice or was not submitted", job.ID)
		}
		delete(want, job.ID)
		if job.State != jobs.Succeeded || job.Attempt != 1 {
			t.Errorf("job %s is %s in attempt %d", job.ID, job.State, job.Attempt)
			continue
		}
		if got := f.stored(job); string(got.stdout) != text || len(got.stderr) > 0 {
			t.Errorf("log of job %s = %q, %q; want %q", job.ID, got.stdout, got.stderr, text)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d jobs are not listed", len(want))
	}
	for i, id := range ids[:sample] {
		if a := f.enqueue("logs", id); a.stdout != fmt.Sprintf("x %d\n", i) || a.stderr != "" || a.code != 0 {
			t.Errorf("logs %s = %+v", id, a)
		}
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

// Output arrives byte for byte and stream by stream: 10 MiB of everything but a
// newline, carriage returns and invalid UTF-8 among it.
func TestLogIsByteForByte(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one")
	random := rand.NewChaCha8([32]byte{})
	payload := make([]byte, 10<<20)
	_, _ = random.Read(payload) // never fails
	payload = bytes.ReplaceAll(payload, []byte("\n"), []byte("\r"))
	const errs = "\r 10%\r 50%\r100%\n\xff\xfe\x80\x00 no UTF-8 \x1b[31mred\x1b[0m\r\n no newline at the end"
	dir := contextDir(t, map[string]string{
		"payload": string(payload), "errs": errs,
		"Dockerfile": "FROM busybox\nCOPY payload errs /\nCMD [\"sh\", \"-c\", \"cat /errs >&2; cat /payload\"]\n",
	})
	// The notes of the farm and the build share stderr with the container.
	followed := f.enqueue("submit", "--run", "--name", "bytes", dir)
	wantBytes(t, "stdout while following", []byte(followed.stdout), payload)
	if followed.code != 0 || !strings.Contains(followed.stderr, errs) {
		t.Errorf("exit code %d; stderr while following lacks what the container wrote", followed.code)
	}
	job := f.list(1)[0]
	got := f.stored(job)
	wantBytes(t, "stored stdout", got.stdout, payload)
	wantBytes(t, "stored stderr", got.stderr, []byte(errs))
	if !job.Result.Log.Complete() {
		t.Errorf("log %+v is not complete", job.Result.Log)
	}
	for _, args := range [][]string{{"logs", job.ID, "--progress", "quiet"}, {"logs", "-f", job.ID, "--progress", "quiet"}} {
		a := f.enqueue(args...)
		wantBytes(t, strings.Join(args, " "), []byte(a.stdout), payload)
		if a.code != 0 || a.stderr != errs {
			t.Errorf("%q: exit code %d, stderr %q; want %q", args, a.code, a.stderr, errs)
		}
	}
}

// A flood is capped with a marker, its head and its end are kept, the account
// of what is missing is exact, and the worker stays small.
func TestFloodIsCapped(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	const lines, limit = 6_250_000, 64 << 20 // of 16 bytes; limit is the worker's default
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	script := fmt.Sprintf("echo the first line; yes 0123456789abcde | head -n %d; echo the last line", lines)
	a := f.enqueue("submit", "-o", "json", "--progress", "quiet", "--image", "busybox", "--", "sh", "-c", script)
	var job jobs.Job
	if err := json.Unmarshal([]byte(a.stdout), &job); err != nil || job.State != jobs.Succeeded {
		t.Fatalf("job %+v, %v\n%.2000s", job, err, a.stderr)
	}
	if peak := w.peakMemory(); peak >= 150<<20 {
		t.Errorf("the worker took %s of memory, want less than 150 MiB", jobs.Bytes(peak))
	} else {
		t.Logf("the worker took %d MiB of memory", peak>>20)
	}
	log := job.Result.Log
	if log.Size > limit || log.Complete() {
		t.Errorf("log %+v; want at most %d bytes and some dropped", log, limit)
	}
	got := f.stored(job)
	total := int64(len("the first line\n") + 16*lines + len("the last line\n"))
	if kept := int64(len(got.stdout)); kept+log.Dropped != total {
		t.Errorf("%d bytes are kept and %d dropped, that is %d; the program wrote %d", kept, log.Dropped, kept+log.Dropped, total)
	}
	if !bytes.HasPrefix(got.stdout, []byte("the first line\n0123456789abcde\n")) || !bytes.HasSuffix(got.stdout, []byte("0123456789abcde\nthe last line\n")) {
		t.Errorf("log from %.40q to %q lacks the first or the last line", got.stdout, got.stdout[max(0, len(got.stdout)-40):])
	}
	marker := regexp.MustCompile(`^\[slipway: (\d+) bytes of output left out: the log is over its limit of 64MiB\]\n$`).FindStringSubmatch(got.notes)
	if marker == nil || marker[1] != strconv.FormatInt(log.Dropped, 10) {
		t.Errorf("marker %q, want one with %d bytes", got.notes, log.Dropped)
	}
	// Who followed saw the live tail: both ends, and a mark where it fell behind.
	for _, want := range []string{"the first line\n", "the last line\n"} {
		if !strings.Contains(a.stderr, want) { // the document has stdout
			t.Errorf("the follower lacks %q", want)
		}
	}
	if replay := f.enqueue("logs", job.ID); !bytes.Equal([]byte(replay.stdout), got.stdout) || !strings.Contains(replay.stderr, marker[0]) {
		t.Errorf("logs prints %d bytes and %q, want %d and the marker", len(replay.stdout), replay.stderr, len(got.stdout))
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

// A running job's log can be read so far, and followed from the middle.
func TestLogOfARunningJob(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one")
	for _, tt := range []struct {
		name  string
		lines int // before the readers come: more than the live tail holds, or less
		whole bool
	}{
		{"short", 100, true},
		{"longer than the live tail", 200_000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			gate := fmt.Sprintf("seq %d; echo midway; while [ ! -e /tmp/go ]; do sleep 0.1; done; seq 5; echo end", tt.lines)
			id := f.submit("--image", "busybox", "--", "sh", "-c", gate)
			f.eventually(30*time.Second, "the job is midway", func() bool {
				return strings.HasSuffix(f.enqueue("logs", id).stdout, "midway\n")
			})
			soFar := f.enqueue("logs", id)
			if soFar.code != 0 {
				t.Errorf("logs of a running job: exit code %d\n%s", soFar.code, soFar.stderr)
			}
			followers := []*follower{f.follow(id), f.follow(id)}
			for _, one := range followers {
				one.until("midway\n")
			}
			docker(t, hostA, "exec", jobs.ContainerName(id, 1), "touch", "/tmp/go")
			want := sequence(tt.lines) + "midway\n" + sequence(5) + "end\n"
			for _, one := range followers {
				a := one.end()
				wantJoined(t, a, want, tt.whole)
				if !strings.Contains(a.stderr, "succeeded") || a.code != 0 {
					t.Errorf("logs -f: exit code %d, stderr lacks the outcome:\n%s", a.code, a.stderr)
				}
			}
			wantJoined(t, soFar, sequence(tt.lines)+"midway\n", tt.whole)
			if a := f.enqueue("logs", id); a.stdout != want || a.stderr != "" {
				t.Errorf("logs of the ended job prints %d bytes and %q, want %d and nothing", len(a.stdout), a.stderr, len(want))
			}
		})
	}
}

// wantJoined checks what a reader saw who came in the middle: everything, or
// what the live tail still had and a mark for every byte of the rest.
func wantJoined(t *testing.T, a answer, want string, whole bool) {
	t.Helper()
	var missing int
	for _, gap := range regexp.MustCompile(`\[gap: (\d+) bytes\]`).FindAllStringSubmatch(a.stderr, -1) {
		n, err := strconv.Atoi(gap[1])
		if err != nil {
			t.Fatal(err)
		}
		missing += n
	}
	if missing == 0 && a.stdout != want || missing > 0 && whole {
		t.Errorf("saw %d bytes of %d, %d are in marked gaps\n%s", len(a.stdout), len(want), missing, a.stderr)
	}
	// A gap counts the frames' headers, too.
	if got := len(a.stdout) + missing; got < len(want) || got > len(want)+len(want)/20 {
		t.Errorf("saw %d bytes and gaps of %d, the job printed %d", len(a.stdout), missing, len(want))
	}
	if _, end, _ := strings.Cut(want, "midway"); !strings.HasSuffix(a.stdout, "midway"+end) {
		t.Errorf("saw ...%q, want the end of the output", a.stdout[max(0, len(a.stdout)-60):])
	}
}

func sequence(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}

// The output of RUN steps is there while a build is followed and afterwards,
// and steps keep their numbers.
func TestBuildLog(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one")
	// What is expected is not a part of the commands, which are printed too.
	const dockerfile = `FROM busybox
RUN echo first step $((40+1))
RUN for i in 1 2 3 4 5; do echo second step $((50+i)); sleep 0.2; done
RUN echo third step $((60+1)) >&2
CMD ["echo", "from the run"]
`
	for _, how := range []struct {
		name string
		args []string
	}{
		{"build", nil},
		{"build and run", []string{"--run"}},
		{"cached", []string{"--run"}},
	} {
		t.Run(how.name, func(t *testing.T) {
			f := f.in(t)
			// A new label is a new image; the steps are cached by the third time.
			args := append([]string{"submit", "--progress", "plain"}, how.args...)
			cached := how.name == "cached"
			if !cached {
				args = append(args, "--no-cache")
			}
			followed := f.enqueue(append(args, contextDir(t, map[string]string{"Dockerfile": dockerfile}))...)
			if followed.code != 0 {
				t.Fatalf("exit code %d\n%s", followed.code, followed.stderr)
			}
			if run := len(how.args) > 0; run != (followed.stdout == "from the run\n") {
				t.Errorf("stdout %q", followed.stdout)
			}
			job := f.list(1)[0]
			wantBuildLog(t, "submit", followed.stderr, cached)
			wantBuildLog(t, "logs", f.enqueue("logs", job.ID).stderr, cached)
			wantBuildLog(t, "logs -f", f.enqueue("logs", "-f", job.ID).stderr, cached)
		})
	}
}

// wantBuildLog checks a build in the plain form:
//
//	#5 [2/4] RUN echo first step $((40+1))
//	#5 0.274 first step 41
//	#5 DONE 0.3s
func wantBuildLog(t *testing.T, who, text string, cached bool) {
	t.Helper()
	names := map[string]string{} // step number -> name
	for line := range strings.Lines(text) {
		found := regexp.MustCompile(`^#(\d+) (\[.*)`).FindStringSubmatch(line)
		if found == nil {
			continue
		}
		if have := names[found[1]]; have != "" && have != found[2] {
			t.Errorf("%s: number %s stands for %q and %q", who, found[1], have, found[2])
		}
		for number, name := range names {
			if name == found[2] && number != found[1] {
				t.Errorf("%s: step %q has the numbers %s and %s", who, name, number, found[1])
			}
		}
		names[found[1]] = found[2]
	}
	var want []string
	if cached {
		want = []string{`CACHED`}
	} else {
		want = []string{`first step 41`, `second step 51`, `second step 52`, `second step 53`, `second step 54`, `second step 55`, `third step 61`}
	}
	for _, line := range want {
		if n := len(regexp.MustCompile(`(?m)^#\d+ (?:\d+\.\d+ )?`+line+`$`).FindAllString(text, -1)); n != 1 && !(cached && n > 0) {
			t.Errorf("%s shows %q %d times, want once", who, line, n)
		}
	}
	for _, step := range []string{"[2/4] RUN echo first", "[3/4] RUN for i", "[4/4] RUN echo third"} {
		if !strings.Contains(text, step) {
			t.Errorf("%s lacks step %q", who, step)
		}
	}
	if t.Failed() {
		t.Logf("%s printed:\n%s", who, text)
	}
}

// streams are the parts of a stored log.
type streams struct {
	stdout, stderr []byte
	notes          string
}

// stored reads a job's log out of the artifact store.
func (f *farm) stored(job jobs.Job) (s streams) {
	f.t.Helper()
	blob, err := f.blobs().Read(f.t.Context(), job.Result.Log.Digest)
	if err != nil {
		f.t.Fatalf("open the log of job %s: %v", job.ID, err)
	}
	defer blob.Close()
	for r := jobs.NewFrameReader(blob); ; {
		frame, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			f.t.Fatalf("read the log of job %s: %v", job.ID, err)
		}
		switch frame.Stream {
		case jobs.Stdout:
			s.stdout = append(s.stdout, frame.Data...)
		case jobs.Stderr:
			s.stderr = append(s.stderr, frame.Data...)
		case jobs.Note:
			s.notes += string(frame.Data)
		case jobs.BuildStatus:
		}
	}
}

// list returns the newest jobs.
func (f *farm) list(limit int) []jobs.Job {
	f.t.Helper()
	a := f.enqueue("ls", "--limit", strconv.Itoa(limit), "-o", "jsonl")
	var list []jobs.Job
	for dec := json.NewDecoder(strings.NewReader(a.stdout)); ; {
		var job jobs.Job
		err := dec.Decode(&job)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			f.t.Fatalf("ls: %v (exit code %d)\n%s", err, a.code, a.stderr)
		}
		list = append(list, job)
	}
}

// wantBytes compares without printing megabytes.
func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: %d bytes, want %d; they differ from byte %d: %.40q, want %.40q", what, len(got), len(want), at, got[at:], want[at:])
}

// peakMemory is the most that the worker's process had resident, in bytes.
func (w *workerProcess) peakMemory() int64 {
	w.f.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Pid()))
	if err != nil {
		w.f.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)Name:\tworker\n.*VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if found == nil {
		w.f.t.Fatalf("no peak memory of a worker in:\n%s", status)
	}
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		w.f.t.Fatal(err)
	}
	return kb << 10
}

// follower is a running enqueue logs -f.
type follower struct {
	f              *farm
	cmd            *exec.Cmd
	stdout, stderr *os.File
}

func (f *farm) follow(id string) *follower {
	f.t.Helper()
	one := &follower{f: f}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	f.t.Cleanup(cancel)
	one.cmd = exec.CommandContext(ctx, filepath.Join(bins, "enqueue"), "logs", "-f", id)
	one.cmd.Env = f.env()
	for _, to := range []**os.File{&one.stdout, &one.stderr} {
		file, err := os.CreateTemp(f.t.TempDir(), "")
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { _ = file.Close() })
		*to = file
	}
	one.cmd.Stdout, one.cmd.Stderr = one.stdout, one.stderr
	if err := one.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return one
}

func (one *follower) read(file *os.File) string {
	one.f.t.Helper()
	b, err := os.ReadFile(file.Name())
	if err != nil {
		one.f.t.Fatal(err)
	}
	return string(b)
}

// until waits until what was printed ends with text.
func (one *follower) until(text string) {
	one.f.t.Helper()
	one.f.eventually(30*time.Second, fmt.Sprintf("logs -f shows %q", text), func() bool {
		return strings.HasSuffix(one.read(one.stdout), text)
	})
}

func (one *follower) end() answer {
	one.f.t.Helper()
	err := one.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		one.f.t.Fatal(err)
	}
	return answer{one.read(one.stdout), one.read(one.stderr), one.cmd.ProcessState.ExitCode()}
}

// idle waits until no job is left to do.
func (f *farm) idle(limit time.Duration) {
	f.t.Helper()
	f.eventually(limit, "all jobs end", func() bool {
		return f.enqueue("ls", "--limit", "1", "--state", "queued,running,waiting", "-o", "name").stdout == ""
	})
}

// gauge is what a worker holds.
type gauge struct{ goroutines, memory float64 }

// gauges reads a worker's own metrics, from inside its host's network.
func gauges(t *testing.T, h *hosttest.Host, admin string) (g gauge) {
	t.Helper()
	out, err := h.Command(t.Context(), "busybox", "wget", "-q", "-O", "-", "http://"+admin+"/metrics").Output()
	if err != nil {
		t.Fatalf("read the worker's metrics: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch n, _ := strconv.ParseFloat(value, 64); name {
		case "go_goroutines":
			g.goroutines = n
		case "process_resident_memory_bytes":
			g.memory = n
		}
	}
	if g.goroutines == 0 || g.memory == 0 {
		t.Fatalf("the worker's metrics lack its goroutines or memory:\n%s", out)
	}
	return g
}

// freeAddress is a loopback address that no process listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
