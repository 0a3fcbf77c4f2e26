package apitest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Network lies between clients and a server, and cuts connections.
type Network struct {
	// Addr is where clients connect.
	Addr     string
	upstream string

	mu sync.Mutex
	// after are how many bytes, of both directions together, the next connections are good
	// for. Those that come when it is empty are good for all.
	after []int64
	cuts  int
	wg    sync.WaitGroup
}

// Whole is how many bytes a connection is good for that is not cut.
const Whole = -1

// NewNetwork leads to the server at upstream, HOST:PORT. The first connection is cut once
// after[0] bytes have come through it, the second after[1], and so on; those that come later
// are not.
func NewNetwork(t *testing.T, upstream string, after ...int64) *Network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{Addr: l.Addr().String(), upstream: upstream, after: after}
	n.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.carry(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return n
}

// Cut adds cuts of the next connections.
func (n *Network) Cut(after ...int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.after = append(n.after, after...)
}

// Cuts is how many connections were cut.
func (n *Network) Cuts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts
}

// next is what a new connection is good for.
func (n *Network) next() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.after) == 0 {
		return Whole
	}
	most := n.after[0]
	n.after = n.after[1:]
	return most
}

func (n *Network) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", n.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	left := &budget{left: n.next()}
	done := make(chan bool, 2)
	go func() { done <- left.copy(server, client) }()
	go func() { done <- left.copy(client, server) }()
	cut := <-done
	if cut {
		n.mu.Lock()
		n.cuts++
		n.mu.Unlock()
	}
	for _, c := range []net.Conn{client, server} {
		if cut { // reset: neither end can take it for the end of what was sent
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	<-done
}

// budget is what a connection is good for.
type budget struct {
	mu   sync.Mutex
	left int64 // or Whole
}

// take takes up to so many bytes, and reports whether these were the last.
func (b *budget) take(n int) (int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == Whole {
		return n, false
	}
	if int64(n) < b.left {
		b.left -= int64(n)
		return n, false
	}
	n = int(b.left)
	b.left = 0
	return n, true
}

// copy reports whether the connection is to be cut.
func (b *budget) copy(to io.Writer, from io.Reader) bool {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		n, cut := b.take(n)
		if _, writeErr := to.Write(buf[:n]); cut || err != nil || writeErr != nil {
			return cut
		}
	}
}
