package docker

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/cachefile"
)

const workspaceFormat = "slipway workspace 1\n"

// workspaceBounds are what is noted of workspaces. One that is not noted is sent anew.
func workspaceBounds() cachefile.Bounds {
	return cachefile.Bounds{Files: 1000, Bytes: 512 << 20, Age: 30 * 24 * time.Hour}
}

// workspaces are the copies of trees that the daemon keeps, as far as it is noted what is in them.
type workspaces struct {
	dir string // of the notes; "" for none
	// here tells the notes of this directory, and of the time since the machine was started,
	// from all others: a copy of the directory may be at work beside it, and what a machine has
	// written last can be lost when it crashes.
	here [16]byte

	mu   sync.Mutex
	busy map[string]bool // by the names of notes
}

// workspace is a copy that belongs to one build. The daemon keeps it under a key that stands for
// one copy for good: what is noted of it is what is in it. While it is being changed there is no
// note; a worker that dies then begins a new one.
type workspace struct {
	of   *workspaces
	name string

	key [16]byte
	// was has the entries, nil of a copy that is yet to be made; time is that of all of them.
	was  *cachefile.File
	time time.Time
	next *cachefile.Writer // the entries that it is to have
	// failed is what became of next.
	failed error
}

func newWorkspaces(dir string) *workspaces {
	all := &workspaces{dir: dir, busy: map[string]bool{}}
	if dir != "" {
		_ = os.MkdirAll(dir, 0o700) // without it the notes have a place that fails
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	info, statErr := os.Stat(dir)
	if errors.Join(err, statErr) != nil { // no note outlives the program
		_, _ = rand.Read(all.here[:])
		return all
	}
	at, _ := info.Sys().(*syscall.Stat_t) // there is one where there is a boot_id
	sum := sha256.Sum256(fmt.Appendf(boot, "%d:%d", at.Dev, at.Ino))
	copy(all.here[:], sum[:])
	return all
}

// take returns the workspace of a recipe, or another one when a build beside has that.
func (all *workspaces) take(recipe string) *workspace {
	w := &workspace{of: all, name: all.free(recipe)}
	if w.open() != nil {
		w.renew()
	}
	return w
}

// free occupies a name for a recipe.
func (all *workspaces) free(recipe string) string {
	all.mu.Lock()
	defer all.mu.Unlock()
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", i, recipe))
		if name := hex.EncodeToString(sum[:]); !all.busy[name] {
			all.busy[name] = true
			return name
		}
	}
}

func (w *workspace) path() string { return filepath.Join(w.of.dir, w.name) }

// workspaceHead is the length of what a note begins with: here, key and time.
const workspaceHead = 16 + 16 + 8

func (w *workspace) open() (err error) {
	if w.of.dir == "" {
		return os.ErrNotExist
	}
	if w.was, err = cachefile.Open(w.path(), workspaceFormat); err != nil {
		return err
	}
	var head [workspaceHead]byte
	if _, err := w.was.ReadAt(head[:], 0); err != nil {
		return err
	}
	if [16]byte(head[:16]) != w.of.here {
		return cachefile.ErrUnusable
	}
	copy(w.key[:], head[16:])
	w.time = time.Unix(0, int64(binary.BigEndian.Uint64(head[32:])))
	return nil
}

// renew begins a new copy: nothing of it is there.
func (w *workspace) renew() {
	if w.was != nil {
		w.was.Close()
	}
	w.was = nil
	_, _ = rand.Read(w.key[:]) // it does not fail
}

// hint is the key as the daemon is told it.
func (w *workspace) hint() string { return hex.EncodeToString(w.key[:]) }

// entries reads what is in the copy.
func (w *workspace) entries() *bufio.Reader {
	if w.was == nil {
		return bufio.NewReader(eof{})
	}
	return bufio.NewReaderSize(io.NewSectionReader(w.was, workspaceHead, w.was.Size()-workspaceHead), 64<<10)
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// note begins the note on what the copy is to have, of files of one time. Its error stays until
// settle: a build does not fail for it.
func (w *workspace) note(at time.Time) {
	w.drop()
	if w.of.dir == "" {
		return
	}
	w.next, w.failed = cachefile.Create(w.path(), workspaceFormat)
	w.entry(binary.BigEndian.AppendUint64(slices.Concat(w.of.here[:], w.key[:]), uint64(at.UnixNano())))
}

func (w *workspace) drop() {
	if w.next != nil {
		w.next.Drop()
	}
	w.next, w.failed = nil, nil
}

// entry notes an entry.
func (w *workspace) entry(b []byte) {
	if w.next != nil && w.failed == nil {
		_, w.failed = w.next.Write(b)
	}
}

// change is to be called before the daemon changes the copy.
func (w *workspace) change() error {
	if w.of.dir == "" {
		return nil
	}
	if err := os.Remove(w.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget which files the daemon keeps: %w", err)
	}
	return nil
}

// settle keeps the note: the daemon has made the copy what it was to be.
func (w *workspace) settle() error {
	if w.next == nil && w.failed == nil {
		return nil
	}
	if w.failed == nil {
		w.failed = w.next.Keep()
	}
	err := w.failed
	w.drop()
	if err != nil {
		return fmt.Errorf("note which files the daemon keeps: %w", err)
	}
	cachefile.Tidy(w.of.dir, workspaceBounds(), time.Now())
	return nil
}

// release ends the build's use of the copy.
func (w *workspace) release() {
	if w.was != nil {
		w.was.Close()
	}
	w.drop()
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	delete(w.of.busy, w.name)
}
