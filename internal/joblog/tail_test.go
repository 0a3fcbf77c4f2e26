package joblog

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"
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
