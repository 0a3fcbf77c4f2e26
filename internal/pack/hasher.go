package pack

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// hasher hashes an archive on a goroutine of its own, beside what reads files and what cuts.
type hasher struct {
	hash  hash.Hash
	work  chan hashing
	free  chan []byte
	ended chan struct{}
	err   error // of a mark
}

// hashing is what comes next: bytes, or a mark that gets the state.
type hashing struct {
	bytes []byte
	mark  *mark
}

// hashAhead is how many parts may wait to be hashed.
const hashAhead = 4

// newHasher begins with the state of a mark.
func newHasher(at mark) (*hasher, error) {
	h := &hasher{hash: sha256.New(), work: make(chan hashing, hashAhead), free: make(chan []byte, hashAhead), ended: make(chan struct{})}
	if at.At > 0 {
		if err := h.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(at.Hash); err != nil {
			return nil, fmt.Errorf("go on with a digest: %w", err)
		}
	}
	go h.run()
	return h, nil
}

func (h *hasher) run() {
	defer close(h.ended)
	for w := range h.work {
		if w.mark != nil {
			var err error
			w.mark.Hash, err = h.hash.(encoding.BinaryMarshaler).MarshalBinary()
			h.err = errors.Join(h.err, err)
			continue
		}
		h.hash.Write(w.bytes)
		select {
		case h.free <- w.bytes:
		default: // there are enough
		}
	}
}

func (h *hasher) write(b []byte) {
	var part []byte
	select {
	case part = <-h.free:
	default:
	}
	h.work <- hashing{bytes: append(part[:0], b...)}
}

// keep has a mark get the state of the hash here, by the time that digest returns.
func (h *hasher) keep(m *mark) { h.work <- hashing{mark: m} }

// digest ends the hashing.
func (h *hasher) digest() (string, error) {
	h.close()
	return artifacts.DigestOf(h.hash), h.err
}

// close ends the hashing, if that has not ended.
func (h *hasher) close() {
	if h.work != nil {
		close(h.work)
		<-h.ended
		h.work = nil
	}
}
