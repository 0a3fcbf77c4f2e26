package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
