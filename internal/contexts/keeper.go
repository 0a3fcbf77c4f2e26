package contexts

import (
	"context"
	"hash/maphash"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// keeper makes sure that a context can be read again after its first pass:
//
//	what can be rewound       nothing is kept
//	what came over a network  is kept as it came
//	gzip, from anywhere       is kept unpacked, in zstd: gzip is four times as
//	                          slow to read, and once is enough
type keeper struct {
	dir string
	// raw is nil when nothing was read: then there is only beside.
	raw  io.ReadCloser
	open opener
	rec  *artifacts.Recording
}

// opener opens a context at its source.
type opener func(context.Context) (io.ReadCloser, error)

// newKeeper keeps what raw yields, in temporary files in dir. open opens it once more.
func newKeeper(dir string, raw io.ReadCloser, open opener) *keeper {
	return &keeper{dir: dir, raw: raw, open: open}
}

// rewindable tells what is near and quick from what came over a network.
func (k *keeper) rewindable() bool {
	_, ok := k.raw.(artifacts.Rewinder)
	return ok
}

// first starts the first reading. seed is for the sum of what cannot be
// rewound.
func (k *keeper) first(seed maphash.Seed) (*source, error) {
	s := &source{r: k.raw}
	if k.rewindable() {
		return s, nil
	}
	var err error
	if k.rec, err = artifacts.NewRecording(k.dir, false); err != nil {
		return nil, err
	}
	s.copy, s.sum = k.rec, &maphash.Hash{}
	s.sum.SetSeed(seed)
	return s, nil
}

// unpacked is told that r is what gzip data in s unpacks to, and returns the
// reader to use in its place.
func (k *keeper) unpacked(r io.Reader, s *source) (io.Reader, error) {
	rec, err := artifacts.NewRecording(k.dir, true)
	if err != nil {
		return nil, err
	}
	if k.rec != nil {
		k.rec.Close()
	}
	k.rec, s.copy = rec, nil
	return io.TeeReader(r, rec), nil
}

// again starts another reading. One reading at a time.
func (k *keeper) again() (*source, error) {
	if k.rec != nil {
		f, _, err := k.rec.Rewind()
		return &source{r: f}, err
	}
	return &source{r: k.raw, rewind: k.raw.(artifacts.Rewinder)}, nil
}

// beside starts a reading that goes on beside others; end ends it.
func (k *keeper) beside(ctx context.Context) (s *source, end func(), err error) {
	if k.rec != nil {
		r, err := k.rec.Reader()
		return &source{r: r}, func() {}, err
	}
	raw, err := k.open(ctx)
	if err != nil {
		return nil, nil, fetchFailure(err)
	}
	return &source{r: raw}, func() { _ = raw.Close() }, nil // only read
}

func (k *keeper) close() error {
	if k.rec != nil {
		k.rec.Close()
	}
	if k.raw == nil {
		return nil
	}
	return k.raw.Close()
}
