package supervisor

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func start(t *testing.T, script string) (Child, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	child, err := Process{Argv: []string{"/bin/sh", "-c", script}, Output: &out}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return child, &out
}

// A process gives its signs of life on the descriptor that its environment names, and
// ends with its exit code, which is not repeated in words.
func TestProcess(t *testing.T) {
	t.Parallel()
	child, out := start(t, `echo out; echo err >&2; printf '.up takes jobs\n.' >&$`+WatchdogVariable+`; exec 3>&-; exit 7`)
	if how, ok := <-child.Beats(); !ok || how != up("takes jobs") {
		t.Errorf("a sign of life %v that says %q; want one with what the child says", ok, how)
	}
	if _, ok := <-child.Beats(); ok {
		t.Error("another sign of life; want the end of them")
	}
	err := <-child.Ended()
	if code := Exit(0); !errors.As(err, &code) || code != 7 {
		t.Errorf("ended with %v, want exit code 7", err)
	}
	if out.String() != "out\nerr\n" {
		t.Errorf("printed %q; want what went to both outputs", out.String())
	}
}

func TestProcessThatIsAskedToEnd(t *testing.T) {
	t.Parallel()
	child, _ := start(t, `trap 'exit 0' TERM; printf . >&3; while :; do sleep 0.01; done`)
	<-child.Beats() // it has its trap
	child.Terminate()
	if err := <-child.Ended(); err != nil {
		t.Errorf("ended with %v, want in order", err)
	}
}

func TestProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	child, _ := start(t, `trap '' TERM; printf . >&3; while :; do sleep 0.01; done`)
	<-child.Beats()
	child.Terminate()
	child.Kill()
	err := <-child.Ended()
	if err == nil || !strings.Contains(err.Error(), "killed") || errors.As(err, new(Exit)) {
		t.Errorf("ended with %v, want the signal", err)
	}
}

func TestProcessThatCannotStart(t *testing.T) {
	t.Parallel()
	if _, err := (Process{Argv: []string{"/no/such/program"}}).Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v; want that it is not there", err)
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := syscall.Dup(int(w.Fd())) // it is the goroutine's, which ends when the parent does
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	child, err := OpenWatchdog(func(string) string { return strconv.Itoa(fd) })
	if err != nil {
		t.Fatal(err)
	}
	child.Is(t.Context(), up("takes jobs"))
	child.Is(t.Context(), up("takes jobs"))
	child.Is(t.Context(), ending("drains"))
	said := make([]byte, 100)
	if n, err := r.Read(said); string(said[:n]) != "up takes jobs\nending drains\n" || err != nil {
		t.Errorf("read %q, %v; want each condition once", said[:n], err)
	}
	child.Up()
	if n, err := r.Read(said); string(said[:n]) != "." || err != nil {
		t.Errorf("read %q, %v; want a sign of life", said[:n], err)
	}
	if _, err := OpenWatchdog(func(string) string { return "three" }); err == nil || !strings.Contains(err.Error(), WatchdogVariable) {
		t.Errorf("error %v; want the variable named", err)
	}
	if IsChild(func(string) string { return "" }) || !IsChild(func(string) string { return "3" }) {
		t.Error("IsChild does not tell a child by its variable")
	}
}
