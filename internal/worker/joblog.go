package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// keepEnd is how much of the end of a log over its cap is kept.
	keepEnd = 64 << 10
	// recentBytes is how much output is at hand to quote in a failure.
	recentBytes = 8 << 10
	recentLines = 20
	// heldBytes is how much output waits in memory for a disk that is full.
	heldBytes = 1 << 20
)

// jobLog is the log of one attempt: a spool file of frames that survives the
// process, a pump that feeds the live tail, and the last output for messages.
// Writing never waits for Redis, because a container whose output nobody reads
// stands still.
//
// Over its cap a log keeps its beginning and its end with a marker in between.
type jobLog struct {
	path string
	pump *tailPump

	mu sync.Mutex // guards everything below
	// file is nil once the log is closed.
	file    *os.File
	buf     []byte
	held    []byte // frames that the disk did not take yet
	size    int64  // bytes in the file
	cap     int64
	dropped int64    // bytes of output left out
	end     [][]byte // frames after the cap, the newest keepEnd bytes
	endSize int
	last    time.Time
	recent  []byte
	skip    engine.Skip // output bytes that an earlier process wrote
	broken  error       // why the log lacks output that its cap allows
}

// openLog opens the spool file at path, continuing one that an earlier process
// left. send feeds the live tail.
func openLog(path string, logCap int64, send sendFunc) (*jobLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make log spool: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	l := &jobLog{path: path, file: file, cap: max(logCap, 2*keepEnd) - keepEnd, last: time.Now()}
	if err := l.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("read log spool: %w", err), file.Close())
	}
	l.pump = startPump(send)
	return l, nil
}

// resume counts what is in the file and cuts off a frame that was being
// written when the process died.
func (l *jobLog) resume() error {
	for fr := jobs.NewFrameReader(l.file); ; {
		f, err := fr.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		} else if err != nil {
			return err
		}
		l.size += int64(jobs.FrameHeader + len(f.Data))
		switch f.Stream {
		case jobs.Stdout:
			l.skip.Stdout += int64(len(f.Data))
		case jobs.Stderr:
			l.skip.Stderr += int64(len(f.Data))
		}
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	_, err := l.file.Seek(l.size, io.SeekStart)
	return err
}

// writer returns a writer for one stream.
func (l *jobLog) writer(s jobs.Stream) io.Writer { return streamWriter{l, s} }

type streamWriter struct {
	log    *jobLog
	stream jobs.Stream
}

func (w streamWriter) Write(p []byte) (int, error) {
	w.log.write(w.stream, p)
	return len(p), nil
}

// write adds output. It reports no error of the disk, so that the container is not
// held up.
func (l *jobLog) write(s jobs.Stream, p []byte) {
	if len(p) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	if s != jobs.BuildStatus {
		l.recent = append(l.recent, p[max(0, len(p)-recentBytes):]...)
		if len(l.recent) > 2*recentBytes {
			l.recent = append(l.recent[:0], l.recent[len(l.recent)-recentBytes:]...)
		}
	}
	l.buf = jobs.AppendFrame(l.buf[:0], jobs.Frame{Stream: s, At: l.last, Data: p})
	if l.dropped == 0 && len(l.end) == 0 && l.size+int64(len(l.held)+len(l.buf)) <= l.cap {
		l.append(l.buf)
		return
	}
	l.end = append(l.end, bytes.Clone(l.buf))
	l.endSize += len(l.buf)
	for l.endSize > keepEnd && len(l.end) > 1 {
		l.dropped += dataBytes(l.end[0])
		l.endSize -= len(l.end[0])
		l.end = l.end[1:]
	}
}

// append adds whole frames. l.mu is held.
func (l *jobLog) append(frames []byte) {
	if l.file == nil || l.broken != nil {
		l.dropped += dataBytes(frames)
		return
	}
	l.held = append(l.held, frames...)
	if err := l.writeHeld(); err != nil && len(l.held) > heldBytes {
		l.giveUpHeld(err)
	}
}

// writeHeld writes what is held to the file and hands it to the pump. l.mu is held.
func (l *jobLog) writeHeld() error {
	if l.file == nil || len(l.held) == 0 {
		return nil
	}
	if _, err := l.file.Write(l.held); err != nil {
		_, back := l.file.Seek(l.size, io.SeekStart)
		return fmt.Errorf("write log spool: %w", errors.Join(err, l.file.Truncate(l.size), back))
	}
	l.pump.add(l.size, l.held)
	l.size += int64(len(l.held))
	l.held = l.held[:0]
	return nil
}

// giveUpHeld leaves out what the disk does not take. l.mu is held.
func (l *jobLog) giveUpHeld(why error) {
	l.dropped += dataBytes(l.held)
	l.held, l.broken = nil, why
}

// flush writes what the disk did not take before.
func (l *jobLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeHeld()
}

// lack says why the closed log lacks output that its cap allows, nil when it does
// not.
func (l *jobLog) lack() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// dataBytes counts the output in encoded frames.
func dataBytes(frames []byte) (n int64) {
	for len(frames) >= jobs.FrameHeader {
		size := int(binary.BigEndian.Uint32(frames[9:jobs.FrameHeader]))
		n += int64(size)
		frames = frames[jobs.FrameHeader+size:]
	}
	return n
}

// idleSince is when the last output came.
func (l *jobLog) idleSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// lines returns the last lines of output, at most recentLines.
func (l *jobLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == 0 {
		return nil
	}
	all := bytes.Split(bytes.TrimRight(l.recent, "\n"), []byte("\n"))
	all = all[max(0, len(all)-recentLines):]
	out := make([]string, len(all))
	for i, line := range all {
		out[i] = string(bytes.ToValidUTF8(line[:min(len(line), 500)], []byte("\ufffd")))
	}
	return out
}

// close writes the marker and the end of a log over its cap, and waits a moment
// for the live tail. It returns how many bytes the file has and how many bytes
// of output it lacks.
func (l *jobLog) close(ctx context.Context) (size, dropped int64) {
	size, dropped, open := l.seal()
	if open {
		l.pump.close(ctx)
	}
	return size, dropped
}

// seal closes the file, if that is still open.
func (l *jobLog) seal() (size, dropped int64, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.size, l.dropped, false
	}
	if l.dropped > 0 && l.broken == nil {
		l.mark(fmt.Sprintf("the log is over its limit of %s", jobs.Bytes(l.cap+keepEnd)))
	}
	for _, frame := range l.end {
		l.append(frame)
	}
	l.end = nil
	if err := l.writeHeld(); err != nil {
		l.giveUpHeld(err)
	}
	if l.broken != nil {
		l.mark("the worker's disk is full")
		_ = l.writeHeld() // the result has the number, too
	}
	if err := l.file.Close(); err != nil {
		l.broken = errors.Join(l.broken, err)
	}
	l.file = nil
	return l.size, l.dropped, true
}

// mark says in the log that output is left out. l.mu is held.
func (l *jobLog) mark(why string) {
	text := fmt.Sprintf("[slipway: %d bytes of output left out: %s]\n", l.dropped, why)
	l.held = jobs.AppendFrame(l.held, jobs.Frame{Stream: jobs.Note, At: time.Now(), Data: []byte(text)})
}

// suspend closes the log as it is; another process goes on with it.
func (l *jobLog) suspend(ctx context.Context) {
	l.mu.Lock()
	if l.file != nil {
		_ = l.writeHeld() // what is not in the file is read from the engine again
		_ = l.file.Close()
		l.file = nil
	}
	l.mu.Unlock()
	l.pump.close(ctx)
}

// lastPart opens the end of the closed log, at most so many bytes of whole frames,
// with a line that says so when it is not all. nil when the log is empty.
func (l *jobLog) lastPart(most int64) (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	size, left, out := l.bytes(), int64(0), int64(0)
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

func (l *jobLog) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// reader opens the closed log.
func (l *jobLog) reader() (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	return f, nil
}
