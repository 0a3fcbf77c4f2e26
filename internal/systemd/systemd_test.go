package systemd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listen is a manager's socket that a test reads.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// told returns the datagrams that have come.
func told(t *testing.T, conn *net.UnixConn) (all []string) {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond)) // what was sent is here already
		n, err := conn.Read(buf)
		if err != nil {
			return all
		}
		all = append(all, string(buf[:n]))
	}
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

// A service says once that it is up and that it ends, its text when that changes, and that
// it lives when it is asked to, over sockets with and without a file.
func TestService(t *testing.T) {
	t.Parallel()
	for kind, name := range map[string]string{
		"a file": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@slipway-test-%d", os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, conn := t.Context(), listen(t, name)
			s := NewService(nil, Manager{Socket: name, Watchdog: 20 * time.Second}, time.Hour)
			const more = "EXTEND_TIMEOUT_USEC=20000000"
			s.Is(ctx, Condition{Starting, "takes no jobs: it looks"})
			want(t, "at the start", told(t, conn), "STATUS=takes no jobs: it looks\n"+more)
			s.Is(ctx, Condition{Starting, "takes no jobs: it looks"})
			want(t, "the same again", told(t, conn))
			s.Alive(ctx)
			want(t, "alive at the start", told(t, conn), "WATCHDOG=1\n"+more)
			s.Is(ctx, Condition{Up, "takes jobs"})
			want(t, "up", told(t, conn), "READY=1\nSTATUS=takes jobs")
			s.Is(ctx, Condition{Starting, "takes no jobs: it looks"})
			want(t, "another life", told(t, conn), "STATUS=takes no jobs: it looks")
			s.Is(ctx, Condition{Up, "takes jobs"})
			want(t, "up again", told(t, conn), "STATUS=takes jobs")
			s.Alive(ctx)
			want(t, "alive", told(t, conn), "WATCHDOG=1")
			s.Is(ctx, Condition{Ending, "drains"})
			want(t, "at the end", told(t, conn), "STOPPING=1\nSTATUS=drains\n"+more)
			s.Alive(ctx)
			want(t, "alive at the end", told(t, conn), "WATCHDOG=1\n"+more)
			s.ending = time.Now().Add(-time.Hour)
			s.Alive(ctx)
			want(t, "alive for longer than an end may take", told(t, conn), "WATCHDOG=1")
		})
	}
}

// A manager that sets no watchdog hears no signs of life, but is asked for time.
func TestServiceWithoutWatchdog(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "notify")
	conn := listen(t, name)
	s := NewService(nil, Manager{Socket: name}, time.Hour)
	s.Alive(t.Context())
	want(t, "at the start", told(t, conn), "EXTEND_TIMEOUT_USEC=60000000")
	s.Is(t.Context(), Condition{Up, ""})
	_ = told(t, conn)
	s.Alive(t.Context())
	want(t, "when it is up", told(t, conn))
}

// What the manager could not take is told again; a service without a manager tells nothing.
func TestServiceWithoutManager(t *testing.T) {
	t.Parallel()
	name, log := filepath.Join(t.TempDir(), "notify"), &bytes.Buffer{}
	ended, end := context.WithCancel(t.Context())
	end()
	s := NewService(slog.New(slog.NewTextHandler(log, nil)), Manager{Socket: name, Watchdog: time.Minute}, 0)
	s.Is(ended, Condition{Up, "takes jobs"})
	if !strings.Contains(log.String(), "the service manager was not told") {
		t.Errorf("logged %q; want that the manager was not told", log)
	}
	conn := listen(t, name)
	s.Alive(ended)
	want(t, "when the manager is there", told(t, conn), "READY=1\nSTATUS=takes jobs\nWATCHDOG=1")

	log.Reset()
	none := NewService(slog.New(slog.NewTextHandler(log, nil)), Manager{}, 0)
	none.Is(t.Context(), Condition{Up, "takes jobs"})
	none.Alive(t.Context())
	if log.Len() > 0 || none.Every() != longestEvery {
		t.Errorf("logged %q, every %s; want nothing logged", log, none.Every())
	}
}

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	own := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		env  map[string]string
		want Manager
		err  string
	}{
		{nil, Manager{}, ""},
		{map[string]string{socketVariable: "@s"}, Manager{Socket: "@s"}, ""},
		{map[string]string{socketVariable: "/s", watchdogVariable: "1500000"}, Manager{"/s", 1500 * time.Millisecond}, ""},
		{map[string]string{socketVariable: "/s", watchdogVariable: "1500000", watchdogPIDVariable: own}, Manager{"/s", 1500 * time.Millisecond}, ""},
		{map[string]string{socketVariable: "/s", watchdogVariable: "1500000", watchdogPIDVariable: "1"}, Manager{Socket: "/s"}, ""},
		{map[string]string{watchdogVariable: "1500000"}, Manager{}, ""},
		{map[string]string{socketVariable: "/s", watchdogVariable: "soon"}, Manager{Socket: "/s"}, `WATCHDOG_USEC="soon"`},
		{map[string]string{socketVariable: "/s", watchdogVariable: "0"}, Manager{Socket: "/s"}, "WATCHDOG_USEC"},
		{map[string]string{socketVariable: "/s", watchdogVariable: "9223372036854775807"}, Manager{Socket: "/s"}, "WATCHDOG_USEC"},
	} {
		got, err := FromEnvironment(func(name string) string { return tt.env[name] })
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%v: %+v, %v; want %+v and %q", tt.env, got, err, tt.want, tt.err)
		}
	}
}

// It cannot run beside other tests: the environment is the process's.
func TestHideFromChildren(t *testing.T) {
	t.Setenv(socketVariable, "/s")
	t.Setenv(watchdogVariable, "1")
	if err := HideFromChildren(); err != nil {
		t.Fatal(err)
	}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "NOTIFY_") || strings.HasPrefix(entry, "WATCHDOG_") {
			t.Errorf("the environment still has %s", entry)
		}
	}
}

// A condition comes back from its line as it was, but for what would break the line.
func TestConditionLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\u00e4", maxText)
	for _, tt := range []struct{ got, want Condition }{
		{Condition{Up, "takes jobs: 1 of 4 slots busy"}, Condition{Up, "takes jobs: 1 of 4 slots busy"}},
		{Condition{Starting, ""}, Condition{Starting, ""}},
		{Condition{Ending, "a\nREADY=1\x00\xff"}, Condition{Ending, "a READY=1  "}},
		{Condition{Up, long}, Condition{Up, long[:maxText] + "..."}},
		{Condition{Up, "x" + long}, Condition{Up, "x" + long[:maxText-2] + "..."}},
		{Condition{"down", "x"}, Condition{}},
		{Condition{}, Condition{}},
	} {
		if got := Read(tt.got.Line()); got != tt.want {
			t.Errorf("%q came back as %q, want %q", tt.got, got, tt.want)
		}
	}
}
