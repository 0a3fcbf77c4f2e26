package jobs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Stream says what a frame of the log carries.
type Stream byte

// The streams of a log.
const (
	Stdout Stream = 1
	Stderr Stream = 2
	Note   Stream = 3 // a line of the farm itself, such as a gap marker
	// BuildStatus carries one BuildKit SolveStatus as JSON, so that a build can
	// be replayed.
	BuildStatus Stream = 4
)

// Frame is one piece of a job's log: bytes exactly as they came, with the
// stream they came on and when. A log is a run of frames, each encoded as
//
//	1 byte stream | 8 bytes Unix milliseconds | 4 bytes length | data
//
// with big-endian numbers.
type Frame struct {
	Stream Stream
	At     time.Time
	Data   []byte
}

// FrameHeader is the number of bytes before a frame's data.
const FrameHeader = 13

// MaxFrame is the largest data of one frame.
const MaxFrame = 1 << 20

// AppendFrame appends the encoding of f to b. Data over MaxFrame becomes
// several frames.
func AppendFrame(b []byte, f Frame) []byte {
	for first := true; first || len(f.Data) > 0; first = false {
		n := min(len(f.Data), MaxFrame)
		b = append(b, byte(f.Stream))
		b = binary.BigEndian.AppendUint64(b, uint64(f.At.UnixMilli()))
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = append(b, f.Data[:n]...)
		f.Data = f.Data[n:]
	}
	return b
}

// FrameReader reads frames one by one.
type FrameReader struct {
	r      io.Reader
	header [FrameHeader]byte
}

// NewFrameReader reads frames from r.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: r} }

// Next returns the next frame, io.EOF after the last one, or
// io.ErrUnexpectedEOF when the log is cut inside a frame. The frame's data is
// the caller's.
func (fr *FrameReader) Next() (Frame, error) {
	if _, err := io.ReadFull(fr.r, fr.header[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(fr.header[9:])
	if n > MaxFrame {
		return Frame{}, fmt.Errorf("read log frame: %d bytes, the limit is %d: not a log", n, MaxFrame)
	}
	f := Frame{
		Stream: Stream(fr.header[0]),
		At:     time.UnixMilli(int64(binary.BigEndian.Uint64(fr.header[1:9]))),
		Data:   make([]byte, n),
	}
	if _, err := io.ReadFull(fr.r, f.Data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}
