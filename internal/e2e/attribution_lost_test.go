//go:build integration

package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// What the farm's own parts take from a job is put down to the farm, and done again.
func TestAttributionOfLosses(t *testing.T) {
	t.Parallel() // the other waits most of the time
	host := hosttest.StartHost(t, "e2e-lost")
	hosttest.Busybox(t, host)
	f := newFarm(t)
	store, mnt := filepath.Join(f.dir, "store"), filepath.Join(f.dir, "mnt")
	if err := errors.Join(os.MkdirAll(store, 0o750), os.Mkdir(mnt, 0o750), unix.Mount(store, mnt, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", mnt, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	f.worker(host, "one", "--slots", "8", "--store", mnt)
	check := func(name, id string, want verdict) {
		t.Run(name, func(t *testing.T) {
			got, told := f.in(t).verdict(answer{stdout: id})
			checkVerdict(t, got, want, told)
		})
	}
	const begins = "echo it begins; sleep 3"
	running := func(i int) (build, run string) {
		t.Helper()
		build = f.submit(contextDir(t, map[string]string{"Dockerfile": fmt.Sprintf("FROM busybox\nRUN echo %d; %s\n", i, begins)}))
		run = f.submit("--image", "busybox", "--stop-timeout", "1", "--", "sh", "-c", begins)
		f.said(run, "it begins\n")
		f.inStage(build, jobs.StageBuild)
		f.said(build, "it begins")
		return build, run
	}

	build, run := running(1)
	if err := host.Kill(); err != nil {
		t.Fatal(err)
	}
	f.eventually(time.Minute, "the worker takes no jobs", func() bool {
		state, _ := f.hostState("one")
		return state == jobs.HostUnfit
	})
	late := f.submit("--image", "busybox", "--", "true")
	check("daemon away, queue timeout", f.submit("--image", "busybox", "--queue-timeout", "2s", "--", "true"),
		verdict{state: jobs.Expired, kind: jobs.KindQueueTimeout, fault: jobs.UserFault, tries: 1, exit: jobs.ExitTimeout, says: `no worker took the job`})
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	check("daemon killed during a build", build, recovered(jobs.KindDaemonLost, `connection to the Docker daemon was lost`))
	check("daemon killed during a run", run, recovered(jobs.KindDaemonLost, `the Docker daemon was away when the container ended`))
	check("daemon away when the job came", late, works())

	build, run = running(2)
	if err := errors.Join(host.Stop(), host.Start()); err != nil {
		t.Fatal(err)
	}
	check("daemon stopped during a build", build, recovered(jobs.KindDaemonLost, `connection to the Docker daemon was lost`))
	check("daemon stopped during a run", run, recovered(jobs.KindDaemonLost, `the Docker daemon was away when the container ended`))

	// A program that ends well when it is told to has not done its work.
	run = f.submit("--image", "busybox", "--", "sh", "-c", "trap 'exit 0' TERM; echo it begins; sleep 3 & wait; echo it is done")
	f.said(run, "it begins\n")
	docker(t, host, "stop", f.job(run).Container.ID)
	check("stopped by an operator", run, recovered(jobs.KindContainerLost, `another client of the engine stopped the container`))

	// From here on the store.
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nCOPY a /a\n", "a": t.Name()})
	first := f.job(f.submit(dir))
	f.ended(first.ID)
	logged := f.submit("--image", "busybox", "--", "sh", "-c", begins)
	kept := f.submit("--image", "busybox", "--output-path", "/x", "--", "sh", "-c", begins+"; echo x >/x")
	f.said(logged, "it begins\n")
	f.said(kept, "it begins\n")
	remount(unix.MS_RDONLY)
	f.eventually(time.Minute, "the store has failed the output", func() bool { return len(f.job(kept).Past) > 0 || f.job(kept).State.Terminal() })
	remount(0)
	f.fit("one")
	check("store that cannot be written to, at an output", kept, recovered(jobs.KindStore, `the artifact store could not be used for the output /x`))
	check("store that cannot be written to for a moment, at a log", logged, works())

	blob := blobPath(store, first.Spec.Context.Ref)
	document := `{"context":{"ref":"` + first.Spec.Context.Ref + `"},"build":{}}`
	again := func() string {
		t.Helper()
		a := f.enqueueWith([]byte(document), "submit", "-d", "-q", "--spec", "-")
		if a.code != 0 {
			t.Fatalf("submit: exit code %d\n%s", a.code, a.stderr)
		}
		return strings.TrimSpace(a.stdout)
	}
	good, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	spoil := func() error { return os.WriteFile(blob, append([]byte("spoiled"), good...), 0o660) }
	for _, tt := range []struct {
		name string
		harm func() error
		want verdict
	}{
		{"FIFO in the store", func() error { return unix.Mkfifo(blob, 0o660) }, lost(jobs.KindStore, `the artifact store has a FIFO where it keeps the file`)},
		{"blob that is damaged, of which nothing is needed", spoil, works()},
		{"blob that is damaged", func() error { return errors.Join(spoil(), os.RemoveAll(filepath.Join(f.dir, "one", "verdicts"))) }, lost(jobs.KindStore, `the stored copy of the context is damaged`)},
	} {
		if err := errors.Join(os.Remove(blob), tt.harm()); err != nil {
			t.Fatal(err)
		}
		check(tt.name, again(), tt.want)
	}
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	// An upload that was cut off is none: the next one replaces it.
	if err := os.WriteFile(blob, good[:len(good)/2], 0o660); err != nil {
		t.Fatal(err)
	}
	check("blob that was not written to its end", again(), refusal(jobs.KindContextNotFound, `is not in the artifact store.*submit it again`))
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	check("blob that was deleted", again(), refusal(jobs.KindContextNotFound, `is not in the artifact store`))
}
