package hosttest

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// Meter is a daemon's socket that counts the bytes that go to the daemon: requests with their
// headers and bodies, and what goes over connections that requests become, such as sessions of
// BuildKit. It does not know what the bytes mean, so none of them can be missed.
type Meter struct {
	socket string
	daemon string
	sent   atomic.Int64
}

// StartMeter listens before the host's daemon for the length of the test.
func StartMeter(t testing.TB, h *Host) *Meter {
	t.Helper()
	m := &Meter{socket: filepath.Join(t.TempDir(), "s"), daemon: h.Socket()}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // it ends with Close
			}
			serving.Go(func() { m.serve(ctx, client.(*net.UnixConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		serving.Wait()
	})
	return m
}

// DockerHost is the meter's address in the form of DOCKER_HOST.
func (m *Meter) DockerHost() string { return "unix://" + m.socket }

// Sent is the number of bytes that went to the daemon so far.
func (m *Meter) Sent() int64 { return m.sent.Load() }

// serve connects a client with the daemon until both have ended, or ctx is over.
func (m *Meter) serve(ctx context.Context, client *net.UnixConn) {
	defer client.Close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", m.daemon)
	if err != nil {
		return // the client sees a connection that ends, as with a daemon that does
	}
	daemon := conn.(*net.UnixConn)
	defer daemon.Close()
	hangUp := func() {
		_ = client.Close()
		_ = daemon.Close()
	}
	defer context.AfterFunc(ctx, hangUp)()
	pass := func(to io.Writer, toConn, from *net.UnixConn) {
		// Either side may stop sending and still read, as the client of a container's input does.
		if _, err := io.Copy(to, from); errors.Join(err, toConn.CloseWrite()) != nil {
			hangUp()
		}
	}
	var both sync.WaitGroup
	both.Go(func() { pass(&counted{daemon, &m.sent}, daemon, client) })
	both.Go(func() { pass(client, client, daemon) })
	both.Wait()
}

// counted adds up what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}
