package fsop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func nothing() (int, error) { return 0, nil }

func TestDoReturnsWhatTheCallReturns(t *testing.T) {
	t.Parallel()
	g := NewGate(1)
	late := func(int, error) { t.Error("late was called") }
	if n, err := Do(t.Context(), g, func() (int, error) { return 7, nil }, late); n != 7 || err != nil {
		t.Errorf("Do = %d, %v, want 7", n, err)
	}
	if n, err := Do(t.Context(), g, func() (int, error) { return 3, io.EOF }, late); n != 3 || !errors.Is(err, io.EOF) {
		t.Errorf("Do = %d, %v, want 3 and io.EOF", n, err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Do(ctx, g, func() (int, error) { t.Error("begun"); return 0, nil }, late); !errors.Is(err, why) || errors.Is(err, ErrLeft) {
		t.Errorf("Do after the end = %v, want only the cause: nothing was begun", err)
	}
}

// A call that hangs holds up no caller, is counted, and is told of what it returned
// in the end.
func TestHangingCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2)
		hang := make(chan struct{})
		var told atomic.Int64
		call := func() (int, error) { <-hang; return 5, nil }
		why := errors.New("why")
		for i := range 2 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
			defer cancel()
			_, err := Do(ctx, g, call, func(n int, _ error) { told.Add(int64(n)) })
			if !errors.Is(err, ErrLeft) || !errors.Is(err, why) || g.Left() != i+1 {
				t.Errorf("Do = %v with %d calls left, want ErrLeft and the cause, and %d", err, g.Left(), i+1)
			}
		}
		if _, err := Do(t.Context(), g, nothing, nil); !errors.Is(err, ErrHangs) {
			t.Errorf("Do while two hang = %v, want ErrHangs at once", err)
		}
		cleaned := false
		if g.Cleanup(func() { cleaned = true }); !cleaned {
			t.Error("nothing is cleaned up while others hang")
		}
		began := time.Now()
		if g.Cleanup(func() { <-hang }); time.Since(began) != cleanupTime {
			t.Errorf("a clean-up was waited for for %s, want %s", time.Since(began), cleanupTime)
		}
		close(hang)
		synctest.Wait()
		if g.Left() != 0 || told.Load() != 10 {
			t.Errorf("%d calls left, late was told %d, want 0 and 5 each", g.Left(), told.Load())
		}
		if _, err := Do(t.Context(), g, nothing, nil); err != nil {
			t.Errorf("Do afterwards = %v", err)
		}
	})
}

// The end of the context and that of the call may come at once.
func TestRace(t *testing.T) {
	t.Parallel()
	g := NewGate(1000)
	var begun, ended atomic.Int64
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			n, err := Do(ctx, g, func() (int, error) {
				begun.Add(1)
				cancel()
				return 1, nil
			}, func(int, error) { ended.Add(1) })
			if err == nil && n == 1 {
				ended.Add(1)
			}
		})
	}
	wg.Wait()
	for begun.Load() != ended.Load() || g.Left() != 0 { // those that were left end, too
		runtime.Gosched()
	}
}

// memory is a file in memory, whose reads can be held.
type memory struct {
	*bytes.Reader
	hold   atomic.Pointer[chan struct{}]
	closed atomic.Int64
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	if c := m.hold.Load(); c != nil {
		<-*c
	}
	return m.Reader.ReadAt(p, at)
}

func (m *memory) Close() error {
	m.closed.Add(1)
	return nil
}

// hang holds all reads until it is called again.
func (m *memory) hang() (goOn func()) {
	c := make(chan struct{})
	m.hold.Store(&c)
	return func() {
		m.hold.Store(nil)
		close(c)
	}
}

func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(b)
	return b
}

func TestReader(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, len(piece{}) - 1, len(piece{}), len(piece{}) + 1, 3 * len(piece{})} {
		want := content(size)
		f := &memory{Reader: bytes.NewReader(want)}
		r := NewReader(t.Context(), NewGate(1), f, time.Hour)
		if err := iotest.TestReader(r, want); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := r.Rewind(t.Context()); err != nil {
			t.Errorf("%d bytes: Rewind = %v", size, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes again, %v, want %d", len(got), err, size)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil || f.closed.Load() != 1 {
			t.Errorf("Close = %v, the file was closed %d times", err, f.closed.Load())
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Read after Close = %v, want ErrClosed", err)
		}
		if err := r.Rewind(t.Context()); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Rewind after Close = %v, want ErrClosed", err)
		}
	}
}

// A read that hangs ends with its context, and the file is closed by the call that
// hung.
func TestReadHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &memory{Reader: bytes.NewReader(content(10))}
		goOn := f.hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := NewReader(ctx, NewGate(1), f, time.Hour)
		if _, err := io.ReadAll(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v, want the end of its context", err)
		}
		if err := r.Rewind(t.Context()); !errors.Is(err, ErrLeft) {
			t.Errorf("Rewind = %v, want ErrLeft: the file is not ours any more", err)
		}
		if err := r.Close(); err != nil || f.closed.Load() != 0 {
			t.Errorf("Close = %v, and the file was closed under a call", err)
		}
		goOn()
		synctest.Wait()
		if f.closed.Load() != 1 {
			t.Errorf("the file was closed %d times, want once", f.closed.Load())
		}
	})
}

// A file system that does not answer for long is as bad as one that fails.
func TestReadStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &memory{Reader: bytes.NewReader(content(10))}
		goOn := f.hang()
		r := NewReader(t.Context(), NewGate(1), f, time.Minute)
		began := time.Now()
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrLeft) || time.Since(began) != time.Minute {
			t.Errorf("Read = %v after %s, want ErrLeft after a minute", err, time.Since(began))
		}
		goOn()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Close ends a read that hangs, and the reading that begins anew has a context of
// its own.
func TestCloseAndRewindEndReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &memory{Reader: bytes.NewReader(content(10))}
		first, cancel := context.WithCancel(t.Context())
		r := NewReader(first, NewGate(1), f, time.Hour)
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := r.Rewind(t.Context()); err != nil {
			t.Fatal(err)
		}
		goOn := f.hang()
		ended := make(chan error)
		go func() {
			_, err := io.ReadAll(r)
			ended <- err
		}()
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Read = %v, want ErrClosed", err)
		}
		goOn()
	})
}

// A file of the operating system is read as it is, in memory or not.
func TestReaderOfFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, len(piece{}), 3*len(piece{}) + 1} {
		want := content(size)
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, memory := range []bool{true, false} {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			var file File = f
			if !memory {
				file = struct{ File }{f} // has no descriptor to ask for
			}
			r := NewReader(t.Context(), NewGate(1), file, time.Hour)
			if err := iotest.TestReader(r, want); err != nil {
				t.Errorf("%d bytes, in memory: %t: %v", size, memory, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if err := r.Rewind(ctx); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes again, %v, want %d", len(got), err, size)
			}
			if err := r.Rewind(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
				t.Errorf("Read = %v after the end of its context", err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file is open after Close: %v", err)
			}
		}
	}
}
