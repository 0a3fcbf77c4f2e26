package jobs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// readFrames reads until the end and returns what ended it.
func readFrames(r io.Reader) ([]jobs.Frame, error) {
	fr := jobs.NewFrameReader(r)
	var all []jobs.Frame
	for {
		f, err := fr.Next()
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_123)
	in := []jobs.Frame{
		{Stream: jobs.Stdout, At: at, Data: []byte("one\r\n")},
		{Stream: jobs.Stderr, At: at.Add(time.Millisecond), Data: []byte("\xff\x00 not text")},
		{Stream: jobs.Note, At: at, Data: nil},
		{Stream: jobs.BuildStatus, At: time.UnixMilli(-1), Data: []byte(`{}`)},
		{Stream: 200, At: at, Data: bytes.Repeat([]byte("x"), jobs.MaxFrame)},
	}
	var log []byte
	for _, f := range in {
		log = jobs.AppendFrame(log, f)
	}
	// Readers that hand out single bytes must not matter.
	got, err := readFrames(iotest.OneByteReader(bytes.NewReader(log)))
	if !errors.Is(err, io.EOF) || len(got) != len(in) {
		t.Fatalf("got %d frames, %v; want %d and EOF", len(got), err, len(in))
	}
	for i, f := range got {
		if f.Stream != in[i].Stream || !f.At.Equal(in[i].At) || !bytes.Equal(f.Data, in[i].Data) {
			t.Errorf("frame %d: got %d, %s, %.20q; want %d, %s, %.20q", i, f.Stream, f.At, f.Data, in[i].Stream, in[i].At, in[i].Data)
		}
	}
}

func TestFrameSplit(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), jobs.MaxFrame/4)
	log := jobs.AppendFrame([]byte(nil), jobs.Frame{Stream: jobs.Stdout, At: time.UnixMilli(1), Data: data})
	got, err := readFrames(bytes.NewReader(log))
	if !errors.Is(err, io.EOF) || len(got) != 3 {
		t.Fatalf("got %d frames, %v; want 3 and EOF", len(got), err)
	}
	var joined []byte
	for _, f := range got {
		if len(f.Data) > jobs.MaxFrame {
			t.Errorf("a frame has %d bytes", len(f.Data))
		}
		joined = append(joined, f.Data...)
	}
	if !bytes.Equal(joined, data) {
		t.Error("the parts are not the whole")
	}
}

// A log that is cut anywhere inside a frame says so; only a cut between frames
// looks like an end.
func TestFrameTruncated(t *testing.T) {
	t.Parallel()
	first := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.UnixMilli(1), Data: []byte("abc")})
	log := jobs.AppendFrame(bytes.Clone(first), jobs.Frame{Stream: jobs.Stderr, At: time.UnixMilli(2), Data: []byte("de")})
	for n := range len(log) + 1 {
		want, frames := io.ErrUnexpectedEOF, 0
		switch n {
		case 0, len(first), len(log):
			want = io.EOF
		}
		if n >= len(first) {
			frames = 1
		}
		if n == len(log) {
			frames = 2
		}
		got, err := readFrames(bytes.NewReader(log[:n]))
		if !errors.Is(err, want) || len(got) != frames {
			t.Errorf("cut at %d: got %d frames, %v; want %d, %v", n, len(got), err, frames, want)
		}
	}
}

func TestFrameNotALog(t *testing.T) {
	t.Parallel()
	header := make([]byte, jobs.FrameHeader)
	binary.BigEndian.PutUint32(header[9:], jobs.MaxFrame+1)
	_, err := readFrames(bytes.NewReader(header))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame over the limit: got %v; want a refusal", err)
	}
	broken := errors.New("broken")
	if _, err := readFrames(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a broken reader: got %v; want its error", err)
	}
}

// Whatever is read as frames is written as the same bytes.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add(jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.UnixMilli(1), Data: []byte("abc")}))
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, log []byte) {
		frames, err := readFrames(bytes.NewReader(log))
		var again []byte
		for _, f := range frames {
			again = jobs.AppendFrame(again, f)
		}
		if !bytes.HasPrefix(log, again) {
			t.Fatalf("%d frames of %x are written as %x", len(frames), log, again)
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && len(again) != len(log) {
			t.Fatalf("EOF after %d of %d bytes", len(again), len(log))
		}
	})
}
