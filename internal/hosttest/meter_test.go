package hosttest_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

func TestMeter(t *testing.T) {
	t.Parallel()
	h := &hosttest.Host{Dir: t.TempDir()}
	m := hosttest.StartMeter(t, h)
	dial := func() *net.UnixConn {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", strings.TrimPrefix(m.DockerHost(), "unix://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.(*net.UnixConn)
	}
	if text, err := io.ReadAll(dial()); len(text) > 0 || m.Sent() != 0 {
		t.Errorf("without a daemon: %q, %v, %d bytes sent", text, err, m.Sent())
	}

	daemon, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(h.Dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	const answer = "read to its end"
	go func() {
		for {
			conn, err := daemon.Accept()
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, conn)
			_, _ = io.WriteString(conn, strings.Repeat(answer, int(n)))
			_ = conn.Close()
		}
	}()
	const long = 1 << 20
	for _, c := range []struct{ size, sent int64 }{{3, 3}, {0, 3}, {long, 3 + long}} {
		conn := dial()
		if _, err := io.WriteString(conn, strings.Repeat("x", int(c.size))); err != nil {
			t.Fatal(err)
		}
		// The daemon answers only when the client has stopped sending.
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.Copy(io.Discard, conn)
		if want := c.size * int64(len(answer)); got != want || err != nil {
			t.Errorf("an answer of %d bytes, %v; want %d", got, err, want)
		}
		if m.Sent() != c.sent {
			t.Errorf("%d bytes sent, want %d", m.Sent(), c.sent)
		}
	}
	dial() // left open: the end of the test does not wait for it
}
