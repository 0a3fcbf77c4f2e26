package enginetest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func testInfo(t *testing.T, s *trial) {
	info, err := s.Engine.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Engine.Info(s.ctx); err != nil || again.ID != info.ID {
		t.Errorf("ID %q, then %q, %v; want the same", info.ID, again.ID, err)
	}
	if info.ID == "" || info.Name == "" || info.Version == "" || info.CPUs < 1 || info.Memory < 1 || !strings.Contains(info.Platform, "/") {
		t.Errorf("info = %+v, want every field set", info)
	}
}

func testOutput(t *testing.T, s *trial) {
	id := s.create(sh("echo out; echo err >&2; echo -n last; exit 7"))
	if st, err := s.Engine.Inspect(s.ctx, id); err != nil || st.Status != engine.StatusCreated {
		t.Errorf("inspect before start = %+v, %v; want created", st, err)
	}
	p, rec := s.start(id)
	st := s.wait(p)
	if st.ExitCode != 7 || st.Status != engine.StatusExited || st.OOM || st.ID != id || st.Name != s.name() {
		t.Errorf("state = %+v, want exit code 7 of %s", st, id)
	}
	// Two clock readings in two processes: an engine may say that a short
	// container ended before it started.
	if st.Started.IsZero() || st.Finished.IsZero() {
		t.Errorf("started %v, finished %v", st.Started, st.Finished)
	}
	if diff := cmp.Diff([]string{"out\nlast", "err\n"}, []string{rec.stdout(), rec.stderr()}); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if again := s.wait(p); again.ExitCode != 7 {
		t.Errorf("second wait = %+v", again)
	}
}

func testEnvironment(t *testing.T, s *trial) {
	run := sh("echo $GREETING; pwd")
	run.Env = map[string]string{"GREETING": "a=b c"}
	run.Workdir = "/tmp"
	p, rec := s.start(s.create(run))
	s.wait(p)
	if got, want := rec.stdout(), "a=b c\n/tmp\n"; got != want {
		t.Errorf("stdout = %q, want %q", got, want)
	}
}

// testSecrets: a container reads the files of the directory and changes none, whatever user
// it runs as. A directory that is not there is no fault of the job's.
func testSecrets(t *testing.T, s *trial) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Chmod(dir, 0o755), //nolint:gosec // the directory above is the user's own
		os.WriteFile(filepath.Join(dir, "token"), []byte("hunter22\n"), 0o444), //nolint:gosec // containers run as other users
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	run := sh("cat " + jobs.SecretsDir + "/token; echo x > " + jobs.SecretsDir + "/token; cat " + jobs.SecretsDir + "/token")
	c := s.container(run)
	c.Spec.User, c.Secrets = "65534", dir
	st, err := s.Engine.Create(s.ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	p, rec := s.start(st.ID)
	s.wait(p)
	if got, want := rec.stdout(), "hunter22\nhunter22\n"; got != want {
		t.Errorf("stdout = %q, want %q", got, want)
	}
	c = s.container(run)
	c.Name, c.Secrets = c.Name+"x", filepath.Join(dir, "away")
	_, err = s.Engine.Create(s.ctx, c)
	_ = s.wantKind("create without the directory", err, jobs.KindSecretsFailed)
}

func testAdopt(t *testing.T, s *trial) {
	id := s.create(sh("true"))
	again, err := s.Engine.Create(s.ctx, s.container(sh("true")))
	if err != nil || again.ID != id || again.Status != engine.StatusCreated {
		t.Errorf("second create = %+v, %v; want %s, created", again, err, id)
	}
	p, _ := s.start(id)
	s.wait(p)
	again, err = s.Engine.Create(s.ctx, s.container(sh("true")))
	if err != nil || again.ID != id || again.Status != engine.StatusExited {
		t.Errorf("create after the run = %+v, %v; want %s, exited", again, err, id)
	}
	other := s.container(sh("true"))
	other.Labels[engine.LabelHost] = "elsewhere"
	_, err = s.Engine.Create(s.ctx, other)
	_ = s.wantKind("create with other labels", err, jobs.KindEngine)
}

func testNoImage(_ *testing.T, s *trial) {
	c := s.container(sh("true"))
	c.Image = "no-such-image:1"
	_, err := s.Engine.Create(s.ctx, c)
	_ = s.wantKind("create", err, jobs.KindImageMissing)
}

func testStartFailures(t *testing.T, s *trial) {
	for _, tt := range []struct {
		name    string
		command string
		kind    jobs.Kind
	}{
		{"missing", "/no/such/command", jobs.KindCommandNotFound},
		{"missing in PATH", "no-such-command", jobs.KindCommandNotFound},
		{"not executable", "/etc/passwd", jobs.KindCommandNotExec},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &trial{Rig: s.Rig, t: t, ctx: t.Context()}
			id := s.create(jobs.Run{Command: []string{tt.command}})
			_, err := s.Engine.Start(s.ctx, id, engine.Output{})
			f := s.wantKind("start", err, tt.kind)
			if !strings.Contains(f.Message, tt.command) {
				t.Errorf("message %q does not name the command", f.Message)
			}
			if _, err := s.Engine.Inspect(s.ctx, id); err != nil {
				t.Errorf("the container is not left for the caller: %v", err)
			}
		})
	}
}

func testStop(t *testing.T, s *trial) {
	run := sh("trap 'exit 3' TERM; echo ready; sleep 60 & wait")
	id := s.create(run)
	p, rec := s.start(id)
	rec.awaitStdout(t, "ready\n")
	if err := s.Engine.Stop(s.ctx, id, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if st := s.wait(p); st.ExitCode != 3 || !st.Killed {
		t.Errorf("exit code after SIGTERM = %d, killed %t; want 3, and killed", st.ExitCode, st.Killed)
	}
	for _, id := range []string{id, strings.Repeat("0", 64)} {
		if err := s.Engine.Stop(s.ctx, id, 0); err != nil {
			t.Errorf("stop of what does not run = %v", err)
		}
	}
	t.Run("deaf", func(t *testing.T) {
		s := &trial{Rig: s.Rig, t: t, ctx: t.Context()}
		id := s.create(sh("trap '' TERM; echo ready; sleep 60"))
		p, rec := s.start(id)
		rec.awaitStdout(t, "ready\n")
		if err := s.Engine.Stop(s.ctx, id, time.Second); err != nil {
			t.Fatal(err)
		}
		if st := s.wait(p); st.ExitCode != 137 || st.OOM || !st.Killed {
			t.Errorf("state after SIGKILL = %+v, want 137 without OOM, and killed", st)
		}
	})
}

func testWaitGivesUp(t *testing.T, s *trial) {
	id := s.create(sh("sleep 60"))
	p, _ := s.start(id)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait = %v, want context.Canceled", err)
	}
	if st, err := s.Engine.Inspect(s.ctx, id); err != nil || st.Status != engine.StatusRunning {
		t.Errorf("state = %+v, %v; want running", st, err)
	}
	p.Detach()
}

func testReattach(t *testing.T, s *trial) {
	id := s.create(sh("echo one; echo err >&2; sleep 1; echo two"))
	p, rec := s.start(id)
	rec.awaitStdout(t, "one\n")
	p.Detach()
	skip := engine.Skip{Stdout: int64(len(rec.stdout())), Stderr: int64(len(rec.stderr()))}
	rest := newRecorder()
	p, err := s.Engine.Reattach(s.ctx, id, skip, rest.output())
	if err != nil {
		t.Fatal(err)
	}
	s.wait(p)
	got := []string{rec.stdout() + rest.stdout(), rec.stderr() + rest.stderr()}
	if diff := cmp.Diff([]string{"one\ntwo\n", "err\n"}, got); diff != "" {
		t.Errorf("output in two parts (-want +got):\n%s", diff)
	}
}

func testReattachEnded(t *testing.T, s *trial) {
	id := s.create(sh("echo one; echo two; exit 4"))
	p, _ := s.start(id)
	s.wait(p)
	rec := newRecorder()
	p, err := s.Engine.Reattach(s.ctx, id, engine.Skip{Stdout: 4}, rec.output())
	if err != nil {
		t.Fatal(err)
	}
	if st := s.wait(p); st.ExitCode != 4 || rec.stdout() != "two\n" || st.Killed {
		t.Errorf("exit code %d, output %q, killed %t; want 4 and two, and not killed", st.ExitCode, rec.stdout(), st.Killed)
	}
}

func testDetach(t *testing.T, s *trial) {
	id := s.create(sh("echo one; sleep 60"))
	p, rec := s.start(id)
	rec.awaitStdout(t, "one\n")
	p.Detach()
	p.Detach()
	if _, err := p.Wait(s.ctx); err == nil {
		t.Error("wait after detach = nil, want an error: the container is not watched")
	}
	if st, err := s.Engine.Inspect(s.ctx, id); err != nil || st.Status != engine.StatusRunning {
		t.Errorf("state = %+v, %v; want running", st, err)
	}
}

func testLost(t *testing.T, s *trial) {
	id := s.create(sh("echo one; sleep 60"))
	p, rec := s.start(id)
	rec.awaitStdout(t, "one\n")
	s.Lose(t, id)
	// An engine kills before it removes, and Wait may see the one or the other.
	if st, err := p.Wait(s.ctx); err != nil || st.ExitCode != 137 || !st.Killed {
		_ = s.wantKind("wait", err, jobs.KindContainerLost)
	}
	_, err := s.Engine.Inspect(s.ctx, id)
	_ = s.wantKind("inspect", err, jobs.KindContainerLost)
	_, err = s.Engine.Reattach(s.ctx, id, engine.Skip{}, engine.Output{})
	_ = s.wantKind("reattach", err, jobs.KindContainerLost)
	_, err = s.Engine.CopyOut(s.ctx, id, "/tmp")
	_ = s.wantKind("copy out", err, jobs.KindContainerLost)
	_, err = s.Engine.Start(s.ctx, id, engine.Output{})
	_ = s.wantKind("start", err, jobs.KindContainerLost)
}

func testRemove(t *testing.T, s *trial) {
	id := s.create(sh("sleep 60"))
	p, _ := s.start(id)
	defer p.Detach()
	for range 2 {
		if err := s.Engine.Remove(s.ctx, id); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
}

func testWritten(t *testing.T, s *trial) {
	const size = 700_000
	id := s.create(sh("head -c " + strconv.Itoa(size) + " /dev/zero > /big; echo written; sleep 60"))
	if n, err := s.Engine.Written(s.ctx, id); err != nil || n > size/2 {
		t.Errorf("%d bytes were written before the start, %v", n, err)
	}
	p, rec := s.start(id)
	defer p.Detach()
	rec.awaitStdout(t, "written\n")
	if n, err := s.Engine.Written(s.ctx, id); err != nil || n < size || n > 2*size {
		t.Errorf("%d bytes were written, %v; want %d and a little", n, err, size)
	}
	if err := s.Engine.Remove(s.ctx, id); err != nil {
		t.Fatal(err)
	}
	_, err := s.Engine.Written(s.ctx, id)
	_ = s.wantKind("what a container that is gone has written", err, jobs.KindContainerLost)
}

func testList(t *testing.T, s *trial) {
	id := s.create(sh("true"))
	for _, tt := range []struct {
		labels map[string]string
		want   int
	}{
		{s.labels(), 1},
		{map[string]string{engine.LabelJob: s.job(), engine.LabelAttempt: "2"}, 0},
	} {
		got, err := s.Engine.List(s.ctx, tt.labels)
		if err != nil || len(got) != tt.want {
			t.Fatalf("list %v = %+v, %v; want %d", tt.labels, got, err, tt.want)
		}
		if tt.want == 1 && (got[0].ID != id || got[0].Name != s.name() || got[0].Status != engine.StatusCreated || got[0].Labels[engine.LabelFarm] != "suite") {
			t.Errorf("list = %+v, want container %s", got[0], id)
		}
	}
}

func testCopyOut(t *testing.T, s *trial) {
	id := s.create(sh("mkdir -p /out/sub && echo -n result > /out/sub/file"))
	p, _ := s.start(id)
	s.wait(p)
	for path, want := range map[string][]string{
		"/out":          {"out/", "out/sub/", "out/sub/file"},
		"/out/sub/file": {"file"},
	} {
		stream, err := s.Engine.CopyOut(s.ctx, id, path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		var content []byte
		for tr := tar.NewReader(stream); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
			if content, err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, names); diff != "" || string(content) != "result" {
			t.Errorf("copy of %s has %q (-want +got):\n%s", path, content, diff)
		}
	}
	_, err := s.Engine.CopyOut(s.ctx, id, "/out/missing")
	_ = s.wantKind("copy of a missing path", err, jobs.KindOutputMissing)
}

func testPorts(t *testing.T, s *trial) {
	run := sh("echo ready; sleep 60")
	run.Network = "bridge"
	run.Ports = []jobs.Port{{Container: 8080}}
	id := s.create(run)
	p, rec := s.start(id)
	defer p.Detach()
	rec.awaitStdout(t, "ready\n")
	st, err := s.Engine.Inspect(s.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(st.Addresses["8080/tcp"])
	if err != nil || host != "127.0.0.1" {
		t.Fatalf("addresses = %v, want 8080/tcp on 127.0.0.1", st.Addresses)
	}
	t.Run("taken", func(t *testing.T) {
		s := &trial{Rig: s.Rig, t: t, ctx: t.Context()}
		run.Ports = []jobs.Port{{Container: 8080, Host: atoi(t, port)}}
		_, err := s.Engine.Start(s.ctx, s.create(run), engine.Output{})
		_ = s.wantKind("start", err, jobs.KindPortConflict)
	})
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func testImage(t *testing.T, s *trial) {
	id, err := s.Engine.Image(s.ctx, s.Image, io.Discard)
	if err != nil || !jobs.IsDigest(id) {
		t.Errorf("image = %q, %v; want an ID", id, err)
	}
	if err := s.Engine.RemoveImage(s.ctx, id); err != nil {
		t.Errorf("remove of a tagged image = %v, want it left alone", err)
	}
	if again, err := s.Engine.Image(s.ctx, s.Image, nil); err != nil || again != id {
		t.Errorf("image = %q, %v; want %q", again, err, id)
	}
	_, err = s.Engine.Image(s.ctx, s.Registry+"/no-such-image:1", nil)
	_ = s.wantKind("a missing image", err, jobs.KindImageMissing)
	if err := s.Engine.RemoveImage(s.ctx, "sha256:"+strings.Repeat("0", 64)); err != nil {
		t.Errorf("remove of an image that is gone = %v", err)
	}
}
