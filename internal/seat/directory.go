// Package seat keeps a worker's identity: the name by which the farm knows its build
// host. The identity is in the state directory, and directories get lost, copied
// with a machine, and shared. So who may use an identity is decided by its seat in
// Redis, which one process at a time can have, and by what the directory remembers
// of the process that had it last. The worker's command line opens the directory
// and hands a [Holder] to the worker.
//
//	start -> is the identity this directory's?  no  -> put its files aside, take a new identity
//	                 | yes                              ^
//	         does a holder answer a call?       yes  ---+
//	                 | no                               |
//	         take the seat of this daemon's host  ------+ the containers are on another daemon
package seat

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Directory is a state directory that is locked for this process.
type Directory struct {
	path string
	lock *os.File
	host string
	last incarnation // zero when no process has taken the seat with this directory
	made bool        // this process made the identity
}

// incarnation is what a directory remembers of the process that had the seat last.
// It is on the disk before the seat is taken: a crash in between leaves a seat of a
// turn before, which is this directory's all the same.
type incarnation struct {
	Host   string `json:"host"`
	Turn   int    `json:"turn"`
	Nonce  string `json:"nonce"`
	Daemon string `json:"daemon"`
	Process
	// Lock is which file was locked. A copy of the directory has another one.
	Lock string `json:"lock"`
}

// ErrLocked says that a worker runs on a state directory.
var ErrLocked = errors.New("a worker has it")

// lockPatience is how long a worker that was killed may take to be gone.
const lockPatience = 3 * time.Second

// Open makes a state directory if there is none, locks it, and reads the identity in
// it. The first time it makes one.
func Open(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory (choose another with --state): %w", err)
	}
	lock, err := Lock(path, os.O_CREATE)
	for end := time.Now().Add(lockPatience); errors.Is(err, ErrLocked) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		lock, err = Lock(path, os.O_CREATE)
	}
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("another worker uses the state directory %s; stop it or choose another with --state", path)
	} else if err != nil {
		return nil, err
	}
	d := &Directory{path: path, lock: lock}
	if err := d.read(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// Lock takes the lock of a state directory; closing the file gives it back. create
// is os.O_CREATE, or 0 to change nothing.
func Lock(path string, create int) (*os.File, error) {
	lock, err := os.OpenFile(lockFile(path), create|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return lock, nil
}

// Host is the identity in the directory.
func (d *Directory) Host() string { return d.host }

// Close gives the lock back.
func (d *Directory) Close() error { return d.lock.Close() }

func (d *Directory) read() (err error) {
	d.host, err = Identity(d.path)
	if errors.Is(err, os.ErrNotExist) {
		_, err = d.renew()
		return err
	}
	if err != nil {
		return fmt.Errorf("read host identity %s: %w", identityFile(d.path), err)
	}
	d.last, err = remembered(d.path, d.host)
	return err
}

// Identity returns the identity that a worker made in a state directory before.
func Identity(path string) (string, error) {
	raw, err := os.ReadFile(identityFile(path))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(raw))
	if !uuid.MatchString(id) {
		return "", fmt.Errorf("%q is not a UUID", id)
	}
	return id, nil
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func newIdentity() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// remembered reads the directory's memory of its last process. One of another host
// counts for nothing: the identity was put there by hand.
func remembered(path, host string) (incarnation, error) {
	raw, err := os.ReadFile(incarnationFile(path))
	if errors.Is(err, os.ErrNotExist) {
		return incarnation{}, nil
	} else if err != nil {
		return incarnation{}, fmt.Errorf("read what the state directory knows of its last worker: %w", err)
	}
	var last incarnation
	// What cannot be read counts for nothing, too: the seat is not given to a guess.
	if err := json.Unmarshal(raw, &last); err != nil || last.Host != host {
		return incarnation{}, nil
	}
	return last, nil
}

// remember writes the directory's memory of this process, to the disk itself.
func (d *Directory) remember(i incarnation) error {
	raw, err := json.Marshal(i)
	if err == nil {
		err = atomicfile.WriteDurable(incarnationFile(d.path), raw)
	}
	if err != nil {
		return fmt.Errorf("write to the state directory %s: %w", d.path, err)
	}
	d.last = i
	return nil
}

// formerDir has the files of hosts that this directory was before.
func formerDir(path string) string { return filepath.Join(path, "former") }

// Former lists the folders with the files of other hosts that a state directory has
// put aside.
func Former(path string) ([]string, error) {
	entries, err := os.ReadDir(formerDir(path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list what was put aside: %w", err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, filepath.Join(formerDir(path), e.Name()))
	}
	return all, nil
}

// shared are the names that have nothing of a host in them.
func shared() []string { return []string{"lock", "control.sock", "tmp", "former"} }

// renew makes this directory another host. What it knew as the one before goes out
// of sight first: a journal that is acted upon by another host than its own ends
// jobs that run, and notes about images let a host remove what its operator pulled.
// It returns the folder that they are in, "" when there was nothing.
func (d *Directory) renew() (aside string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make an identity in the state directory %s: %w", d.path, err)
		}
	}()
	if aside, err = d.putAside(); err != nil {
		return "", err
	}
	host := newIdentity()
	if err := atomicfile.WriteDurable(identityFile(d.path), []byte(host)); err != nil {
		return "", err
	}
	d.host, d.last, d.made = host, incarnation{}, true
	return aside, nil
}

// putAside moves every file of the host. The identity itself stays until there is
// another: without it a crash would make a host of the rest.
func (d *Directory) putAside() (aside string, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if !slices.Contains(shared(), e.Name()) && e.Name() != filepath.Base(identityFile(d.path)) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	// What says that the directory is a copy goes last.
	last := filepath.Base(incarnationFile(d.path))
	slices.SortStableFunc(names, func(a, b string) int { return order(a == last) - order(b == last) })
	if err := os.MkdirAll(formerDir(d.path), 0o700); err != nil {
		return "", err
	}
	if aside, err = os.MkdirTemp(formerDir(d.path), cmp.Or(d.host, "unknown")+"-"); err != nil {
		return "", err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(d.path, name), filepath.Join(aside, name)); err != nil {
			return "", err
		}
	}
	return aside, errors.Join(atomicfile.SyncDir(aside), atomicfile.SyncDir(d.path))
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}

// replaced reports whether the path leads to another directory by now than the one
// that this process has locked, or to none.
func (d *Directory) replaced() bool {
	now, err := os.Stat(lockFile(d.path))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		return false // the disk is in trouble, which is another matter
	}
	have, err := d.lock.Stat()
	return err == nil && !os.SameFile(now, have)
}

// lockID tells the locked file from that of a copy of the directory, for as long as
// the machine runs.
func (d *Directory) lockID() string { return fileID(d.lock.Stat()) }

func fileID(info os.FileInfo, err error) string {
	if err != nil {
		return ""
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", s.Dev, s.Ino)
	}
	return ""
}

// mark changes what is in the locked file, for another process that can read it: a
// copy of the directory does not change with it.
func (d *Directory) mark() error {
	_, err := d.lock.WriteAt([]byte(rand.Text()), 0)
	return errors.Join(err, d.lock.Sync())
}

func (d *Directory) readMark() string {
	raw, err := os.ReadFile(lockFile(d.path))
	if err != nil {
		return ""
	}
	return string(raw)
}

func lockFile(path string) string        { return filepath.Join(path, "lock") }
func identityFile(path string) string    { return filepath.Join(path, "host") }
func incarnationFile(path string) string { return filepath.Join(path, "incarnation") }

// Copied reports whether a worker that lives on this machine uses the directory that
// this one was copied from.
func Copied(path string) (bool, error) {
	host, err := Identity(path)
	if err != nil {
		return false, err
	}
	last, err := remembered(path, host)
	if err != nil {
		return false, err
	}
	e := evidence{last: last, machine: ThisMachine(), lock: fileID(os.Stat(lockFile(path)))}
	return e.besideOriginal(), nil
}

// Look reports, for a caller that changes nothing, why the next worker on a state
// directory would not use its identity; "" when it would, as far as can be told
// without a call. seat is that of its identity.
func Look(path string, seat jobs.Seat, daemon string) (why string, err error) {
	last, err := remembered(path, seat.Host)
	if err != nil {
		return "", err
	}
	e := evidence{last: last, seat: seat, daemon: daemon, machine: ThisMachine(), lock: fileID(os.Stat(lockFile(path)))}
	if v, why := e.verdict(); v == others {
		return why, nil
	}
	return "", nil
}
