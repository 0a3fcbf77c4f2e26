package api

import (
	"errors"
	"fmt"
	"io"
)

const (
	// aheadPieces is how many pieces of a body are in memory at most, and aheadSize how
	// large one is, in bytes: what a server has for all uploads at once is bounded, too.
	aheadPieces = 4
	aheadSize   = 256 << 10
)

// ahead reads a body in a goroutine of its own, so that the network does not wait for the hash
// of what has come. That goroutine writes full and closes it; Read and stop are the caller's.
type ahead struct {
	full chan arrived
	free chan []byte
	// ended is closed by stop.
	ended chan struct{}

	last arrived
	rest []byte // what is left of last
}

// arrived is what one read returned.
type arrived struct {
	data []byte
	err  error
}

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan arrived, aheadPieces), free: make(chan []byte, aheadPieces), ended: make(chan struct{})}
	go a.fill(r)
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	defer func() {
		if v := recover(); v != nil {
			a.put(arrived{err: fmt.Errorf("reading a body panicked: %v", v)})
		}
	}()
	for made := 0; ; {
		var buf []byte
		if made < aheadPieces && len(a.free) == 0 {
			buf = make([]byte, aheadSize)
			made++
		} else {
			select {
			case buf = <-a.free:
			case <-a.ended:
				return
			}
		}
		n, err := r.Read(buf)
		if !a.put(arrived{buf[:n], err}) || err != nil {
			return
		}
	}
}

// put hands on what has come, unless nothing takes it any more.
func (a *ahead) put(p arrived) bool {
	select {
	case a.full <- p:
		return true
	case <-a.ended:
		return false
	}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.last.err != nil {
			return 0, a.last.err
		}
		if cap(a.last.data) > 0 {
			a.free <- a.last.data[:aheadSize] // there is room for all
		}
		var more bool
		if a.last, more = <-a.full; !more {
			a.last.err = errStopped
		}
		a.rest = a.last.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

var errStopped = errors.New("the body is read no more")

// stop ends the reading, and waits for its end. leave makes sure that a read under way ends.
func (a *ahead) stop(leave func()) {
	close(a.ended)
	leave()
	for range a.full { //nolint:revive // what has come is not wanted
	}
}
