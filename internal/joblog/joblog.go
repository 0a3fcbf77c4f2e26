// Package joblog keeps the log of one attempt on the host while it runs: a spool file
// that survives the process, the end of a log that is over its cap, and the pump that
// feeds the live tail. Writing never waits: neither for Redis nor for a full disk.
package joblog

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
	"github.com/slipway-farm/slipway/internal/mask"
	"github.com/slipway-farm/slipway/internal/safetext"
)

const (
	// keepEnd is how much of the end of a log over its cap is kept.
	keepEnd = 64 << 10
	// endSlack is how much of the kept end goes at once. It is more than the marker
	// takes, so that the live log of a service is never shorter than its stored one.
	endSlack = 1 << 10
	// recentBytes is how much output is at hand to quote in a failure.
	recentBytes = 8 << 10
	recentLines = 20
	// unwrittenBytes is how much output waits in memory for a disk that is full.
	unwrittenBytes = 1 << 20
)

// Log is the log of one attempt: a spool file of frames that survives the
// process, a pump that feeds the live tail, and the last output for messages.
// Writing never waits for Redis, because a container whose output is not read
// stands still.
//
// Over its cap a log keeps its beginning and its end with a marker in between. The
// live tail of a job stands still meanwhile, that of a service goes on: its offsets
// are those of a log without a cap.
type Log struct {
	path string
	pump *tailPump

	mu sync.Mutex // guards everything below
	// file is nil once the log is closed.
	file      *os.File
	buf       []byte
	unwritten []byte // frames that the disk did not take yet
	size      int64  // bytes in the file
	cap       int64
	dropped   int64    // bytes of output left out
	end       [][]byte // frames after the cap, the newest keepEnd bytes
	endSize   int
	past      int64 // bytes of all frames after the cap
	serves    bool  // the live tail goes on after the cap
	last      time.Time
	recent    []byte
	skip      engine.Skip // output bytes that came so far, also to an earlier process
	covers    map[jobs.Stream]*mask.Stream
	broken    error // why the log lacks output that its cap allows
}

// Open opens the spool file at path, continuing one that an earlier process
// left. send feeds the live tail.
func Open(path string, logCap int64, send SendFunc) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make log spool: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	l := &Log{path: path, file: file, cap: max(logCap, 2*keepEnd) - keepEnd, last: time.Now()}
	newest, err := l.resume()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read log spool: %w", err), file.Close())
	}
	l.pump = startPump(send)
	// The earlier process may have died before it sent these. Readers leave out what
	// they have seen.
	for _, p := range newest {
		l.pump.add(p.offset, p.frames)
	}
	return l, nil
}

// resume counts what is in the file and cuts off a frame that was being written
// when the process died. A marker and what follows it go, too: the process died after
// it had closed the log, and the engine still has the output behind the marker. resume
// returns the newest frames, as many as a pump holds.
func (l *Log) resume() (newest []piece, err error) {
	for fr := jobs.NewFrameReader(l.file); ; {
		f, err := fr.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isMark(f) {
			break
		} else if err != nil {
			return nil, err
		}
		newest = append(newest, piece{l.size, jobs.AppendFrame(nil, f)})
		l.size += int64(jobs.FrameHeader + len(f.Data))
		l.count(f.Stream, len(f.Data))
		for l.size-newest[0].offset > tailBacklog && len(newest) > 1 {
			newest = newest[1:]
		}
	}
	if err := l.file.Truncate(l.size); err != nil {
		return nil, err
	}
	_, err = l.file.Seek(l.size, io.SeekStart)
	return newest, err
}

// Mask covers secrets in the output of the container, from now on. What may be the beginning
// of one is held back, and counts as received: a process that goes on with the file reads it
// from the engine again.
func (l *Log) Mask(v mask.Values) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.covers = map[jobs.Stream]*mask.Stream{jobs.Stdout: v.Stream(), jobs.Stderr: v.Stream()}
}

// Writer returns a writer for one stream.
func (l *Log) Writer(s jobs.Stream) io.Writer { return streamWriter{l, s} }

// Output takes the streams of a container.
func (l *Log) Output() engine.Output {
	return engine.Output{Stdout: l.Writer(jobs.Stdout), Stderr: l.Writer(jobs.Stderr)}
}

// NoteTorn adds a note to the log when the container's last output may be missing.
func (l *Log) NoteTorn(s engine.State) {
	if s.Torn {
		fmt.Fprintln(l.Writer(jobs.Note), "the engine was away when the container ended: the last of its output may be missing")
	}
}

type streamWriter struct {
	log    *Log
	stream jobs.Stream
}

func (w streamWriter) Write(p []byte) (int, error) {
	w.log.Write(w.stream, p)
	return len(p), nil
}

// Write adds output. It reports no error of the disk, so that the container is not
// held up.
func (l *Log) Write(s jobs.Stream, p []byte) {
	if len(p) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	l.count(s, len(p))
	if c := l.covers[s]; c != nil {
		p = c.Next(p)
	}
	l.add(s, p)
}

// add adds output as it is to be shown. l.mu is held.
func (l *Log) add(s jobs.Stream, p []byte) {
	if len(p) == 0 {
		return
	}
	if s != jobs.BuildStatus {
		l.recent = append(l.recent, p[max(0, len(p)-recentBytes):]...)
		if len(l.recent) > 2*recentBytes {
			l.recent = append(l.recent[:0], l.recent[len(l.recent)-recentBytes:]...)
		}
	}
	l.buf = jobs.AppendFrame(l.buf[:0], jobs.Frame{Stream: s, At: l.last, Data: p})
	if l.dropped == 0 && len(l.end) == 0 && l.size+int64(len(l.unwritten)+len(l.buf)) <= l.cap {
		l.append(l.buf)
		return
	}
	if l.serves && l.file != nil {
		l.pump.slow.Store(true) // a job ends some time, and its cap bounds what it sends
		l.pump.add(l.size+int64(len(l.unwritten))+l.past, l.buf)
	}
	l.past += int64(len(l.buf))
	l.end = append(l.end, bytes.Clone(l.buf))
	l.endSize += len(l.buf)
	if l.endSize <= keepEnd {
		return
	}
	for l.endSize > keepEnd-endSlack && len(l.end) > 1 {
		l.dropped += dataBytes(l.end[0])
		l.endSize -= len(l.end[0])
		l.end = l.end[1:]
	}
}

// count counts output by stream. l.mu is held.
func (l *Log) count(s jobs.Stream, n int) {
	switch s {
	case jobs.Stdout:
		l.skip.Stdout += int64(n)
	case jobs.Stderr:
		l.skip.Stderr += int64(n)
	}
}

// Received is how much output came so far.
func (l *Log) Received() engine.Skip {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skip
}

// Serve lets the log go on as that of a kept service.
func (l *Log) Serve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serves = true
}

// SoFar returns how many bytes the file has and how many bytes of output it lacks
// now; more may come.
func (l *Log) SoFar() (size, dropped int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, frame := range l.end {
		dropped += dataBytes(frame)
	}
	return l.size, dropped + l.dropped
}

// append adds whole frames. l.mu is held.
func (l *Log) append(frames []byte) {
	if l.file == nil || l.broken != nil {
		l.dropped += dataBytes(frames)
		return
	}
	l.unwritten = append(l.unwritten, frames...)
	if err := l.writeUnwritten(); err != nil && len(l.unwritten) > unwrittenBytes {
		l.giveUpUnwritten(err)
	}
}

// writeUnwritten writes what is held to the file and hands it to the pump. l.mu is held.
func (l *Log) writeUnwritten() error {
	if l.file == nil || len(l.unwritten) == 0 {
		return nil
	}
	if _, err := l.file.Write(l.unwritten); err != nil {
		_, back := l.file.Seek(l.size, io.SeekStart)
		return fmt.Errorf("write log spool: %w", errors.Join(err, l.file.Truncate(l.size), back))
	}
	l.pump.add(l.size, l.unwritten)
	l.size += int64(len(l.unwritten))
	l.unwritten = l.unwritten[:0]
	return nil
}

// giveUpUnwritten leaves out what the disk does not take. l.mu is held.
func (l *Log) giveUpUnwritten(why error) {
	l.dropped += dataBytes(l.unwritten)
	l.unwritten, l.broken = nil, why
}

// Flush writes what the disk did not take before.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeUnwritten()
}

// Lack says why the closed log lacks output that its cap allows, nil when it does
// not.
func (l *Log) Lack() error {
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

// IdleSince is when the last output came.
func (l *Log) IdleSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Lines returns the last lines of output, at most recentLines.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == 0 {
		return nil
	}
	all := bytes.Split(bytes.TrimRight(l.recent, "\n"), []byte("\n"))
	all = all[max(0, len(all)-recentLines):]
	out := make([]string, len(all))
	for i, line := range all {
		out[i] = safetext.Line(string(bytes.ToValidUTF8(line[:min(len(line), 500)], []byte("\ufffd"))))
	}
	return out
}

// Close writes the marker and the end of a log over its cap, and waits a moment
// for the live tail. It returns how many bytes the file has and how many bytes
// of output it lacks.
func (l *Log) Close(ctx context.Context) (size, dropped int64) {
	size, dropped, open := l.seal()
	if open {
		l.pump.close(ctx)
	}
	return size, dropped
}

// seal closes the file, if that is still open.
func (l *Log) seal() (size, dropped int64, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.size, l.dropped, false
	}
	for _, s := range []jobs.Stream{jobs.Stdout, jobs.Stderr} {
		if c := l.covers[s]; c != nil {
			l.add(s, c.Rest())
		}
	}
	if l.dropped > 0 && l.broken == nil {
		l.mark(fmt.Sprintf("the log is over its limit of %s", jobs.Bytes(l.cap+keepEnd)))
	}
	for _, frame := range l.end {
		l.append(frame)
	}
	l.end = nil
	if err := l.writeUnwritten(); err != nil {
		l.giveUpUnwritten(err)
	}
	if l.broken != nil {
		l.mark("the worker's disk is full")
		_ = l.writeUnwritten() // the result has the number, too
	}
	if err := l.file.Close(); err != nil {
		l.broken = errors.Join(l.broken, err)
	}
	l.file = nil
	return l.size, l.dropped, true
}

// markBegin is how a marker begins.
const markBegin = "[slipway: %d bytes of output left out: "

func isMark(f jobs.Frame) bool {
	var n int64
	_, err := fmt.Sscanf(string(f.Data), markBegin, &n)
	return f.Stream == jobs.Note && err == nil
}

// mark says in the log that output is left out. l.mu is held.
func (l *Log) mark(why string) {
	text := fmt.Sprintf(markBegin+"%s]\n", l.dropped, why)
	l.unwritten = jobs.AppendFrame(l.unwritten, jobs.Frame{Stream: jobs.Note, At: time.Now(), Data: []byte(text)})
}

// Suspend closes the log as it is; another process goes on with it.
func (l *Log) Suspend(ctx context.Context) {
	l.mu.Lock()
	if l.file != nil {
		_ = l.writeUnwritten() // what is not in the file is read from the engine again
		_ = l.file.Close()
		l.file = nil
	}
	l.mu.Unlock()
	l.pump.close(ctx)
}

// Path is the spool file.
func (l *Log) Path() string { return l.path }

// Detach lets the live tail end once it has sent what is queued; the file stays open.
func (l *Log) Detach() { l.pump.end() }

// Reader opens the first size bytes of the log's file.
func (l *Log) Reader(size int64) (io.ReadCloser, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("open log spool: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, size), f}, nil
}
