package joblog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A container may still write when its attempt is over: an engine that gave up on
// it has left its reader behind.
func TestLogIsClosedUnderItsWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	l, err := Open(path, 0, func(context.Context, int64, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for w := l.Writer(jobs.Stdout); ; {
				select {
				case <-stop:
					return
				default:
					fmt.Fprintln(w, "a line of output")
				}
			}
		})
	}
	for len(l.Lines()) == 0 {
		runtime.Gosched()
	}
	size, _ := l.Close(t.Context())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	writers.Wait()
	if again, _ := l.Close(t.Context()); size == 0 || info.Size() != size || again != size {
		t.Errorf("the log has %d bytes, its file %d, and %d when closed again", size, info.Size(), again)
	}
}

// The last lines are for people who see them on a terminal or a page: they are plain text. The log
// itself has what came.
func TestLinesArePlain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	l, err := Open(path, 0, func(context.Context, int64, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(t.Context())
	const text = "\x1b[31mFAIL\x1b[0m \x1b]0;title\x07x\r\n10%\r100%\n\u202egpj.exe\x00\xff\n"
	if _, err := l.Writer(jobs.Stdout).Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%q", l.Lines()), fmt.Sprintf("%q", []string{"FAIL x", "100%", "\ufffdgpj.exe\ufffd\ufffd"}); got != want {
		t.Errorf("the last lines are %s, want %s", got, want)
	}
	if raw, err := os.ReadFile(path); err != nil || !strings.Contains(string(raw), text) {
		t.Errorf("the log is %q (%v)", raw, err)
	}
}

// A disk that has no room for a while costs nothing; one that stays full costs
// what does not fit into memory, and the log tells.
func TestLogWaitsForItsDisk(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		meanwhile int  // bytes of output while the disk is full
		again     bool // whether there is room before the log is closed
		broken    bool
	}{
		"room again":       {1000, true, false},
		"no room":          {1000, false, true},
		"more than memory": {unwrittenBytes + 1, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Open(filepath.Join(t.TempDir(), "spool"), 4<<20, func(context.Context, int64, []byte) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			out := l.Writer(jobs.Stdout)
			fmt.Fprint(out, "before")
			disk := l.file
			full, err := os.Open(l.path) // every write to it fails
			if err != nil {
				t.Fatal(err)
			}
			l.file = full
			fmt.Fprint(out, strings.Repeat("x", tt.meanwhile))
			if tt.again {
				l.file = disk
			}
			fmt.Fprint(out, "after")
			size, dropped := l.Close(t.Context())
			_ = disk.Close()
			_ = full.Close()
			if broken := l.Lack() != nil; broken != tt.broken || broken != (dropped > 0) {
				t.Errorf("lacks output: %v (%v), %d bytes; want %v", broken, l.Lack(), dropped, tt.broken)
			}
			total := int64(len("before") + tt.meanwhile + len("after"))
			r, err := l.Reader(size)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for fr := jobs.NewFrameReader(r); ; {
				f, err := fr.Next()
				if err != nil {
					break
				}
				if f.Stream == jobs.Stdout {
					total -= int64(len(f.Data))
				}
			}
			if total != dropped {
				t.Errorf("%d bytes are not in the log, and %d are said to be left out", total, dropped)
			}
		})
	}
}

// A worker may die after it has closed a log over its cap and before it reports the
// end. The next worker reads the rest again, and closes the log with the same content.
func TestLogIsEndedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	open := func() *Log {
		l, err := Open(path, 2*keepEnd, func(context.Context, int64, []byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	// print is what the container prints, after what a worker has of it.
	print := func(l *Log) {
		skip := l.Received().Stdout
		for i := range int64(400) {
			line := fmt.Sprintf("%0999d\n", i)
			if (i+1)*1000 > skip {
				fmt.Fprint(l.Writer(jobs.Stdout), line)
			}
		}
	}
	first := open()
	print(first)
	size, dropped := first.Close(t.Context())
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again := open()
	print(again)
	sizeAgain, droppedAgain := again.Close(t.Context())
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if dropped == 0 || size != sizeAgain || dropped != droppedAgain || len(got) != len(want) || string(got[len(got)-1000:]) != string(want[len(want)-1000:]) {
		t.Errorf("ended again it has %d bytes and lacks %d; want %d and %d, and the same end", sizeAgain, droppedAgain, size, dropped)
	}
}

// The live tail of a service that floods its log past the cap goes on, at a pace that
// Redis does not notice.
func TestFloodOfAService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent, calls int
		l, err := Open(filepath.Join(t.TempDir(), "spool"), 2*keepEnd, func(_ context.Context, _ int64, frames []byte) error {
			mu.Lock()
			defer mu.Unlock()
			sent, calls = sent+len(frames), calls+1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Serve()
		line := strings.Repeat("x", 1000)
		const seconds = 10
		for range seconds * 100 {
			for range 100 { // 10 MB a second
				fmt.Fprintln(l.Writer(jobs.Stdout), line)
			}
			time.Sleep(10 * time.Millisecond)
		}
		mu.Lock()
		// A write that comes late may fall between two pauses.
		if most := seconds*int(time.Second/tailPause)*11/10 + 2; calls > most || sent < seconds<<20/2 || sent > most*tailChunk {
			t.Errorf("%d calls sent %d bytes; want at most %d calls, each full", calls, sent, most)
		}
		mu.Unlock()
		l.Close(t.Context())
	})
}
