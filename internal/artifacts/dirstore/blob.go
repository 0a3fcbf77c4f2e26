package dirstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A blob's file is a zstd frame with the content, then a zstd skippable frame
// with the content's size. The size is known only when all is written, so it
// cannot be in the header of the first frame; at the end it costs Stat one
// small read, needs no second file that could get out of step, no listing of a
// directory, and any zstd program still reads the file. A file without it is
// one that was not written to its end.
const (
	skippable   = 0x184d2a5b // one of the sixteen numbers of a skippable frame
	payloadSize = 16
	trailerSize = 8 + payloadSize
	// mark stands before the size.
	mark = "slipway1"
)

var errNoTrailer = errors.New("the file was not written to its end")

func appendTrailer(b []byte, size int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, skippable)
	b = binary.LittleEndian.AppendUint32(b, payloadSize)
	b = append(b, mark...)
	return binary.LittleEndian.AppendUint64(b, uint64(size))
}

// contentSize reads the size of the content out of a blob's file.
func contentSize(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if end < trailerSize {
		return 0, errNoTrailer
	}
	var b [trailerSize]byte
	if _, err := f.ReadAt(b[:], end-trailerSize); err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	size := int64(binary.LittleEndian.Uint64(b[trailerSize-8:]))
	if !bytes.Equal(b[:], appendTrailer(nil, size)) || size < 0 {
		return 0, errNoTrailer
	}
	return size, nil
}

// newReader returns the content of a blob's file and owns the file unless it
// fails.
func (s *Store) newReader(f *os.File, size int64) (io.ReadCloser, error) {
	dec, err := s.decoder()
	if err != nil {
		return nil, err
	}
	if size <= smallSize {
		defer s.decoders.Put(dec)
		return readSmall(dec, f, size)
	}
	if err := dec.Reset(f); err != nil {
		return nil, err
	}
	return &reader{file: f, dec: dec, free: func() {
		if dec.Reset(nil) == nil { // stops its goroutines
			s.decoders.Put(dec)
		}
	}}, nil
}

// readSmall decodes at one go, without the goroutines of a stream.
func readSmall(dec *zstd.Decoder, f *os.File, size int64) (io.ReadCloser, error) {
	file, err := io.ReadAll(io.LimitReader(f, 2*smallSize))
	if err != nil {
		return nil, err
	}
	content, err := dec.DecodeAll(file, make([]byte, 0, size))
	if err == nil && int64(len(content)) != size {
		err = fmt.Errorf("want %d bytes got %d", size, len(content))
	}
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// reader streams the content of a big blob.
type reader struct {
	file *os.File

	mu   sync.Mutex // held by Read; Close ends a Read before it takes it
	dec  *zstd.Decoder
	free func()
}

func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dec == nil {
		return 0, fs.ErrClosed
	}
	return r.dec.Read(p)
}

// Close may be called while Read runs.
func (r *reader) Close() error {
	err := r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dec == nil {
		return nil
	}
	r.free()
	r.dec = nil
	return err
}
