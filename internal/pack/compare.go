package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// samples is how many files are read all the same, each up to [maxPiece]: the system does not
// tell of everything, such as of a second write through a memory map.
const samples = 8

// comparer finds out whether a tree is as a cache file has it.
type comparer struct {
	in   *cacheReader
	walk *walk

	// picked are samples out of so many that there were.
	picked []sample
	of     int
	// same is how many entries were as they had been.
	same int
}

// sample is a piece of a file in a directory of this machine.
type sample struct {
	dir, name string
	st        fs.FileInfo
	piece     piece
}

// compare walks through a directory. After any error it has to be packed: it is not as it
// was, or packing finds the same error; what at its beginning is as it was is returned. Only
// errDeceived is worth a word.
func compare(ctx context.Context, in *cacheReader, dir string, opts Options) (Uploaded, *beginning, error) {
	var report Report
	c := &comparer{in: in, walk: &walk{opts: opts, report: &report, look: true}}
	c.walk.visit = c.visit
	differs := c.walk.context(ctx, dir)
	left, res, err := in.end()
	if differs == nil && left > 0 {
		differs = errChanged
	}
	switch {
	case err != nil:
		return Uploaded{}, nil, err
	case res.Partial, res.Dockerfile != fingerprint(report.Dockerfile):
		return Uploaded{}, &beginning{of: res, file: in.file}, errChanged
	}
	for _, s := range c.picked {
		if err := s.piece.check(s.dir, s.name, s.st); err != nil {
			return Uploaded{}, &beginning{of: res, file: in.file}, fmt.Errorf("%q: %w", jobs.Clip(s.name), err)
		}
	}
	if differs != nil {
		return Uploaded{}, &beginning{c.same, res, in.file}, differs
	}
	report.Blob = artifacts.Blob{Digest: res.Digest, Size: res.Size}
	report.Files, report.Bytes = res.Files, res.Bytes
	return Uploaded{Report: report, Stored: res.Stored, Unchanged: true}, nil, nil
}

func (c *comparer) visit(_ context.Context, r *record) error {
	e, ok := c.in.match(r)
	if !ok {
		return errChanged
	}
	s := sample{c.walk.dir, strings.TrimPrefix(r.hdr.Name, c.walk.prefix), r.st, e.piece}
	switch {
	case e.kind == recent && s.piece.check(s.dir, s.name, s.st) != nil:
		return errChanged
	case e.kind == sampled:
		c.pick(s)
	}
	c.same++
	return nil
}

// pick leaves each sample the same chance.
func (c *comparer) pick(s sample) {
	c.of++
	if len(c.picked) < samples {
		c.picked = append(c.picked, s)
	} else if i := rand.IntN(c.of); i < samples {
		c.picked[i] = s
	}
}

// fingerprint is that of a Dockerfile.
func fingerprint(d dockerfile.File) string {
	sum := sha256.Sum256(append([]byte(d.Name+"\x00"), d.Content...))
	return hex.EncodeToString(sum[:])
}
