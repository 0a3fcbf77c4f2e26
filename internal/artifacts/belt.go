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
// some parts ahead. io.Pipe would make them take turns.
type belt struct {
	full, free chan []byte
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
		part := b.empty()
		part = append(part, p[n:min(len(p), n+beltPart)]...)
		select {
		case b.full <- part:
			n += len(part)
		case <-b.stopped:
			return n, b.err
		}
	}
	return n, nil
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
	b.cut = !whole
	close(b.full)
}

// Read implements io.Reader.
func (b *belt) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		select {
		case b.free <- b.part:
		default: // there are enough
		}
		var more bool
		if b.part, more = <-b.full; !more && b.cut {
			return 0, os.ErrClosed
		} else if !more {
			return 0, io.EOF
		}
		b.rest = b.part
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// refuse is what the reader does when it takes no more.
func (b *belt) refuse(err error) {
	b.stop.Do(func() {
		b.err = err
		close(b.stopped)
	})
}
