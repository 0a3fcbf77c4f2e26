package artifacts

import (
	"io"
	"os"
	"sync"
)

const (
	beltParts = 4
	beltPart  = 256 << 10
)

// belt carries bytes from a writer to a reader, each of one goroutine, and lets the writer be
// some parts ahead. io.Pipe would make them take turns. The last part goes when it is full, or
// with the end.
type belt struct {
	full, free chan []byte
	filling    []byte // the part that is not full yet
	// stopped is closed when nothing is taken any more; err says why.
	stopped chan struct{}
	stop    sync.Once
	err     error

	// cut is true, before full is closed, when the writer has not written all.
	cut bool
	// part and rest are what the reader has not taken of a part.
	part, rest []byte
}

func newBelt() *belt {
	return &belt{full: make(chan []byte, beltParts), free: make(chan []byte, beltParts), stopped: make(chan struct{})}
}

// Write implements io.Writer. Its error is the one that the reader stopped with.
func (b *belt) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if cap(b.filling) == 0 {
			b.filling = b.empty()
		}
		m := min(len(p)-n, beltPart-len(b.filling))
		b.filling = append(b.filling, p[n:n+m]...)
		if len(b.filling) == beltPart && !b.send() {
			return n, b.err
		}
		n += m
	}
	return n, nil
}

// send hands the part on that is filled; false when nothing is taken any more.
func (b *belt) send() bool {
	select {
	case b.full <- b.filling:
		b.filling = nil
		return true
	case <-b.stopped:
		return false
	}
}

// empty is a part that may be filled.
func (b *belt) empty() []byte {
	select {
	case part := <-b.free:
		return part[:0]
	default:
		return nil
	}
}

// end is what the writer does last; whole says that all was written.
func (b *belt) end(whole bool) {
	b.cut = !whole || len(b.filling) > 0 && !b.send()
	close(b.full)
}

// Read implements io.Reader.
func (b *belt) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if err := b.take(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (b *belt) WriteTo(w io.Writer) (n int64, err error) {
	for {
		m, err := w.Write(b.rest)
		n += int64(m)
		if err == nil {
			err = b.take()
		}
		if Ended(err) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// take takes the next part.
func (b *belt) take() error {
	select {
	case b.free <- b.part:
	default: // there are enough
	}
	var more bool
	b.part, more = <-b.full
	b.rest = b.part
	switch {
	case more:
		return nil
	case b.cut:
		return os.ErrClosed
	}
	return io.EOF
}

// refuse is what the reader does when it takes no more.
func (b *belt) refuse(err error) {
	b.stop.Do(func() {
		b.err = err
		close(b.stopped)
	})
}

// Ended tells the end of a stream from an error. Readers return io.EOF bare; a
// failure that has it in its chain is no end.
func Ended(err error) bool { return err == io.EOF } //nolint:errorlint // see above
