//go:build integration && chaos

package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// hostFault is one way in which a host can be broken.
type hostFault struct {
	name string
	// says is what the host's reason matches, doctor a line that fails.
	says, doctor string
	// unknown is set when the host cannot say who it is while it starts, and so is not in
	// the registry of hosts.
	unknown bool
	// prepare returns what the host's worker is started with, and what breaks the host
	// and mends it.
	prepare func(t *testing.T, f *farm) (args []string, breaks, mends func())
	// store and dockerHost are those of the host's worker.
	store      func(f *farm) string
	dockerHost func() string
}

func farmStore(f *farm) string    { return filepath.Join(f.dir, "store") }
func mountedStore(f *farm) string { return filepath.Join(f.dir, "mnt") }

// hostFaults are those of a host whose data root is on a small disk.
func hostFaults(bad *hosttest.Host, room string) []hostFault {
	inside := func(t *testing.T, argv ...string) {
		t.Helper()
		if out, err := bad.Command(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q on host %s: %v: %s", argv, bad.Name, err, out)
		}
	}
	var spy *hosttest.Spy
	spied := func() string { return spy.DockerHost() }
	return []hostFault{{
		name: "no bridge", says: `a trial build and run failed: .*docker0`, doctor: `docker\.container .*docker0`,
		store: farmStore, dockerHost: bad.DockerHost,
		prepare: func(t *testing.T, _ *farm) ([]string, func(), func()) {
			address, err := bad.Command(t.Context(), "sh", "-c", "ip -4 -o addr show docker0 | awk '{print $4}'").Output()
			if err != nil {
				t.Fatal(err)
			}
			return nil, func() { inside(t, "ip", "link", "del", "docker0") },
				func() {
					inside(t, "sh", "-c", "ip link add docker0 type bridge && ip addr add "+string(address[:len(address)-1])+" dev docker0 && ip link set docker0 up")
				}
		},
	}, {
		name: "store is not mounted", says: `is it mounted\?`, doctor: `store\.owner .*is it mounted\?`,
		store: mountedStore, dockerHost: bad.DockerHost,
		prepare: func(t *testing.T, f *farm) ([]string, func(), func()) {
			mnt := mountedStore(f)
			mount := func() {
				if err := unix.Mount(farmStore(f), mnt, "", unix.MS_BIND, ""); err != nil {
					t.Error(err)
				}
			}
			if err := errors.Join(os.MkdirAll(farmStore(f), 0o750), os.Mkdir(mnt, 0o750)); err != nil {
				t.Fatal(err)
			}
			mount()
			t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
			return []string{"--store", mnt}, func() {
				if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}, mount
		},
	}, {
		name: "docker's disk is full", says: `the disk of .*data is short of room`, doctor: `disk\.docker .*B of`,
		store: farmStore, dockerHost: bad.DockerHost,
		prepare: func(t *testing.T, _ *farm) ([]string, func(), func()) {
			fill, empty := filler(t, room)
			return nil, fill, empty
		},
	}, {
		name: "the worker's disk is full", says: `the disk of .*broken is short of room|whether this host is this worker's: .*no space left`, unknown: true, doctor: `disk\.state .*B of`,
		store: farmStore, dockerHost: bad.DockerHost,
		prepare: func(t *testing.T, f *farm) ([]string, func(), func()) {
			state := filepath.Join(f.dir, brokenWorker)
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			mountTmpfs(t, state, "16m")
			// One that has never been a host has nowhere to keep what it is, and does not start.
			f.worker(bad, brokenWorker).stop()
			fill, empty := filler(t, state)
			return nil, fill, empty
		},
	}, {
		name: "daemon that refuses", says: `the engine does not answer|out of order`, doctor: `docker .*out of order`,
		store: farmStore, dockerHost: spied,
		prepare: func(t *testing.T, _ *farm) ([]string, func(), func()) {
			spy = hosttest.StartSpy(t, bad)
			return []string{"--docker-host", spy.DockerHost()}, func() { spy.Refuse(true) }, func() { spy.Refuse(false) }
		},
	}, {
		name: "daemon's socket is closed", says: `the engine does not answer`, doctor: `docker .*(connect|no such file)`,
		store: farmStore, dockerHost: spied,
		prepare: func(t *testing.T, _ *farm) ([]string, func(), func()) {
			spy = hosttest.StartSpy(t, bad)
			return []string{"--docker-host", spy.DockerHost()}, spy.Shut, func() { spy.Open(t) }
		},
	}, {
		name: "daemon that hangs", says: `(nothing came|no answer) within`, doctor: `docker .*nothing came within`,
		store: farmStore, dockerHost: bad.DockerHost,
		prepare: func(t *testing.T, _ *farm) ([]string, func(), func()) {
			signal := func(sig syscall.Signal) func() {
				return func() {
					if err := syscall.Kill(bad.Pid(), sig); err != nil {
						t.Errorf("%s to the daemon: %v", sig, err)
					}
				}
			}
			t.Cleanup(signal(syscall.SIGCONT))
			return nil, signal(syscall.SIGSTOP), signal(syscall.SIGCONT)
		},
	}}
}
