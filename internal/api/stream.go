package api

import (
	"errors"
	"fmt"
	"net/http"
)

// stream writes pieces to a client. Small ones wait for each other until flush: a packet, and a
// call of the kernel, for each line would cost more than all else.
type stream struct {
	*exchange
	media string
	begun bool
	kept  []byte
}

// keptMost is how much is kept back at most, in bytes.
const keptMost = 32 << 10

func newStream(x *exchange, media string) *stream { return &stream{exchange: x, media: media} }

func (s *stream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	h := s.ResponseWriter.Header()
	h.Set("Content-Type", s.media)
	h.Set("X-Accel-Buffering", "no") // for nginx
	s.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(s.ResponseWriter).Flush() // the client gets the headers later
}

// send writes one piece, now or with the next.
func (s *stream) send(piece []byte) error {
	if s.kept = append(s.kept, piece...); len(s.kept) < keptMost {
		return nil
	}
	return s.flush()
}

func (s *stream) flush() error {
	if len(s.kept) == 0 {
		return nil
	}
	_, err := s.ResponseWriter.Write(s.kept)
	if s.kept = s.kept[:0]; cap(s.kept) > 2*keptMost {
		s.kept = nil // after a large piece
	}
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	if err := http.NewResponseController(s.ResponseWriter).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}
