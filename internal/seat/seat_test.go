package seat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// Every row of what can speak for or against a process.
func TestVerdict(t *testing.T) {
	t.Parallel()
	self := Process{Boot: "boot-1", Namespace: "pid:[1]", Pid: 20, Start: "200"}
	before := Process{Boot: "boot-1", Namespace: "pid:[1]", Pid: 10, Start: "100"}
	last := incarnation{Host: "h", Turn: 4, Nonce: "n4", Daemon: "d1", Process: before, Lock: "1:5"}
	held := jobs.Seat{Host: "h", Nonce: "n4", Turn: 4, Daemon: "d1", Worker: "one"}
	type change func(*evidence)
	boot := func(e *evidence) { e.last.Boot = "boot-0" }
	namespace := func(e *evidence) { e.last.Namespace = "pid:[2]" }
	copied := func(e *evidence) { e.lock = "1:6" }
	alive := func(e *evidence) { e.machine.Lives = func(p Process) bool { return p == before } }
	free := func(e *evidence) { e.seat = jobs.Seat{Host: "h"} }
	never := func(e *evidence) { e.last = incarnation{} }
	made := func(e *evidence) { e.made = true }
	taken := func(nonce string, turn int) change {
		return func(e *evidence) { e.seat.Nonce, e.seat.Turn = nonce, turn }
	}
	left := func(e *evidence) { e.seat.Left = time.Unix(1, 0) }
	daemon := func(id string) change { return func(e *evidence) { e.daemon = id } }
	for _, tt := range []struct {
		name    string
		changes []change
		want    verdict
		why     string
	}{
		{"a new directory", []change{never, made, free}, ours, ""},
		{"an identity without a memory, and Redis knows no holder", []change{never, free, daemon("d2")}, unsure, ""},
		{"an identity without a memory, with a holder", []change{never}, others, "took this identity"},
		{"a restart", nil, ours, ""},
		{"a restart, with the daemon known", []change{daemon("d1")}, ours, ""},
		{"a restart in another container on the same volume", []change{namespace}, ours, ""},
		{"a restart after Redis lost its data", []change{free}, ours, ""},
		{"a restart after Redis lost that the seat was taken", []change{taken("n3", 3)}, ours, ""},
		{"a restart after Redis went back to an old backup", []change{taken("n1", 1)}, ours, ""},
		{"the pid was given to another process", []change{copied}, ours, ""},
		{"a copy beside its original", []change{copied, alive}, others, "copied from that of process 10"},
		{"a copy beside its original, which Redis has forgotten", []change{copied, alive, free}, others, "copied"},
		{"its own directory, and its process is dying", []change{alive}, ours, ""},
		{"a copy whose original is dead", []change{copied}, ours, ""},
		{"a copy in another container", []change{copied, namespace, alive}, unsure, ""},
		{"an old copy", []change{taken("n5", 5)}, others, "took this identity"},
		{"two copies that took the same turn", []change{taken("m4", 4)}, others, "took this identity"},
		{"a reboot", []change{boot}, unsure, ""},
		{"a reboot, and the file has the same number by chance", []change{boot, alive}, unsure, ""},
		{"a reboot after an end in order", []change{boot, left}, ours, ""},
		{"another machine, and Redis lost that the seat was taken after an end in order", []change{boot, left, taken("n3", 3)}, unsure, ""},
		{"another machine, and Redis lost its data", []change{boot, free}, unsure, ""},
		{"another daemon", []change{daemon("d2")}, others, "d1, and this is d2"},
		{"another daemon, on another machine", []change{daemon("d2"), boot}, others, "another Docker daemon"},
		{"another daemon, and Redis lost its data", []change{daemon("d2"), free}, others, "another Docker daemon"},
		{"the file system does not number its files", []change{namespace, func(e *evidence) { e.lock, e.last.Lock = "", "" }}, unsure, ""},
		{"a system without boots", []change{func(e *evidence) { e.last.Boot, e.machine.Self.Boot = "", "" }}, unsure, ""},
	} {
		e := evidence{last: last, seat: held, machine: Machine{Self: self, Lives: func(Process) bool { return false }}, lock: "1:5"}
		for _, change := range tt.changes {
			change(&e)
		}
		if got, why := e.verdict(); got != tt.want || !strings.Contains(why, tt.why) || (why == "") != (tt.want != others) {
			t.Errorf("%s: verdict %d, %q; want %d, %q", tt.name, got, why, tt.want, tt.why)
		}
	}
}

// world is where processes with state directories come and go.
type world struct {
	t      *testing.T
	memory *jobstest.Memory
	seats  jobs.Seats

	mu    sync.Mutex
	pid   int
	alive map[Process]bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	m := jobstest.NewMemory(jobstest.Options{})
	return &world{t: t, memory: m, seats: m, alive: map[Process]bool{}}
}

// life is a process with a directory.
type life struct {
	*Holder
	w    *world
	host string // at first
	self Process
	stop context.CancelFunc
}

// start opens a directory as a new process of a machine, which hears calls once it
// has the seat.
func (w *world) start(dir, boot string) *life {
	w.t.Helper()
	d, err := Open(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid++
	self := Process{Boot: boot, Namespace: "pid:[1]", Pid: w.pid, Start: "1"}
	w.alive[self] = true
	machine := Machine{Self: self, Lives: func(p Process) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.alive[p]
	}}
	l := &life{w: w, self: self, host: d.Host(), Holder: New(nil, d, w.seats, Options{Worker: filepath.Base(dir), Lease: time.Minute, Machine: machine})}
	ctx, stop := context.WithCancel(w.t.Context())
	l.stop = stop
	heard := w.memory.Cancellations(ctx)
	go func() {
		for host := range heard {
			if host == l.host {
				_ = l.Keep(ctx) // the tests ask
			}
		}
	}()
	w.t.Cleanup(l.kill)
	return l
}

func (l *life) Host() string { return l.dir.Host() }

// kill ends the process; killed, it does nothing more.
func (l *life) kill() {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if !l.w.alive[l.self] {
		return
	}
	delete(l.w.alive, l.self)
	l.stop()
	if err := l.dir.Close(); err != nil {
		l.w.t.Error(err)
	}
}

// takes makes the process take the seat, and checks that it may and how long that
// took.
func (l *life) takes(daemon string, within time.Duration) *life {
	l.w.t.Helper()
	began := time.Now()
	ctx := l.w.t.Context()
	if err := errors.Join(l.Check(ctx), l.Take(ctx, daemon), l.Keep(ctx)); err != nil {
		l.w.t.Fatalf("the seat of %s: %v", l.Host(), err)
	}
	if took := time.Since(began); took > within {
		l.w.t.Errorf("it took %s to take the seat; want %s at most", took, within)
	}
	return l
}

// displaced checks that the process gets no seat, and makes a new one of it.
func (w *world) displaced(l *life, daemon string, dir, boot string) *life {
	w.t.Helper()
	was := l.Host()
	err := l.Check(w.t.Context())
	if err == nil {
		err = l.Take(w.t.Context(), daemon)
	}
	if !errors.Is(err, jobs.ErrDisplaced) {
		w.t.Fatalf("the seat of %s: %v; want it refused", was, err)
	}
	if again := l.Take(w.t.Context(), daemon); !errors.Is(again, jobs.ErrDisplaced) {
		w.t.Errorf("when it is asked for again: %v", again)
	}
	l.kill()
	// The new identity has had no seat yet, so it is called once.
	next := w.start(dir, boot).takes(daemon, jobs.AnswerTime)
	if next.Host() == was {
		w.t.Errorf("it has the identity %s still", was)
	}
	return next
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// put writes a file below a state directory.
func put(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

func test(t *testing.T, f func(t *testing.T, w *world, dir string)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t), filepath.Join(t.TempDir(), "one")) })
}

// A restart needs no time, however the process ended.
func TestRestart(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		first := w.start(dir, "boot-1").takes("d", 0)
		first.kill()
		second := w.start(dir, "boot-1").takes("d", 0)
		if second.Host() != first.Host() {
			t.Errorf("identity %s after a restart; want %s", second.Host(), first.Host())
		}
		if err := second.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		second.kill()
		if third := w.start(dir, "boot-2").takes("d", 0); third.Host() != first.Host() {
			t.Errorf("identity %s after a reboot; want %s", third.Host(), first.Host())
		}
	})
}

// After a crash of the machine its holder is called once, in vain.
func TestReboot(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		first := w.start(dir, "boot-1").takes("d", 0)
		first.kill()
		if second := w.start(dir, "boot-2").takes("d", jobs.AnswerTime); second.Host() != first.Host() {
			t.Errorf("identity %s after a reboot; want %s", second.Host(), first.Host())
		}
	})
}

// cut fails the calls that take a seat, before or after they take effect.
type cut struct {
	jobs.Seats
	after, off bool
}

func (c *cut) TakeSeat(ctx context.Context, s jobs.Seat, from string) (jobs.Seat, error) {
	if c.off {
		return c.Seats.TakeSeat(ctx, s, from)
	}
	if c.after {
		if _, err := c.Seats.TakeSeat(ctx, s, from); err != nil {
			return jobs.Seat{}, err
		}
	}
	return jobs.Seat{}, errors.New("connection reset")
}

// A process that dies anywhere between its two writes, or whose write Redis loses,
// costs no worker its identity.
func TestCrashWhileItTakesTheSeat(t *testing.T) {
	for _, name := range []string{"before the seat is taken", "before it is known to be taken", "twice", "Redis loses that it was taken"} {
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, w *world, dir string) {
				w.start(dir, "boot-1").takes("d", 0).kill()
				host, _ := Identity(dir)
				c := &cut{Seats: w.memory, after: name == "before it is known to be taken"}
				w.seats = c
				restore := w.memory.Snapshot()
				for range 2 {
					l := w.start(dir, "boot-1")
					if c.off = strings.HasPrefix(name, "Redis"); c.off {
						l.takes("d", 0)
						l.kill()
						restore()
						break
					}
					if err := l.Take(t.Context(), "d"); err == nil || errors.Is(err, jobs.ErrDisplaced) {
						t.Fatalf("Take: %v; want the connection's error", err)
					}
					if name != "twice" {
						c.off = true
						l.takes("d", 0) // it lives, and tries again
						l.kill()
						break
					}
					l.kill()
				}
				c.off = true
				if l := w.start(dir, "boot-1").takes("d", 0); l.Host() != host {
					t.Errorf("identity %s; want %s", l.Host(), host)
				}
			})
		})
	}
}

// A copy beside its original is another host, and acts on nothing of the original's.
func TestCopyBesideItsOriginal(t *testing.T) {
	for _, machine := range []string{"boot-1", "boot-2"} {
		t.Run(machine, func(t *testing.T) {
			test(t, func(t *testing.T, w *world, dir string) {
				original := w.start(dir, "boot-1").takes("d", 0)
				for _, name := range []string{"journal/j-a1.json", "spool/j-a1.log", "images", "tmp/x", "control.sock"} {
					put(t, dir, name)
				}
				clone := filepath.Join(filepath.Dir(dir), "clone")
				copyDir(t, dir, clone)
				l := w.displaced(w.start(clone, machine), "d", clone, machine)
				if err := original.Keep(t.Context()); err != nil {
					t.Errorf("the original: %v", err)
				}
				former, err := Former(clone)
				if err != nil || len(former) != 1 || !strings.Contains(former[0], original.Host()) {
					t.Fatalf("%q was put aside, %v; want one folder", former, err)
				}
				for _, name := range []string{"journal/j-a1.json", "spool/j-a1.log", "images", "incarnation"} {
					if name != "incarnation" && exists(clone, name) || !exists(former[0], name) {
						t.Errorf("%s is in its place, or not put aside", name)
					}
				}
				if !exists(clone, "tmp/x") || !exists(clone, "control.sock") || !exists(dir, "journal/j-a1.json") {
					t.Error("more was moved than is a host's")
				}
				l.kill()
				if again := w.start(clone, machine).takes("d", 0); again.Host() != l.Host() {
					t.Errorf("the clone has the identity %s after a restart; want %s", again.Host(), l.Host())
				}
			})
		})
	}
}

// A copy that was made before the original had a seat is not the original, even when
// Redis has lost that the original took one since.
func TestCopyOfADirectoryWithoutASeat(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		w.start(dir, "boot-1").kill() // which makes the identity
		clone := filepath.Join(filepath.Dir(dir), "clone")
		copyDir(t, dir, clone)
		restore := w.memory.Snapshot()
		original := w.start(dir, "boot-1").takes("d1", jobs.AnswerTime)
		restore()
		w.displaced(w.start(clone, "boot-2"), "d2", clone, "boot-2")
		if err := original.Keep(t.Context()); err != nil {
			t.Errorf("the original: %v", err)
		}
	})
}

// A directory that two machines share, on a file system whose locks keep no process out,
// is not taken from the one that uses it.
func TestSharedDirectory(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		original := w.start(dir, "boot-1").takes("d", 0)
		put(t, dir, "journal/j-a1.json")
		lock, err := os.OpenFile(lockFile(dir), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		second := &Directory{path: dir, lock: lock}
		if err := second.read(); err != nil {
			t.Fatal(err)
		}
		self := Process{Boot: "boot-2", Namespace: "pid:[1]", Pid: 7, Start: "1"}
		h := New(nil, second, w.memory, Options{Machine: Machine{Self: self, Lives: func(Process) bool { return false }}})
		if err := h.Check(t.Context()); !errors.Is(err, jobs.ErrShared) || !strings.Contains(err.Error(), "worker one uses "+dir) {
			t.Errorf("Check: %v; want it to tell of the other worker", err)
		}
		if err := original.Keep(t.Context()); err != nil || !exists(dir, "journal/j-a1.json") || exists(dir, "former") {
			t.Errorf("the first worker: %v, its files are there: %t", err, exists(dir, "journal/j-a1.json"))
		}
	})
}

// A process that dies while it puts files aside leaves none of them to be acted upon.
func TestCrashWhileFilesArePutAside(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		original := w.start(dir, "boot-1").takes("d", 0)
		put(t, dir, "journal/j-a1.json")
		clone := filepath.Join(filepath.Dir(dir), "clone")
		copyDir(t, dir, clone)
		d, err := Open(clone)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.putAside(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		put(t, clone, "journal/another.json") // as if it had not been moved yet
		w.displaced(w.start(clone, "boot-1"), "d", clone, "boot-1")
		if exists(clone, "journal") {
			t.Error("the journal is in its place")
		}
		if err := original.Keep(t.Context()); err != nil {
			t.Errorf("the original: %v", err)
		}
	})
}

// A copy may take the place of an original that is gone for good; if it comes back
// it is another host.
func TestCopyInPlaceOfItsOriginal(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		original := w.start(dir, "boot-1").takes("d", 0)
		clone := filepath.Join(filepath.Dir(dir), "clone")
		copyDir(t, dir, clone)
		original.kill()
		l := w.start(clone, "boot-1").takes("d", 0)
		if l.Host() != original.Host() {
			t.Errorf("identity %s; want %s", l.Host(), original.Host())
		}
		w.displaced(w.start(dir, "boot-1"), "d", dir, "boot-1")
		if err := l.Keep(t.Context()); err != nil {
			t.Errorf("the copy: %v", err)
		}
	})
}

func TestAnotherDaemon(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		w.start(dir, "boot-1").takes("d", 0).kill()
		w.displaced(w.start(dir, "boot-1"), "another", dir, "boot-1")
	})
}

// Machines that are made from one image, with a worker that ended in order, are
// started at once: one of them is the host.
func TestManyCopiesAtOnce(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		image := w.start(dir, "boot-1").takes("d", 0)
		if err := image.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		image.kill()
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			clone := filepath.Join(filepath.Dir(dir), string(rune('a'+i)))
			copyDir(t, dir, clone)
			l := w.start(clone, clone)
			wg.Go(func() { errs[i] = l.Take(t.Context(), "d") })
		}
		wg.Wait()
		hosts := 0
		for i, err := range errs {
			if err == nil {
				hosts++
			} else if !errors.Is(err, jobs.ErrDisplaced) {
				t.Errorf("copy %d: %v", i, err)
			}
		}
		if hosts != 1 {
			t.Errorf("%d copies have the seat; want one", hosts)
		}
	})
}

// A holder that lives sees that its seat was taken, that Redis lost it, and that its
// directory is gone.
func TestKeep(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		restore := w.memory.Snapshot()
		l := w.start(dir, "boot-1").takes("d", 0)
		older := w.memory.Snapshot()
		l.kill()
		l = w.start(dir, "boot-1").takes("d", 0)
		for _, back := range []func(){older, restore} {
			back()
			if err := l.Keep(t.Context()); err != nil {
				t.Errorf("after Redis went back: %v", err)
			}
			if s, _, _ := w.memory.Seat(t.Context(), l.Host()); s.Nonce != l.mine.Nonce || s.Lease != time.Minute || s.Worker != "one" {
				t.Errorf("seat %+v; want it taken again", s)
			}
		}
		w.memory.Break(errors.New("away"))
		if err := l.Keep(t.Context()); err == nil || errors.Is(err, jobs.ErrDisplaced) {
			t.Errorf("while Redis is away: %v", err)
		}
		w.memory.Break(nil)
		thief := l.mine
		thief.Nonce, thief.Turn, thief.Worker = "another", thief.Turn+1, "thief"
		if _, err := w.memory.TakeSeat(t.Context(), thief, l.mine.Nonce); err != nil {
			t.Fatal(err)
		}
		if err := l.Keep(t.Context()); !errors.Is(err, jobs.ErrDisplaced) || !strings.Contains(err.Error(), "worker thief took it at") {
			t.Errorf("after the seat was taken: %v", err)
		}
	})
}

func TestDirectoryIsGone(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		l := w.start(dir, "boot-1").takes("d", 0)
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		gone := func() {
			t.Helper()
			if err := l.Keep(t.Context()); !errors.Is(err, jobs.ErrDisplaced) || !strings.Contains(err.Error(), "removed or replaced") {
				t.Errorf("without its directory: %v", err)
			}
		}
		gone()
		if other := w.start(dir, "boot-1").takes("d", 0); other.Host() == l.Host() {
			t.Error("an empty directory has the identity of the one before")
		}
		gone()
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "another worker uses the state directory") {
			t.Errorf("a directory with a worker: %v; want it refused", err)
		}
	})
}

// An identity that is lost on its own leaves files that no worker owns.
func TestIdentityIsGone(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		l := w.start(dir, "boot-1").takes("d", 0)
		put(t, dir, "journal/j-a1.json")
		l.kill()
		if err := os.Remove(identityFile(dir)); err != nil {
			t.Fatal(err)
		}
		if next := w.start(dir, "boot-1").takes("d", 0); next.Host() == l.Host() || exists(dir, "journal") {
			t.Error("the journal of the identity that was lost is in its place")
		}
		if err := os.WriteFile(identityFile(dir), []byte("copied by hand"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Identity(dir); err == nil {
			t.Error("a damaged identity was read")
		}
	})
}

// What the kernel tells of processes.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	m := ThisMachine()
	if m.Self.Boot == "" || m.Self.Namespace == "" || m.Self.Start == "" {
		t.Skipf("this system tells only %+v", m.Self)
	}
	other := m.Self
	other.Start += "1"
	if !m.Lives(m.Self) || m.Lives(other) || m.Lives(Process{Pid: 1 << 30}) {
		t.Errorf("%+v lives %t, one with another start %t; want the first only", m.Self, m.Lives(m.Self), m.Lives(other))
	}
}

// What a doctor and a supervisor are told, who change nothing.
func TestLook(t *testing.T) {
	test(t, func(t *testing.T, w *world, dir string) {
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		l := New(nil, d, w.memory, Options{}) // on this very machine
		if err := l.Take(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		seat, _, _ := w.memory.Seat(t.Context(), d.Host())
		if why, err := Look(dir, seat, "d"); why != "" || err != nil {
			t.Errorf("the directory of a worker that runs: %q, %v", why, err)
		}
		if why, err := Look(dir, seat, "another"); !strings.Contains(why, "another Docker daemon") || err != nil {
			t.Errorf("on another daemon: %q, %v", why, err)
		}
		clone := filepath.Join(filepath.Dir(dir), "clone")
		copyDir(t, dir, clone)
		for path, want := range map[string]bool{dir: false, clone: false} {
			if got, err := Copied(path); got != want || err != nil { // a process is not beside itself
				t.Errorf("%s is a copy: %t, %v; want %t", path, got, err, want)
			}
		}
		last := d.last
		last.Process = parent(t)
		if err := d.remember(last); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(clone); err != nil {
			t.Fatal(err)
		}
		copyDir(t, dir, clone)
		for path, want := range map[string]bool{dir: false, clone: true} {
			if got, err := Copied(path); got != want || err != nil {
				t.Errorf("%s is a copy: %t, %v; want %t", path, got, err, want)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// parent is another process that lives.
func parent(t *testing.T) Process {
	t.Helper()
	p := ThisMachine().Self
	p.Pid = os.Getppid()
	var alive bool
	if p.Start, alive = started(p.Pid); !alive {
		t.Skip("this system does not tell of other processes")
	}
	return p
}
