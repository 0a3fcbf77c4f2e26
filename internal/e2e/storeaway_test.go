//go:build integration

package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// noticed is how soon a host has to find out that its store is not the farm's,
	// or does not answer.
	noticed = 10 * time.Second
	// registered is how long it takes until the farm's registry of hosts says so.
	registered = 7 * time.Second
)

// hostState is what the farm says of a worker's host, and why.
func (f *farm) hostState(worker string) (state jobs.HostState, reason string) {
	f.t.Helper()
	a := f.enqueue("hosts", "-o", "json")
	var list struct {
		Hosts []struct {
			Worker string         `json:"worker"`
			State  jobs.HostState `json:"state"`
			Reason string         `json:"reason"`
		} `json:"hosts"`
	}
	if err := json.Unmarshal([]byte(a.stdout), &list); err != nil {
		f.t.Fatalf("hosts: %v\n%s%s", err, a.stdout, a.stderr)
	}
	for _, h := range list.Hosts {
		if h.Worker == worker {
			return h.State, h.Reason
		}
	}
	return "", ""
}

// unfit waits until the worker's host takes no jobs because of what is said.
func (f *farm) unfit(worker, says string) {
	f.t.Helper()
	f.eventually(noticed, "worker "+worker+" takes no jobs: "+says, func() bool {
		log, err := os.ReadFile(filepath.Join(f.dir, worker+".log"))
		if err != nil {
			f.t.Fatal(err)
		}
		at := strings.LastIndex(string(log), `"no jobs are taken"`)
		return at > strings.LastIndex(string(log), `"jobs are taken again"`) && strings.Contains(string(log)[at:], says)
	})
	f.eventually(registered, "the farm says that worker "+worker+" is unfit", func() bool {
		state, reason := f.hostState(worker)
		return state == jobs.HostUnfit && strings.Contains(reason, says)
	})
}

// fit waits until the worker's host takes jobs.
func (f *farm) fit(worker string) {
	f.t.Helper()
	f.eventually(noticed+registered, "worker "+worker+" takes jobs", func() bool {
		state, _ := f.hostState(worker)
		return state == jobs.HostReady
	})
}

// readiness is what /readyz says of the store of a worker on hostA.
func readiness(t *testing.T, h *hosttest.Host, admin string) (code int, store string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var all struct{ Checks map[string]string }
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, all.Checks["store"]
}

// builds are many small build jobs of one context that is in the store, each with a
// log and an output. Their images differ: see docs/known-faults.md.
func (f *farm) builds(n int) []string {
	f.t.Helper()
	dir := contextDir(f.t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nARG ID\nLABEL id=$ID\nCOPY a /a\n", "a": f.t.Name()})
	var ids []string
	for range n {
		ids = append(ids, f.submit("--output-path", "/a", "--build-arg", "ID="+rand.Text(), dir, "--", "cat", "/a"))
	}
	return ids
}

// allSucceed checks that each job ends as on a good host alone, with so many losses
// at most, and that its log is in the farm's store.
func (f *farm) allSucceed(ids []string, losses int) {
	f.t.Helper()
	for _, id := range ids {
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Losses > losses || job.Retries != 0 || len(job.Result.Outputs) != 1 {
			f.t.Errorf("job %s is %s after %d losses and %d retries: %+v", id, job.State, job.Losses, job.Retries, job.Result)
			continue
		}
		if got := f.output(job.Result.Outputs[0])["a"]; got != f.t.Name() {
			f.t.Errorf("the output of job %s holds %q", id, got)
		}
	}
}

// empty fails the test when anything is in a directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != dir {
			t.Errorf("%s was written below the mount point", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A host whose store is not mounted, so that its path is an empty directory, fails
// none of the farm's jobs, and leaves nothing there.
func TestHostWithoutItsStore(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "good", "--slots", "2")
	bare := filepath.Join(f.dir, "bare")
	if err := os.Mkdir(bare, 0o750); err != nil {
		t.Fatal(err)
	}
	const admin = "127.0.0.1:18082"
	f.worker(hostA, "bad", "--slots", "8", "--store", bare, "--admin", admin)
	const says = "is not this farm's: it has no owner although the farm has one; is it mounted?"
	ids := f.builds(12)
	f.unfit("bad", "the artifact store at "+bare+" "+says)
	if code, store := readiness(t, hostA, admin); code != http.StatusServiceUnavailable || !strings.Contains(store, says) {
		t.Errorf("/readyz answers %d, store: %s", code, store)
	}
	f.allSucceed(ids, 0)
	for _, id := range ids {
		if job := f.job(id); job.Result.Worker != "good" {
			t.Errorf("job %s ran on %s", id, job.Result.Worker)
		}
	}
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	for _, store := range []string{bare, filepath.Join(f.dir, "nowhere")} {
		if a := f.enqueue("submit", "--store", store, dir); a.code != jobs.ExitInfra || !strings.Contains(a.stderr, says) {
			t.Errorf("submit: exit code %d, want %d and that %s %s:\n%s", a.code, jobs.ExitInfra, store, says, a.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(f.dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("enqueue made a store of its own: %v", err)
	}
	if a := f.program(nil, "worker", "gc", "--store", bare); a.code == 0 || !strings.Contains(a.stderr, says) {
		t.Errorf("worker gc: exit code %d:\n%s", a.code, a.stderr)
	}
	empty(t, bare)
	clean(t, hostA, before)
}

// The store of a worker is unmounted while it works, and mounted again. Its jobs go
// on elsewhere, or wait; each is lost once at most.
func TestStoreIsUnmounted(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "good", "--slots", "1")
	mnt := filepath.Join(f.dir, "mnt")
	if err := os.Mkdir(mnt, 0o750); err != nil {
		t.Fatal(err)
	}
	mount := func() {
		t.Helper()
		if err := unix.Mount(filepath.Join(f.dir, "store"), mnt, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount()
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	f.worker(hostA, "away", "--slots", "4", "--store", mnt)
	f.fit("away")
	ids := f.builds(10)
	f.eventually(time.Minute, "the worker runs some", func() bool {
		for _, id := range ids {
			if job := f.job(id); job.State == jobs.Running && job.Worker == "away" {
				return true
			}
		}
		return false
	})
	if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	f.unfit("away", "is it mounted?")
	ids = append(ids, f.builds(4)...)
	empty(t, mnt)
	f.allSucceed(ids[len(ids)-4:], 0) // on the other worker
	empty(t, mnt)
	mount()
	f.fit("away")
	f.allSucceed(ids, 1)
	pinned := f.submit("--output-path", "/a", "--queue", "mine", contextDir(t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY a /a\n", "a": t.Name()}), "--", "true")
	f.worker(hostA, "again", "--store", mnt, "--queues", "mine")
	f.allSucceed([]string{pinned}, 0)
	clean(t, hostA, before)
}

// A FIFO where a blob should be keeps neither a slot nor a producer.
func TestFIFOInTheStore(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	const slots = 2
	w := f.worker(hostA, "one", "--slots", fmt.Sprint(slots))
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\n"})
	job := f.job(f.submit(dir))
	blob := blobPath(filepath.Join(f.dir, "store"), job.Spec.Context.Ref)
	f.ended(job.ID)
	if err := errors.Join(os.Remove(blob), unix.Mkfifo(blob, 0o660)); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 2 * slots {
		a := f.enqueueWith([]byte(`{"context":{"ref":"`+job.Spec.Context.Ref+`"},"build":{},"timeouts":{"fetch":"5s"}}`), "submit", "-d", "-q", "--spec", "-")
		if a.code != 0 {
			t.Fatalf("submit: exit code %d\n%s", a.code, a.stderr)
		}
		ids = append(ids, strings.TrimSpace(a.stdout))
	}
	for _, id := range ids {
		job := f.ended(id)
		if fail := job.Result.Failure; job.State != jobs.Failed || fail == nil || fail.Kind != jobs.KindPoisoned || !strings.Contains(fail.Message, "the artifact store has a FIFO where it keeps the file") {
			t.Errorf("job %s is %s: %+v", id, job.State, fail)
		}
	}
	if a := f.enqueue("submit", dir); a.code != jobs.ExitInfra || !strings.Contains(a.stderr, "the artifact store has a FIFO where it keeps") {
		t.Errorf("submit: exit code %d\n%s", a.code, a.stderr)
	}
	f.fit("one") // there is nothing wrong with the rest
	if job, _ := f.run("--image", hosttest.BusyboxTag, "--", "true"); job.State != jobs.Succeeded {
		t.Errorf("another job is %s", job.State)
	}
	w.beginDrain()
	w.over(20 * time.Second)
}

// blobPath is where a store in a directory has what a reference leads to.
func blobPath(store, ref string) string {
	hexa := strings.TrimPrefix(ref, "cas:sha256:")
	return filepath.Join(store, "sha256", hexa[:2], hexa+".zst")
}

// fuse is a mount whose file system can be stopped, as the server of an NFS mount
// can be. It shows the files of another directory.
type fuse struct {
	t   *testing.T
	cmd *exec.Cmd
	dir string
}

func mountFuse(t *testing.T, files, dir string) *fuse {
	t.Helper()
	if err := errors.Join(os.MkdirAll(files, 0o750), os.MkdirAll(dir, 0o750)); err != nil {
		t.Fatal(err)
	}
	m := &fuse{t: t, dir: dir, cmd: exec.Command("bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0", files, dir)}
	m.cmd.Stderr = os.Stderr
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("%v; scripts/ensure-tools.sh test installs it", err)
	}
	t.Cleanup(func() {
		m.goOn()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait() // it was killed, or ended with its mount
	})
	const fuseMagic = 0x65735546
	for deadline := time.Now().Add(10 * time.Second); ; {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil && s.Type == fuseMagic {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is mounted at %s; is there a /dev/fuse?", dir)
		}
	}
}

func (m *fuse) signal(sig syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		m.t.Errorf("%s to bindfs: %v", sig, err)
	}
}

// hang makes every call into the mount hang until goOn.
func (m *fuse) hang() { m.signal(syscall.SIGSTOP) }
func (m *fuse) goOn() { m.signal(syscall.SIGCONT) }

// A file system that hangs keeps neither jobs nor programs: time-outs, cancels,
// signals and drains hold.
func TestStoreHangs(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	mnt := filepath.Join(f.dir, "mnt")
	m := mountFuse(t, filepath.Join(f.dir, "store"), mnt)
	f.vars = append(f.vars, "SLIPWAY_STORE="+mnt)
	const admin = "127.0.0.1:18083"
	w := f.worker(hostA, "one", "--slots", "4", "--admin", admin)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY a /a\n", "a": t.Name()})
	first := f.job(f.submit("--output-path", "/a", dir, "--", "true"))
	f.allSucceed([]string{first.ID}, 0)
	fetching := func(timeout string) string {
		t.Helper()
		a := f.enqueueWith([]byte(`{"context":{"ref":"`+first.Spec.Context.Ref+`"},"build":{},"timeouts":{"fetch":"`+timeout+`"}}`), "submit", "-d", "-q", "--spec", "-")
		if a.code != 0 {
			t.Fatalf("submit: exit code %d\n%s", a.code, a.stderr)
		}
		return strings.TrimSpace(a.stdout)
	}
	// The host looks at its store every few seconds; jobs that hang were taken in
	// between.
	var short, cancelled, long string
	stuck := func() bool {
		m.hang()
		short, cancelled, long = fetching("4s"), fetching("10m"), fetching("10m")
		deadline := time.Now().Add(2 * time.Second)
		for time.Now().Before(deadline) {
			if f.job(short).Stage == jobs.StageFetch && f.job(cancelled).Stage == jobs.StageFetch && f.job(long).Stage == jobs.StageFetch {
				return true
			}
		}
		m.goOn()
		for _, id := range []string{short, cancelled, long} {
			f.ended(id)
		}
		f.fit("one")
		return false
	}
	for try := 0; !stuck(); try++ {
		if try == 5 {
			t.Fatal("no jobs are in fetch while the store hangs")
		}
	}
	if a := f.enqueue("cancel", cancelled); a.code != 0 {
		t.Errorf("cancel: exit code %d\n%s", a.code, a.stderr)
	}
	f.eventually(20*time.Second, "the cancelled job ends", func() bool { return f.job(cancelled).State == jobs.Cancelled })
	f.eventually(20*time.Second, "the fetch timeout holds", func() bool { return f.job(short).Losses == 1 })
	f.unfit("one", "the artifact store at "+mnt+" does not answer")
	if code, store := readiness(t, hostA, admin); code != http.StatusServiceUnavailable || !strings.Contains(store, "does not answer") {
		t.Errorf("/readyz answers %d, store: %s", code, store)
	}

	// The producer.
	began := time.Now()
	if a := f.enqueue("submit", dir); a.code != jobs.ExitInfra || !strings.Contains(a.stderr, "the artifact store at "+mnt+" does not answer") || time.Since(began) > 10*time.Second {
		t.Errorf("submit: exit code %d after %s\n%s", a.code, time.Since(began), a.stderr)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, os.Interrupt, syscall.SIGTERM} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bins, "enqueue"), "submit", dir)
		cmd.Env = f.env()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(500*time.Millisecond, func() { _ = cmd.Process.Signal(sig) })
		began := time.Now()
		_ = cmd.Wait() // its exit code says more
		if code := cmd.ProcessState.ExitCode(); code != jobs.ExitDetached || time.Since(began) > 2*time.Second {
			t.Errorf("submit ended with %d, %s after %s", code, time.Since(began), sig)
		}
	}
	for _, verb := range [][]string{{"gc"}, {"gc"}, {"store"}, {"store", "--take"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, filepath.Join(bins, "worker"), verb...)
		cmd.Env = f.env()
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Signal(os.Interrupt) })
		_ = cmd.Wait() // its exit code says more
		if took := time.Since(began); cmd.ProcessState.ExitCode() != 1 || took > 20*time.Second {
			t.Errorf("worker %q ended with %d after %s\n%s", verb, cmd.ProcessState.ExitCode(), took, out.String())
		}
		cancel()
	}

	// The worker, with a job that hangs.
	w.beginDrain()
	w.Signal(syscall.SIGTERM)
	w.over(20 * time.Second)
	if job := f.job(long); job.State != jobs.Queued && job.State != jobs.Waiting {
		t.Errorf("the job that hung is %s after the drain", job.State)
	}
	m.goOn()
	w.start()
	f.fit("one")
	for _, id := range []string{short, long} {
		if job := f.ended(id); job.State != jobs.Succeeded || job.Losses > 1 {
			t.Errorf("job %s is %s after %d losses: %+v", id, job.State, job.Losses, job.Result.Failure)
		}
	}
	clean(t, hostA, before)
}

// A store belongs to one farm. Another one's takes no jobs with it, until its
// operator says that it is this farm's.
func TestStoreOfAnotherFarm(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f, other := newFarm(t), newFarm(t)
	other.vars = []string{"SLIPWAY_STORE=" + filepath.Join(f.dir, "store")}
	f.worker(hostA, "one")
	f.fit("one")
	other.worker(hostA, "two", "--farm", "other")
	const says = "is not this farm's: it belongs to farm "
	other.unfit("two", says)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	if a := other.enqueue("submit", dir); a.code != jobs.ExitInfra || !strings.Contains(a.stderr, says) {
		t.Errorf("submit: exit code %d\n%s", a.code, a.stderr)
	}
	store := func(f *farm, code int, says string, args ...string) {
		t.Helper()
		a := f.program(nil, "worker", append([]string{"store"}, args...)...)
		if a.code != code || !strings.Contains(a.stdout+a.stderr, says) {
			t.Errorf("worker store %q: exit code %d, want %d and %q\n%s%s", args, a.code, code, says, a.stdout, a.stderr)
		}
	}
	store(f, 0, "is the store of this farm")
	store(other, 1, says)
	store(other, 1, "worker store --take --force", "--take")
	store(f, 0, "is the store of this farm")
	store(other, 0, "is the store of this farm", "--take", "--force")
	f.unfit("one", says)
	other.fit("two")
	if job, a := other.run(dir); job.State != jobs.Succeeded {
		t.Errorf("the job is %s\n%s", job.State, a.stderr)
	}

	// The first farm begins anew elsewhere.
	fresh := f.in(t)
	fresh.vars = []string{"SLIPWAY_STORE=" + filepath.Join(f.dir, "fresh")}
	store(fresh, 1, "is it mounted?")
	store(fresh, 0, "is the store of this farm", "--take")
	fresh.worker(hostA, "three")
	if job, a := fresh.run(dir); job.State != jobs.Succeeded || job.Result.Worker != "three" {
		t.Errorf("the job is %s\n%s", job.State, a.stderr)
	}
}

// A farm for trying out forgets everything, and takes the store that it is given
// each time, also one of another farm, which stays that farm's.
func TestDevTakesAnyStore(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.at = hostA
	w := f.worker(hostA, "one")
	owner := filepath.Join(f.dir, "store", "owner")
	before, err := os.ReadFile(owner)
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	const redis = "127.0.0.1:16399"
	f.vars = []string{"SLIPWAY_REDIS=redis://" + redis}
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	for _, store := range []string{"store", "fresh", "store", "fresh"} {
		dev := f.in(t)
		dev.vars = append(dev.vars, "SLIPWAY_STORE="+filepath.Join(f.dir, store))
		w := dev.worker(hostA, "dev", "dev", "--redis-listen", redis)
		if job, a := dev.run(dir); job.State != jobs.Succeeded {
			t.Errorf("the job is %s with the store %s\n%s", job.State, store, a.stderr)
		}
		if a := dev.program(nil, "worker", "gc"); a.code == 0 || !strings.Contains(a.stderr, "for trying out") {
			t.Errorf("worker gc: exit code %d\n%s", a.code, a.stderr)
		}
		w.stop()
	}
	if after, err := os.ReadFile(owner); string(after) != string(before) {
		t.Errorf("the store has the mark %q, %v, want %q", after, err, before)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "fresh", "owner")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a farm for trying out left its mark: %v", err)
	}
}
