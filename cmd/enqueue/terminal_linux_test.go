package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/safetext"
)

// onTerminal runs write with a pseudo terminal and returns what came to it.
func onTerminal(t *testing.T, write func(tty *os.File)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&got, master) // ends with an error when no process has the terminal open
	}()
	write(tty)
	_ = tty.Close()
	<-done
	return got.String()
}

// What a job wrote, and whatever else strangers put into its record, acts on no terminal:
// colours are all that passes. What is no terminal gets every byte of the log.
func TestHostileJobOnATerminal(t *testing.T) {
	t.Parallel()
	const evil = "<b>&\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\\x1b]52;c;ZXZpbA==\x07\x1b[2J\x1b[1;1H\x1bc\x00\x07\x08\x9b31m\x9d0;x\u009b31m\u202egpj.exe\u2066\u200b"
	const log = "\x1b[31mred\x1b[0m " + evil + "\r\nend\n"
	f := startFarm(t, farmOptions{paused: true})
	sub, err := f.svc.Submit(t.Context(), jobs.Spec{Name: "app", Run: &jobs.Run{Image: "a", Command: []string{strings.ToValidUTF8(strings.ReplaceAll(evil, "\x00", ""), "")}}})
	if err != nil {
		t.Fatal(err)
	}
	id := sub.ID
	if _, err := f.mem.Claim(t.Context(), jobs.Ticket{ID: id}, jobs.Owner{Worker: evil, Host: "h1", Nonce: "n", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	framed := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Now(), Data: []byte(log)})
	framed = jobs.AppendFrame(framed, jobs.Frame{Stream: jobs.Note, At: time.Now(), Data: []byte(evil + "\n")})
	framed = jobs.AppendFrame(framed, jobs.Frame{Stream: jobs.Stderr, At: time.Now(), Data: []byte(evil + "\n")})
	blob, err := artifacts.NewBlobs(f.store, "").Write(t.Context(), bytes.NewReader(framed))
	if err != nil {
		t.Fatal(err)
	}
	err = f.mem.Finish(t.Context(), id, "n", jobs.Result{
		State: jobs.Failed, Worker: evil, Host: "h1", Attempt: 1, Engine: evil, Log: jobs.LogInfo{Digest: blob.Digest, Size: blob.Size},
		Outputs: []jobs.Output{{Path: "/" + evil}},
		Failure: &jobs.Failure{Stage: jobs.StageRun, Kind: jobs.KindExitNonzero, Message: evil, Cause: evil, Hint: evil, Tail: []string{evil}},
	})
	if err != nil {
		t.Fatal(err)
	}
	colour := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	for _, line := range []string{
		"status " + id, "status -o json " + id, "status -o jsonl " + id, "result " + id, "result -o template={{.failure.message}}{{.worker}} " + id,
		"why " + id, "wait " + id, "ls", "ls -o template={{.result.failure.tail}}", "logs " + id, "logs -f " + id, "logs -t --tail 9 " + id, "outputs " + id,
	} {
		got := onTerminal(t, func(tty *os.File) {
			a := f.app(process{getenv: env("TERM=xterm-256color"), stdin: strings.NewReader(""), stdout: tty, stderr: tty})
			a.openStore = func() (artifacts.Store, error) { return f.store, nil }
			a.run(t.Context(), strings.Fields(line))
		})
		if got == "" {
			t.Errorf("%s: nothing was written", line)
		}
		for _, r := range colour.ReplaceAllString(got, "") {
			if r != '\n' && r != '\r' && safetext.Visible(r) != r {
				t.Errorf("%s: %q came to the terminal in %q", line, r, got)
				break
			}
		}
		if strings.HasPrefix(line, "logs") && !strings.Contains(got, "\x1b[31mred\x1b[0m") {
			t.Errorf("%s: the colour is lost in %q", line, got)
		}
	}
	var out buffer
	a := f.app(process{getenv: env(), stdin: strings.NewReader(""), stdout: &out, stderr: io.Discard})
	a.openStore = func() (artifacts.Store, error) { return f.store, nil }
	if a.run(t.Context(), []string{"logs", id}); out.String() != log {
		t.Errorf("what is no terminal gets %q, want %q", out.String(), log)
	}
}
