//go:build integration

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// patient is a build host that the doctor examines.
type patient struct {
	*farm
	host  *hosttest.Host
	state string
}

func newPatient(t *testing.T, name string) patient {
	t.Helper()
	f := newFarm(t)
	h := hosttest.StartHost(t, name)
	hosttest.Busybox(t, h)
	// A daemon makes some of its directories with its first container.
	docker(t, h, "rm", docker(t, h, "create", hosttest.BusyboxTag)[0])
	return patient{f, h, filepath.Join(f.dir, name)}
}

// doctor runs the doctor with the settings of the host's worker.
func (p patient) doctor(args ...string) answer {
	p.t.Helper()
	return p.program(nil, "worker", p.doctorArgs(args...)...)
}

func (p patient) doctorArgs(args ...string) []string {
	return append([]string{"doctor", "--name", filepath.Base(p.state), "--state", p.state, "--docker-host", p.host.DockerHost()}, args...)
}

// says fails the test unless the check has the status and the words.
func (p patient) says(a answer, status, check, words string) {
	p.t.Helper()
	for line := range strings.Lines(a.stdout) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == check {
			if fields[0] != status || !strings.Contains(line, words) {
				p.t.Errorf("%swant %s and %q", line, status, words)
			}
			return
		}
	}
	p.t.Errorf("nothing is said of %s; want %s:\n%s%s", check, status, a.stdout, a.stderr)
}

// everything is what is on disk, in the daemon and in Redis, by name; of the
// farm's own files it has mode and content, too.
func (p patient) everything() []string {
	p.t.Helper()
	var all []string
	walk := func(dir string, describe func(path string, info fs.FileInfo) string) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				all = append(all, describe(path, info))
			}
			return err
		})
		if err != nil {
			p.t.Fatal(err)
		}
	}
	own := func(path string, info fs.FileInfo) string {
		return fmt.Sprint(path, " ", info.Mode(), " ", info.ModTime().UnixNano(), " ", info.Size())
	}
	walk(p.state, own)
	walk(filepath.Join(p.dir, "store"), own)
	walk(filepath.Join(p.host.Dir, "data"), func(path string, _ fs.FileInfo) string { return path })
	for _, what := range [][]string{
		{"ps", "-aq", "--no-trunc"},
		{"images", "-aq", "--no-trunc"},
		{"volume", "ls", "-q"},
		{"network", "ls", "-q"},
	} {
		all = append(all, docker(p.t, p.host, what...)...)
	}
	rdb, err := redisconn.Open(p.t.Context(), p.redis.SocketURL())
	if err != nil {
		p.t.Fatal(err)
	}
	defer rdb.Close()
	keys, err := rdb.Keys(p.t.Context(), "*").Result()
	if err != nil {
		p.t.Fatal(err)
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { // what goes by itself
		ttl := rdb.TTL(p.t.Context(), key).Val()
		return ttl != -1 && ttl <= time.Hour
	})
	slices.Sort(keys)
	return append(all, keys...)
}

// same fails the test unless everything is as it was.
func (p patient) same(before []string, when string) {
	p.t.Helper()
	if diff := cmp.Diff(before, p.everything()); diff != "" {
		p.t.Errorf("%s, something is different (-before +now):\n%s", when, diff)
	}
}

// create makes a container by hand, with the labels of an attempt of this host.
func (p patient) create(name, job string) string {
	p.t.Helper()
	host, err := os.ReadFile(filepath.Join(p.state, "host"))
	if err != nil {
		p.t.Fatal(err)
	}
	return docker(p.t, p.host, "create", "--name", name, "--label", "slipway.farm=default", "--label", "slipway.host="+string(host),
		"--label", "slipway.job="+job, "--label", "slipway.attempt=1", hosttest.BusyboxTag)[0]
}

// A healthy host gets nothing worse than warnings, and is left as it is.
// Leftovers of its worker are found while the worker does not run, and removed
// when that is wanted; what only looks like them is not.
func TestDoctor(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "doctor")
	w := p.worker(p.host, "doctor")
	kept := p.job(p.submit("--image", "busybox", "--keep", "1h", "--", "sleep", "3600"))
	p.eventually(30*time.Second, "the service is kept", func() bool { return p.job(kept.ID).State.Terminal() })
	service := p.job(kept.ID).Container.Name
	stray, foreign := jobs.ContainerName("0a1b2c", 1), "somebody-elses"
	strayID, foreignID := p.create(stray, "0a1b2c"), p.create(foreign, "0a1b2c")

	a := p.doctor("--fix")
	p.says(a, "OK", "leftovers.containers", "a worker runs on this state directory")
	if a.code != 0 {
		t.Errorf("exit code %d with a worker that runs:\n%s%s", a.code, a.stdout, a.stderr)
	}
	w.stop()
	for _, name := range []string{"0a1b2c-a1.log", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(p.state, "spool", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	before := p.everything()
	a = p.doctor()
	t.Logf("a healthy host:\n%s", a.stdout)
	if a.code != 0 || strings.Contains(a.stdout, "FAIL") || a.stderr != "" {
		t.Errorf("exit code %d, want only OK and WARN:\n%s%s", a.code, a.stdout, a.stderr)
	}
	p.says(a, "OK", "redis.persistence", "appendonly yes")
	p.says(a, "OK", "docker.logs", "json-file")
	p.says(a, "WARN", "docker.live-restore", "off")
	p.says(a, "WARN", "leftovers.containers", "containers that no job owns: 1 ("+stray+")")
	p.says(a, "WARN", "leftovers.spool", "1 (0a1b2c-a1.log)")
	p.says(a, "OK", "leftovers.doctor", "")
	p.same(before, "after a look")

	var report struct {
		Failed, Warned int
		Checks         []struct{ Check, Status, Found string }
	}
	a = p.doctor("-o", "json")
	if err := json.Unmarshal([]byte(a.stdout), &report); err != nil || a.code != 0 || report.Failed != 0 || report.Warned < 3 || len(report.Checks) < 25 {
		t.Errorf("as JSON: %v, exit code %d\n%s", err, a.code, a.stdout)
	}
	p.same(before, "after a look as JSON")

	// To another Redis all of it would be leftovers.
	a = p.doctor("--fix", "--redis", hosttest.StartRedis(t).SocketURL())
	p.says(a, "FAIL", "store.owner", "this Redis is of farm (none yet)")
	if a.code != 1 || strings.Contains(a.stdout, "leftovers.containers") {
		t.Errorf("exit code %d; want leftovers left out:\n%s", a.code, a.stdout)
	}
	p.same(before, "after a repair with another Redis")

	a = p.doctor("--fix")
	p.says(a, "OK", "leftovers.containers", "no containers that no job owns")
	if want := "fixed: removed " + stray + "\n"; a.code != 0 || !strings.Contains(a.stdout, want) {
		t.Errorf("exit code %d, want %q in\n%s%s", a.code, want, a.stdout, a.stderr)
	}
	left := docker(t, p.host, "ps", "-aq", "--no-trunc")
	if slices.Contains(left, strayID) || !slices.Contains(left, foreignID) || len(left) != 2 {
		t.Errorf("containers %q; want the foreign one %s and the service %s", left, foreignID, service)
	}
	if names := docker(t, p.host, "ps", "--format", "{{.Names}}"); !slices.Equal(names, []string{service}) {
		t.Errorf("what runs is %q; want the service %s", names, service)
	}
	log := kept.ID + "-a1.log" // the next worker goes on with it
	if entries, err := os.ReadDir(filepath.Join(p.state, "spool")); err != nil || len(entries) != 2 || entries[0].Name() != log || entries[1].Name() != "notes.txt" {
		t.Errorf("in the spool are %v, %v; want the service's log and what is no job's", entries, err)
	}
	before = p.everything()
	p.doctor("--fix")
	p.same(before, "after a second repair")
	docker(t, p.host, "rm", "-f", foreign)
	if a := p.enqueue("cancel", kept.ID); a.code != 0 {
		t.Errorf("cancel the service: %s", a.stderr)
	}
	w.start()
	p.eventually(30*time.Second, "the service is gone", func() bool { return len(docker(t, p.host, "ps", "-aq")) == 0 })
}

// An interrupted doctor leaves nothing behind.
func TestDoctorIsInterrupted(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "ctrlc")
	w := p.worker(p.host, "ctrlc")
	w.stop()
	before := p.everything()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bins, "worker"), p.doctorArgs()...)
	cmd.Env = p.env()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		told = append(told, lines.Text())
		if strings.Contains(lines.Text(), "docker.security") { // the next is what makes a container
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || strings.Contains(strings.Join(told, "\n"), "FAIL") {
		t.Errorf("it ended with %v after\n%s", err, strings.Join(told, "\n"))
	}
	p.same(before, "after an interrupt")
}

// What is wrong is told by name, and no password with it.
func TestDoctorFails(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "ill")
	unsafe := hosttest.StartRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no",
		"--user", "farm", "on", ">s3cret", "~*", "&*", "+@all")
	url := strings.Replace(unsafe.URL(), "://", "://farm:s3cret@", 1)
	for _, tt := range []struct {
		name string
		args []string
		code int
		says [][3]string
	}{
		{"a Redis that forgets", []string{"--redis", url}, 1, [][3]string{
			{"OK", "redis", unsafe.URL()},
			{"FAIL", "redis.eviction", "maxmemory-policy allkeys-lru, maxmemory 64.0 MiB"},
			{"FAIL", "redis.persistence", "nothing is persisted"},
			{"WARN", "state", "is not there"},
		}},
		{"as it is meant", []string{"--redis", url, "--allow-unsafe-redis"}, 0, [][3]string{
			{"WARN", "redis.eviction", "allkeys-lru"},
			{"WARN", "redis.persistence", "nothing is persisted"},
		}},
		{"wrong password", []string{"--redis", strings.Replace(url, "farm:", "farm:x", 1)}, 1, [][3]string{{"FAIL", "redis", "WRONGPASS"}}},
		{"no Redis", []string{"--redis", "redis://farm:s3cret@127.0.0.1:1/0"}, 1, [][3]string{{"FAIL", "redis", "redis://127.0.0.1:1/0"}, {"OK", "docker", "API"}}},
		{"no Docker", []string{"--docker-host", "unix:///no/such.sock"}, 1, [][3]string{{"FAIL", "docker", "unix:///no/such.sock"}, {"OK", "redis", "answers"}}},
		{"no policy", []string{"--policy", "/no/such.yaml"}, 1, [][3]string{{"FAIL", "policy", "no such file"}}},
	} {
		a := p.doctor(tt.args...)
		if a.code != tt.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", tt.name, a.code, tt.code, a.stdout, a.stderr)
		}
		for _, s := range tt.says {
			p.says(a, s[0], s[1], s[2])
		}
		if strings.Contains(a.stdout+a.stderr, "s3cret") {
			t.Errorf("%s: the password is told:\n%s%s", tt.name, a.stdout, a.stderr)
		}
	}
	if _, err := os.Stat(p.state); !os.IsNotExist(err) {
		t.Errorf("the state directory was made: %v", err)
	}
	p.says(p.doctor("--fix"), "OK", "state", "is writable")
	if err := os.Chown(p.state, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	p.says(p.doctor(), "WARN", "state", "belongs to user 65534, and this is root")
}

// A user who may do nothing is told what.
func TestDoctorAsNobody(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "nobody")
	const nobody = 65534
	dir, err := os.MkdirTemp("", "slipway-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	worker, err := os.ReadFile(filepath.Join(bins, "worker"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "worker")
	if err := os.WriteFile(program, worker, 0o755); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, p.doctorArgs("--fix", "--state", filepath.Join(dir, "state"), "--store", store)...)
	cmd.Env, cmd.Dir = p.env(), dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.Output()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	a := answer{stdout: string(out)}
	p.says(a, "FAIL", "redis", "permission denied")
	p.says(a, "FAIL", "docker", "permission denied")
	p.says(a, "FAIL", "state", "is not there, and this user cannot make it")
	p.says(a, "FAIL", "store", "is not writable")
}
