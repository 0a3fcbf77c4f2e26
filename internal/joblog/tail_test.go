package joblog

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Output gathers for a while, but the end of the job does not wait for that.
func TestTailPump(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent []byte
		calls := 0
		p := startPump(func(_ context.Context, offset int64, frames []byte) error {
			if offset != int64(len(sent)) {
				t.Errorf("a piece at %d; want it at %d", offset, len(sent))
			}
			sent = append(sent, frames...)
			calls++
			return nil
		})
		p.add(0, []byte("one "))
		p.add(4, []byte("two "))
		time.Sleep(2 * tailPause)
		synctest.Wait()
		if string(sent) != "one two " || calls != 1 {
			t.Errorf("sent %q in %d calls; want both in one", sent, calls)
		}
		p.add(8, []byte("three"))
		synctest.Wait()
		start := time.Now()
		p.close(t.Context())
		if !bytes.HasSuffix(sent, []byte("three")) || time.Since(start) != 0 {
			t.Errorf("sent %q after %s; want all of it at once", sent, time.Since(start))
		}
	})
}

// While Redis fails over the live tail waits, and then goes on without a gap; the end of the
// job waits for nothing, and a job that has another owner has no use for the tail.
func TestTailPumpTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what the pump's goroutine sees
		var sent []byte
		calls := 0
		readonly := errors.New("READONLY You can't write against a read only replica")
		away := readonly
		become := func(err error) (called int) {
			mu.Lock()
			defer mu.Unlock()
			called, calls, away = calls, 0, err
			return called
		}
		p := startPump(func(_ context.Context, offset int64, frames []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if calls++; away != nil {
				return away
			}
			if offset != int64(len(sent)) {
				t.Errorf("a piece at %d; want it at %d", offset, len(sent))
			}
			sent = append(sent, frames...)
			return nil
		})
		p.add(0, []byte("one "))
		time.Sleep(2 * time.Second)
		p.add(4, []byte("two "))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if calls := become(nil); calls < 5 || calls > 10 {
			t.Errorf("%d calls in 4 s; want one each %s", calls, tailRetry)
		}
		time.Sleep(2 * tailRetry)
		synctest.Wait()
		if string(sent) != "one two " {
			t.Errorf("sent %q; want all, in order", sent)
		}

		become(jobs.ErrStale)
		p.add(8, []byte("three "))
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls := become(readonly); calls != 1 {
			t.Errorf("%d calls for another's job; want one", calls)
		}

		p.add(14, []byte("four"))
		synctest.Wait()
		start := time.Now()
		p.close(t.Context())
		if time.Since(start) > tailRetry {
			t.Errorf("the end of the job waited %s", time.Since(start))
		}
	})
}
