package dirstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// A blob's file is its zstd data, then a zstd skippable frame with the size of
// the content. It costs Stat one small read, needs no second file that could get
// out of step, and any zstd program still reads the file. A file without it is
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
