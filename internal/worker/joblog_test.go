package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A container may still write when its attempt is over: an engine that gave up on
// it has left its reader behind.
func TestLogIsClosedUnderItsWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	l, err := openLog(path, 0, func(context.Context, int64, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for w := l.writer(jobs.Stdout); ; {
				select {
				case <-stop:
					return
				default:
					fmt.Fprintln(w, "a line of output")
				}
			}
		})
	}
	for len(l.lines()) == 0 {
		runtime.Gosched()
	}
	size, _ := l.close(t.Context())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	writers.Wait()
	if again, _ := l.close(t.Context()); size == 0 || info.Size() != size || again != size {
		t.Errorf("the log has %d bytes, its file %d, and %d when closed again", size, info.Size(), again)
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
		"more than memory": {heldBytes + 1, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := openLog(filepath.Join(t.TempDir(), "spool"), 4<<20, func(context.Context, int64, []byte) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			out := l.writer(jobs.Stdout)
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
			_, dropped := l.close(t.Context())
			_ = disk.Close()
			_ = full.Close()
			if broken := l.lack() != nil; broken != tt.broken || broken != (dropped > 0) {
				t.Errorf("lacks output: %v (%v), %d bytes; want %v", broken, l.lack(), dropped, tt.broken)
			}
			total := int64(len("before") + tt.meanwhile + len("after"))
			r, err := l.reader()
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
