package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// For runs by hand: go test ./internal/api -run TestManyReaders -v -api.log 200000000
var readLog = flag.Int64("api.log", 8<<20, "how many bytes the log has that many clients read at once")

// heap is how large the heap is without what is garbage, once the server stands still.
func heap() int64 {
	least := uint64(math.MaxInt64)
	for range 5 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, m.HeapAlloc)
	}
	return int64(least)
}

// shortSockets has the kernel keep little of what is sent to a connection that is not read.
func shortSockets(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(32 << 10)
		_ = tcp.SetReadBuffer(32 << 10)
	}
}

// shortServer is the farm's server on connections with short sockets, as long as that is true.
func (f *farm) shortServer(short *atomic.Bool) *httptest.Server {
	server := httptest.NewUnstartedServer(f.server)
	server.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew && short.Load() {
			shortSockets(c)
		}
	}
	server.Start()
	f.t.Cleanup(server.Close)
	return server
}

// logOf is a framed log of lines that make up so many bytes, in frames as the engine brings them.
func logOf(size int64) (log io.Reader, lines int) {
	const line = "a line of output, as programs write them by the million \x1b[32mok\x1b[0m\n"
	text := []byte(strings.Repeat(line, 32<<10/len(line)))
	frame := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Unix(1000, 0), Data: text})
	frames := int(size)/len(text) + 1
	return io.LimitReader(&overAndOver{content: frame}, int64(frames*len(frame))), frames * bytes.Count(text, []byte("\n"))
}

// overAndOver is some bytes over and over.
type overAndOver struct {
	content []byte
	at      int
}

func (r *overAndOver) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.content[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.content)
	}
	return n, nil
}

// A large log that many read at once, in every format, costs the server memory for each reader
// and none for the length of the log. It is not parallel, for it measures the heap: while all
// readers pause, a quarter and three quarters of the way.
func TestManyReaders(t *testing.T) {
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	log, lines := logOf(*readLog)
	blob, err := f.blobs.Write(t.Context(), log)
	if err == nil {
		err = f.db.Finish(t.Context(), w.job.ID, nonce, jobs.Result{State: jobs.Succeeded, Attempt: 1, Log: jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}})
	}
	if err != nil {
		t.Fatal(err)
	}
	var short atomic.Bool
	short.Store(true)
	server := f.shortServer(&short)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			shortSockets(c)
		}
		return c, err
	}}}
	defer client.CloseIdleConnections()
	const readers, perReader = 50, 3 << 20
	began, before := time.Now(), heap()
	pauses := []int64{*readLog / 4, *readLog / 2}
	arrived, goOn := make([]sync.WaitGroup, len(pauses)), make([]chan struct{}, len(pauses))
	for i := range pauses {
		arrived[i].Add(readers)
		goOn[i] = make(chan struct{})
	}
	var all sync.WaitGroup
	for i := range readers {
		format := []string{"text", "jsonl", "sse"}[i%3]
		all.Go(func() {
			count := counter{want: []byte("ok")}
			read := func(body io.Reader, n int64) {
				if _, err := io.CopyN(&count, body, n); err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/jobs/"+w.job.ID+"/logs?format="+format, nil)
			if err != nil {
				panic(err)
			}
			req.Header.Set("Authorization", "Bearer "+f.tokens["reader"])
			body := io.Reader(http.NoBody)
			if resp, err := client.Do(req); err != nil {
				t.Error(err)
			} else {
				defer resp.Body.Close()
				body = resp.Body
			}
			for i, n := range pauses {
				read(body, n)
				arrived[i].Done()
				<-goOn[i]
			}
			if read(body, math.MaxInt64); count.n != lines {
				t.Errorf("%s: %d lines came, want %d", format, count.n, lines)
			}
		})
	}
	for i := range pauses {
		arrived[i].Wait()
		grown := heap() - before
		t.Logf("%d of %d bytes were read by %d readers: %.1f MiB for each", pauses[0]+int64(i)*pauses[1], *readLog, readers, float64(grown)/readers/(1<<20))
		if grown > readers*perReader {
			t.Errorf("the heap grew by %d bytes, want %d at most for each of %d readers", grown, perReader, readers)
		}
		close(goOn[i])
	}
	all.Wait()
	t.Logf("all took %s", time.Since(began).Round(time.Millisecond))
}

// counter counts how often a word of two bytes comes.
type counter struct {
	want []byte
	last byte
	n    int
}

func (c *counter) Write(p []byte) (int, error) {
	if len(p) > 0 {
		if c.last == c.want[0] && p[0] == c.want[1] {
			c.n++
		}
		c.n += bytes.Count(p, c.want)
		c.last = p[len(p)-1]
	}
	return len(p), nil
}

// Followers that never read are cut off once they have been waited for long enough, and slow no
// other down meanwhile. It is not parallel, for it measures the heap.
func TestFollowersThatNeverRead(t *testing.T) {
	const patience = time.Second
	f := newFarm(t, func(o *Options) { o.Patience = patience })
	var short atomic.Bool
	server := f.shortServer(&short)
	w := f.claim(f.submit("submitter").ID)
	ask := func(c net.Conn, format string) {
		fmt.Fprintf(c, "GET /v1/jobs/%s/logs?follow&format=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", w.job.ID, format, f.tokens["reader"])
	}
	const stuck, pieces, perFollower = 30, 256, 3 << 20
	following := func() int {
		f.server.follows.mu.Lock()
		defer f.server.follows.mu.Unlock()
		return f.server.follows.n
	}
	wait := func(what string, is func() bool) {
		t.Helper()
		for until := time.Now().Add(20 * time.Second); !is(); {
			if time.Now().After(until) {
				t.Fatalf("%s: %d follow", what, following())
			}
			runtime.Gosched()
		}
	}
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if short.Load() {
			shortSockets(c)
		}
		return c
	}
	before := heap()
	short.Store(true)
	for i := range stuck {
		ask(dial(), []string{"text", "jsonl", "sse"}[i%3])
	}
	wait("they do not begin", func() bool { return following() == stuck })
	short.Store(false)
	reads := dial()
	ask(reads, "text")
	wait("it does not begin", func() bool { return following() == stuck+1 })
	piece := strings.Repeat("ok\n", 10<<10)
	var slowest time.Duration
	resp, err := http.ReadResponse(bufio.NewReader(reads), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, len(piece))
	for range pieces {
		began := time.Now()
		w.write(jobs.Stdout, piece)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
			t.Fatalf("who reads got %.40q (%v)", got, err)
		}
		slowest = max(slowest, time.Since(began))
	}
	// Those that do not read are cut off or about to be; what they hold is bounded.
	grown := heap() - before
	wait("those that do not read are not cut off", func() bool { return following() == 1 })
	t.Logf("who reads waited for %s at most; the heap grew by %.1f MiB at most", slowest, float64(grown)/(1<<20))
	if slowest > patience {
		t.Errorf("who reads waited for %s", slowest)
	}
	if grown > stuck*perFollower {
		t.Errorf("the heap grew by %d bytes, want %d at most for each of %d followers", grown, perFollower, stuck)
	}
	w.finish(jobs.Result{State: jobs.Succeeded})
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("behind the end came %.40q (%v)", rest, err)
	}
}
