package artifacts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Recording keeps a stream in a temporary file, so that it can be read again.
// The file has no name while it is used: nothing is left behind after a crash.
type Recording struct {
	f *os.File
	// enc compresses what is written, nil when it is kept as it is.
	enc *zstd.Encoder
}

// NewRecording makes one in dir, "" for the system's directory of temporary
// files.
func NewRecording(dir string, compressed bool) (*Recording, error) {
	f, err := namelessFile(dir)
	if err != nil {
		return nil, err
	}
	r := &Recording{f: f}
	if !compressed {
		return r, nil
	}
	// Two goroutines: the one that fills a recording has work of its own to do.
	// With zstd.WithLowerEncoderMem it would move all of its window for each block of 128 KiB;
	// without it keeps twice that.
	r.enc, err = zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(window))
	if err != nil {
		_ = f.Close()
		return nil, recordingFailure(err)
	}
	return r, nil
}

func namelessFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "slipway-context-*")
	if err != nil {
		return nil, recordingFailure(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, recordingFailure(err)
	}
	return f, nil
}

// Write implements io.Writer; its errors are *jobs.Failure.
func (r *Recording) Write(p []byte) (int, error) {
	var w io.Writer = r.f
	if r.enc != nil {
		w = r.enc
	}
	n, err := w.Write(p)
	if err != nil {
		err = recordingFailure(err)
	}
	return n, err
}

// Rewind ends the writing and starts to read from the beginning: what was
// written, or zstd data of it. The returned size is that of the file.
func (r *Recording) Rewind() (f *os.File, size int64, err error) {
	if r.enc != nil {
		if err := r.enc.Close(); err != nil {
			return nil, 0, recordingFailure(err)
		}
		r.enc = nil
	}
	if size, err = r.f.Seek(0, io.SeekEnd); err == nil {
		_, err = r.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, recordingFailure(err)
	}
	return r.f, size, nil
}

// Reader reads what was written, as Rewind does, and independently of it. It ends the
// writing.
func (r *Recording) Reader() (io.Reader, error) {
	if r.enc != nil {
		if _, _, err := r.Rewind(); err != nil {
			return nil, err
		}
	}
	st, err := r.f.Stat()
	if err != nil {
		return nil, recordingFailure(err)
	}
	return io.NewSectionReader(r.f, 0, st.Size()), nil
}

// Close frees the file.
func (r *Recording) Close() {
	if r.enc != nil {
		r.enc.Reset(nil) // ends its goroutines
	}
	_ = r.f.Close()
}

// recordingFailure is about the disk of temporary files, and no other.
func recordingFailure(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return jobs.Fail(jobs.KindDiskFull, err, "free space there, or set TMPDIR to a directory on another disk", "the directory for temporary files is full, so the context could not be kept")
	}
	return jobs.Fail(jobs.KindInternal, fmt.Errorf("keep context in a temporary file: %w", err), "check that the directory for temporary files can be written, or set TMPDIR to another one", "the context could not be kept in a temporary file")
}
