package joblog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// LastPart opens the end of the closed log, at most so many bytes of whole frames,
// with a line that says so when it is not all. nil when the log is empty.
func (l *Log) LastPart(most int64) (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	size, _ := l.SoFar()
	var left, out int64
	if size == 0 {
		return nil, f.Close()
	}
	for fr := jobs.NewFrameReader(f); size-left > most; {
		frame, err := fr.Next()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read log spool: %w", err), f.Close())
		}
		left += int64(jobs.FrameHeader + len(frame.Data))
		out += int64(len(frame.Data))
	}
	if _, err := f.Seek(left, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("read log spool: %w", err), f.Close())
	}
	if left == 0 {
		return f, nil
	}
	mark := fmt.Appendf(nil, "[slipway: %d bytes of output left out: of an attempt that was tried again the end is kept]\n", out)
	head := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Note, At: time.Now(), Data: mark})
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), f), f}, nil
}
