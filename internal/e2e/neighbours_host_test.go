//go:build integration

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Cache mounts are shared by the jobs of one recipe, or of what the operator says, and
// by no others: what one leaves in them is run by the next.
func TestCacheMountsOfOthers(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--queues=builds,other", f.policy(""))
	// Every build leaves its owner in four caches and tells whom it finds there.
	dir := contextDir(t, map[string]string{"Dockerfile": `FROM busybox
ARG WHO
ARG TURN
ARG ID=of-a-variable
RUN --mount=type=cache,id=gomod,target=/named --mount=type=cache,target=/home/.cache --mount=type=cache,id=${ID},target=/variable \
    --mount=type=cache,id=filled,target=/filled,from=busybox,source=/etc \
    for c in named home/.cache variable filled; do echo "TURN $TURN: $c is of $(cat /$c/owner 2>/dev/null || echo nobody)"; echo $WHO >/$c/owner; done; test -e /filled/passwd
`})
	turn := 0
	finds := func(who, want string, flags ...string) {
		t.Helper()
		turn++
		job := f.worked(append(flags, "--build-arg", "WHO="+who, "--build-arg", fmt.Sprintf("TURN=%d", turn), dir)...)
		log := f.enqueue("logs", job.ID)
		for _, cache := range []string{"named", "home/.cache", "variable", "filled"} {
			if line := fmt.Sprintf("TURN %d: %s is of %s\n", turn, cache, want); !strings.Contains(log.stderr+log.stdout, line) {
				t.Errorf("%s: the log lacks %q:\n%s", who, line, log.stderr)
			}
		}
	}
	alpha, beta, gamma := []string{"--name", "alpha"}, []string{"--name", "beta"}, []string{"--name", "gamma"}
	finds("alpha", "nobody", alpha...)
	finds("beta", "nobody", beta...)
	finds("alpha again", "alpha", alpha...)
	finds("unnamed", "nobody")
	finds("unnamed again", "unnamed")
	finds("other queue", "nobody", "--queue", "other")
	finds("alpha elsewhere", "alpha again", "--name", "alpha", "--queue", "other")

	f.policy("dockerfile: {cache_mounts: queue}\n")
	finds("beta of the queue", "unnamed again", beta...)
	finds("gamma elsewhere", "other queue", "--name", "gamma", "--queue", "other")
	f.policy("dockerfile: {cache_mounts: farm}\n")
	finds("alpha of the farm", "nobody", alpha...)
	finds("gamma of the farm", "alpha of the farm", append(gamma, "--queue", "other")...)
	clean(t, hostA, before)
}

// A build that waits for a cache mount which another one holds is not silent, and
// those of others do not wait for it.
func TestCacheMountIsLocked(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--slots=3")
	// The holder goes on until its time is over.
	locked := func(does string) string {
		return contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN --mount=type=cache,id=apt,target=/apt,sharing=locked " + does + "\n"})
	}
	holder := f.submit("--name", "alpha", locked("for i in $(seq 16); do echo held $i; sleep 1; done; echo alpha >/apt/owner"))
	f.eventually(time.Minute, "the holder has the mount", func() bool { return strings.Contains(f.enqueue("logs", holder).stderr, "held 1") })
	waiter := f.submit("--name", "alpha", "--idle-timeout", "5s", locked("grep alpha /apt/owner && echo then"))
	other, _ := f.run("--name", "beta", "--idle-timeout", "30s", locked("test ! -e /apt/owner && echo at once"))
	if held := f.job(holder); other.State != jobs.Succeeded || held.State != jobs.Running {
		t.Errorf("the job of another recipe is %s with %+v while the holder is %s; want it to wait for nothing", other.State, other.Result, held.State)
	}
	for _, id := range []string{holder, waiter} {
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Errorf("job %s is %s with %+v", id, job.State, job.Result)
		}
	}
	if log := f.enqueue("logs", waiter); !strings.Contains(log.stderr, "waiting for a cache mount that job "+holder+" uses") {
		t.Errorf("the log does not tell what is waited for:\n%s", log.stderr)
	}
	clean(t, hostA, before)
}

// A job gets no port of the host that the system, the farm or another job has.
func TestPortsOfOthers(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--slots=3", "--admin", "127.0.0.1:18473")
	const page = "mkdir -p /w && echo hello from the service >/w/index.html && httpd -f -p 8080 -h /w"
	serve := func(ports ...string) []string {
		args := []string{"--ready-tcp", "--keep", "10m", "--stop-timeout", "1"}
		for _, p := range ports {
			args = append(args, "-p", p)
		}
		return append(args, "--image", "busybox", "--", "sh", "-c", page)
	}
	for _, port := range []string{"1:8080", "22:8080", "80:8080", "443:8080", "1023:8080", "53:53/udp", "2375:8080", "2376:8080", "18473:8080"} {
		t.Run(port, func(t *testing.T) {
			ports := []string{port}
			if strings.HasSuffix(port, "/udp") {
				ports = append(ports, "8080")
			}
			f.in(t).fails(jobs.KindPortNotAllowed, serve(ports...)...)
		})
	}
	t.Run("of another job", func(t *testing.T) {
		f := f.in(t)
		victim := f.ended(f.submit(serve("20080:8080")...))
		f.serves(hostA, victim)
		f.fails(jobs.KindPortConflict, "-p", "20080:8080", "--image", "busybox", "--", "sh", "-c", "echo mine; sleep 1")
		f.serves(hostA, victim)
		f.gone(victim)
	})
	// The engine gives ports from the ephemeral range to those who name none: one that
	// another job took there is passed over.
	t.Run("of the ephemeral range", func(t *testing.T) {
		f := f.in(t)
		first := f.ended(f.submit(serve("8080")...))
		f.serves(hostA, first)
		var next int
		if _, err := fmt.Sscanf(first.Result.Addresses[0], "127.0.0.1:%d", &next); err != nil {
			t.Fatal(err)
		}
		grabbed := f.ended(f.submit(serve(fmt.Sprintf("%d:8080", next+1))...))
		f.serves(hostA, grabbed)
		victim := f.ended(f.submit(serve("8080")...))
		for _, job := range []jobs.Job{first, grabbed, victim} {
			f.serves(hostA, job)
		}
		if all := []string{first.Result.Addresses[0], grabbed.Result.Addresses[0], victim.Result.Addresses[0]}; len(slices.Compact(slices.Sorted(slices.Values(all)))) != 3 {
			t.Errorf("addresses %q, want three", all)
		}
		for _, job := range []jobs.Job{first, grabbed, victim} {
			f.gone(job)
		}
	})
	if got := get(t, hostA, "http://127.0.0.1:18473/livez"); got == "" {
		t.Error("the worker's admin port says nothing")
	}
	clean(t, hostA, before)
}

// gone cancels a service and waits for its end.
func (f *farm) gone(service jobs.Job) {
	f.t.Helper()
	if a := f.enqueue("cancel", service.ID); a.code != 0 {
		f.t.Errorf("cancel the service: %s", a.stderr)
	}
	f.service(service.ID, "cancelled by "+f.job(service.ID).CancelBy)
}

// Outputs hold what the container wrote at their paths and nothing of the host, and
// what cannot be collected is told.
func TestOutputTricks(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--output-limit", "16m")
	const secret = "of the host, 4711"
	if err := os.WriteFile(filepath.Join(f.dir, "secret"), []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(path, script string, flags ...string) []string {
		return append(flags, "--output-path", path, "--image", "busybox", "--", "sh", "-c", script)
	}
	for _, tt := range []struct {
		name string
		kind jobs.Kind
		args []string
	}{
		{"symlink", jobs.KindOutputIsLink, run("/out", "ln -s /etc /out")},
		{"folder swapped by a link", jobs.KindOutputIsLink, run("/out", "mkdir /out; echo x >/out/x; mv /out /was; ln -s "+f.dir+" /out")},
		{"folder above swapped by a link out", jobs.KindOutputMissing, run("/out/secret", "mkdir /out; echo x >/out/secret; mv /out /was; ln -s "+f.dir+" /out")},
		{"folder above swapped by a way up", jobs.KindOutputMissing, run("/out/secret", "ln -s ../../../../../../.."+f.dir+" /out")},
		{"link to a tmpfs", jobs.KindOutputOnMount, run("/out/x", "echo x >/fast/x; ln -s /fast /out", "--tmpfs", "/fast:size=1m")},
		{"link to proc", jobs.KindOutputOnMount, run("/out/environ", "ln -s /proc/1 /out")},
		{"FIFO", jobs.KindOutputSpecial, run("/out", "mkfifo /out")},
		{"sparse file", jobs.KindOutputLimit, run("/out", "mkdir /out; truncate -s 900G /out/sparse")},
		{"sparse files by hard links", jobs.KindOutputLimit, run("/out", "mkdir /out; truncate -s 9M /out/0; ln /out/0 /out/1; cp /out/0 /out/2")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.in(t).fails(tt.kind, tt.args...)
		})
	}
	for _, path := range []string{"/fast", "/fast/x", "/proc/1/environ", "/dev/null", "/sys/kernel"} {
		t.Run("submit "+path, func(t *testing.T) {
			a := f.in(t).enqueue(append([]string{"submit"}, run(path, "true", "--tmpfs", "/fast:size=1m")...)...)
			if a.code != jobs.ExitUsage || !strings.Contains(a.stderr, path) {
				t.Errorf("exit code %d, want a refusal of %s\n%s", a.code, path, a.stderr)
			}
		})
	}
	t.Run("in a folder", func(t *testing.T) {
		f := f.in(t)
		const script = `mkdir -p /out/d && cd /out && echo x >one && ln one two && ln -s ` + "TARGET/secret" + ` link && ln -s /out loop && mkfifo fifo &&
			touch "$(printf 'new\nline')" "$(printf '\033[2Jscreen')" && ln -s ../../../../../../etc up && chmod 4755 one`
		job := f.worked(run("/out", strings.ReplaceAll(script, "TARGET", f.dir))...)
		got := f.output(job.Result.Outputs[0])
		want := map[string]string{
			"out/": "", "out/d/": "", "out/one": "x\n", "out/two": "", "out/link": "-> " + f.dir + "/secret", "out/loop": "-> /out",
			"out/new\nline": "", "out/\x1b[2Jscreen": "", "out/up": "-> ../../../../../../etc",
		}
		if !maps.Equal(got, want) {
			t.Errorf("the output holds %q, want %q", got, want)
		}
		if job.Result.Outputs[0].LeftOut != 1 {
			t.Errorf("%d entries were left out, want the FIFO", job.Result.Outputs[0].LeftOut)
		}
		// Downloaded, it is the same on the producer's side: nothing is written or read
		// through a link.
		to := t.TempDir()
		a := f.enqueue("outputs", job.ID, "--all", "--to", to)
		if a.code != 0 {
			t.Fatalf("outputs: exit code %d\n%s", a.code, a.stderr)
		}
		err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode()&os.ModeSetuid != 0 {
				t.Errorf("%s was made with mode %s", path, info.Mode())
			}
			if content, err := os.ReadFile(path); err != nil || strings.Contains(string(content), secret) {
				t.Errorf("%s holds %q, %v", path, content, err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if two, err := os.ReadFile(filepath.Join(to, "out", "two")); err != nil || string(two) != "x\n" {
			t.Errorf("the hard link holds %q, %v", two, err)
		}
		if strings.ContainsRune(a.stdout+a.stderr, 0x1b) {
			t.Errorf("outputs prints what a terminal obeys: %q", a.stdout+a.stderr)
		}
	})
	clean(t, hostA, before)
	f.noSpools("one")
}
