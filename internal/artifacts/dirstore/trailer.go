package dirstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
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

// contentSize reads the size of the content out of a blob's file, which ends at
// end.
func contentSize(f io.ReaderAt, end int64) (int64, error) {
	if end < trailerSize {
		return 0, errNoTrailer
	}
	var b [trailerSize]byte
	switch _, err := f.ReadAt(b[:], end-trailerSize); {
	case errors.Is(err, io.EOF): // it was cut meanwhile
		return 0, errNoTrailer
	case err != nil:
		return 0, err
	}
	size := int64(binary.LittleEndian.Uint64(b[trailerSize-8:]))
	if !bytes.Equal(b[:], appendTrailer(nil, size)) || size < 0 {
		return 0, errNoTrailer
	}
	return size, nil
}
