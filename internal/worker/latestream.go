package worker

import (
	"io/fs"
	"sync"

	"github.com/slipway-farm/slipway/internal/contexts"
)

// lateStream opens the context when it is read: an engine that takes the tree does not.
type lateStream struct {
	open func() (*contexts.Stream, error)

	mu     sync.Mutex // for the two below
	stream *contexts.Stream
	err    error
}

// Read implements io.Reader.
func (l *lateStream) Read(p []byte) (int, error) {
	l.mu.Lock()
	if l.stream == nil && l.err == nil {
		l.stream, l.err = l.open()
	}
	stream, err := l.stream, l.err
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return stream.Read(p)
}

// Err is what broke the context, nil when it is not broken.
func (l *lateStream) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil {
		return l.err
	}
	return l.stream.Err()
}

// Close closes the stream; nothing is opened afterwards.
func (l *lateStream) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != nil {
		return l.stream.Close()
	}
	if l.err == nil {
		l.err = fs.ErrClosed
	}
	return nil
}
