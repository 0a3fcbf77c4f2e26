package docker

import (
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/slipway-farm/slipway/internal/engine"
)

// link is one connection to a running container: its output and its end. The
// zero value is a link that is broken.
type link struct {
	output io.ReadCloser
	exit   <-chan container.WaitResponse
	lost   <-chan error
}

// abandon takes the link's end off the client's hands, which would wait for a
// reader for ever. The request itself ends with the process' life.
func (l link) abandon() {
	if l.exit == nil {
		return
	}
	go func() {
		select {
		case <-l.exit:
		case <-l.lost:
		}
	}()
}

// quiet is how long an ended container's output may be silent before its
// stream is taken for hung.
const quiet = 10 * time.Second

// read copies the link's output until the container ends or the link breaks,
// and reports whether it saw the end and every byte before it.
func (p *process) read(l link) (whole bool) {
	if l.output == nil {
		select { // do not hammer a daemon that refuses
		case <-time.After(time.Second):
		case <-p.life.Done():
		}
		return false
	}
	copied := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(p.out.stdout, p.out.stderr, l.output)
		copied <- err
	}()
	ended := false
	select {
	case <-l.exit:
		ended = true
	case <-l.lost:
	case <-p.life.Done():
		l.abandon()
	case err := <-copied: // over first, as it should be, or broken
		_ = l.output.Close()
		return p.awaitExit(l) && err == nil
	}
	if !ended {
		_ = l.output.Close()
		<-copied
		return false
	}
	return p.drain(l, copied)
}

func (p *process) awaitExit(l link) bool {
	select {
	case <-l.exit:
		return true
	case <-l.lost:
	case <-p.life.Done():
		l.abandon()
	}
	return false
}

// drain reads what an ended container left in the stream.
func (p *process) drain(l link, copied <-chan error) (whole bool) {
	defer l.output.Close()
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for seen := int64(-1); ; {
		select {
		case err := <-copied:
			return err == nil
		case <-tick.C:
			if now := p.out.total(); now != seen {
				seen = now
				continue
			}
		case <-p.life.Done():
		}
		_ = l.output.Close()
		<-copied
		return false
	}
}

// demux hands the two streams on and counts them. stdout and stderr are written
// by one goroutine at a time; the counts may be read by another.
type demux struct{ stdout, stderr *counter }

func newDemux(skip engine.Skip, out engine.Output) *demux {
	return &demux{stdout: newCounter(out.Stdout, skip.Stdout), stderr: newCounter(out.Stderr, skip.Stderr)}
}

// rewind prepares for a stream that begins at the start again.
func (d *demux) rewind() {
	d.stdout.rewind()
	d.stderr.rewind()
}

func (d *demux) total() int64 { return d.stdout.count() + d.stderr.count() }

// counter drops what was written before and never fails: whatever becomes of
// the output, the container must be drained, or it blocks.
type counter struct {
	mu   sync.Mutex
	w    io.Writer
	n    int64 // bytes handed on, skipped ones included
	skip int64 // bytes of the current stream still to drop
}

func newCounter(w io.Writer, skip int64) *counter {
	if w == nil {
		w = io.Discard
	}
	return &counter{w: w, n: skip, skip: skip}
}

func (c *counter) rewind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skip = c.n
}

func (c *counter) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	drop := min(c.skip, int64(len(p)))
	c.skip -= drop
	c.n += int64(len(p)) - drop
	c.mu.Unlock()
	if rest := p[drop:]; len(rest) > 0 {
		_, _ = c.w.Write(rest)
	}
	return len(p), nil
}

// hijacked makes an attach connection a ReadCloser.
type hijacked struct{ types.HijackedResponse }

func (h hijacked) Read(p []byte) (int, error) { return h.Reader.Read(p) }

func (h hijacked) Close() error { return h.Conn.Close() }
