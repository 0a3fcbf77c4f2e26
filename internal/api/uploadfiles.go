package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// uploadNote is what is kept of an upload beside what has come.
type uploadNote struct {
	// Token is whose it is: no other may add to it.
	Token      string `json:"token"`
	Dockerfile string `json:"dockerfile,omitempty"`
	Digest     string `json:"digest,omitempty"`
}

// uploadFiles keeps uploads in a directory, which several servers of a machine may share:
//
//	<id>.part       what has come; who adds to it has a lock on it
//	<id>.json       the note; without it there is no upload
//
// A server that is killed in between leaves one of them at most, which a later tidy removes.
type uploadFiles struct {
	dir string
	// room looks at the disk of a directory.
	room func(dir string) (diskroom.Room, error)
	// beginning is held while uploads are counted and one more is made.
	beginning sync.Mutex
}

var uploadPattern = regexp.MustCompile(`^[a-z0-9]{26}$`)

func (u *uploadFiles) part(id string) string { return filepath.Join(u.dir, id+".part") }
func (u *uploadFiles) note(id string) string { return filepath.Join(u.dir, id+".json") }

// open makes the directory, and refuses one that others can write to: below /tmp another user
// may have made it, and could have uploads written to files of their choice.
func (u *uploadFiles) open() error {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for uploads: %w", err)
	}
	info, err := os.Lstat(u.dir)
	if err != nil {
		return fmt.Errorf("look at the directory for uploads: %w", err)
	}
	if !info.IsDir() || !fsop.IsOwn(info) {
		return fmt.Errorf("the directory for uploads %s is not this user's own: want one that no other user can write to", u.dir)
	}
	return nil
}

// lock makes the caller the only one that works on an upload, of all servers, until it closes
// the file.
func (u *uploadFiles) lock(id string) (*os.File, error) {
	f, err := os.OpenFile(u.part(id), os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noUpload()
	}
	if err != nil {
		return nil, fmt.Errorf("open upload %s: %w", id, err)
	}
	mine, err := tryLock(f)
	switch {
	case mine:
		return f, nil
	case err == nil:
		err = problem("busy", "another request adds to this upload").retry(time.Second)
	default:
		err = fmt.Errorf("lock upload %s: %w", id, err)
	}
	_ = f.Close() // nothing was done with it
	return nil, err
}

// hold is lock for an upload that is there: it may have ended just before.
func (u *uploadFiles) hold(id string) (*os.File, error) {
	f, err := u.lock(id)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(u.note(id)); err != nil {
		_ = f.Close() // nothing was done with it
		return nil, noUpload()
	}
	return f, nil
}

func noUpload() *Problem {
	return problem("not_found", "there is no such upload").hint("begin one with POST /v1/uploads; those to which nothing comes for a day are removed")
}

// begin makes an upload without content.
func (u *uploadFiles) begin(n uploadNote) (string, error) {
	if err := u.open(); err != nil {
		return "", err
	}
	u.beginning.Lock()
	defer u.beginning.Unlock()
	if err := u.tidy(time.Now(), n.Token); err != nil {
		return "", err
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("encode the note of an upload: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(u.part(id), nil, 0o600); err != nil {
		return "", fmt.Errorf("begin an upload: %w", err)
	}
	if err := atomicfile.Write(u.note(id), raw); err != nil {
		return "", fmt.Errorf("begin an upload: %w", errors.Join(err, os.Remove(u.part(id))))
	}
	return id, nil
}

// tidy removes uploads that were left alone, and what is left of others, and refuses more when
// there are too many, in all or of this token.
func (u *uploadFiles) tidy(now time.Time, token string) error {
	entries, err := os.ReadDir(u.dir)
	if err != nil {
		return fmt.Errorf("list uploads: %w", err)
	}
	var ids []string
	parts := map[string]bool{}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".part"); ok {
			parts[id] = true
		}
	}
	for _, e := range entries {
		id, what, _ := strings.Cut(e.Name(), ".")
		if !uploadPattern.MatchString(id) || what == "json" && parts[id] {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		old := now.Sub(info.ModTime()) >= uploadKept
		switch {
		case what == "part" && !old:
			ids = append(ids, id)
		case what == "part":
			if f, err := u.lock(id); err == nil {
				u.drop(id)
				_ = f.Close() // it is gone
			}
		case old && (what == "json" || what == "json"+atomicfile.Unfinished):
			_ = os.Remove(filepath.Join(u.dir, e.Name())) // else the next tidy does
		}
	}
	if len(ids) >= mostUploads {
		return problem("busy", "%d uploads have begun and not ended", len(ids)).retry(time.Minute)
	}
	if token == "" || len(ids) < mostOwn {
		return nil
	}
	own := 0
	for _, id := range ids {
		if n, ok := u.read(id); ok && n.Token == token {
			own++
		}
	}
	if own >= mostOwn {
		return problem("busy", "%d uploads of this token have begun and not ended", own).hint("end them, or give them up with DELETE").retry(time.Minute)
	}
	return nil
}

// drop removes an upload; what is left of it goes with a later tidy.
func (u *uploadFiles) drop(id string) {
	_ = os.Remove(u.note(id))
	_ = os.Remove(u.part(id))
}

// read returns the note of an upload. One that cannot be read is none: a crash of the machine
// may have left it empty.
func (u *uploadFiles) read(id string) (n uploadNote, ok bool) {
	raw, err := os.ReadFile(u.note(id))
	return n, err == nil && json.Unmarshal(raw, &n) == nil
}

// find returns an upload of the principal, and how much of it has come.
func (u *uploadFiles) find(x *exchange) (id string, n uploadNote, offset int64, err error) {
	if id = x.PathValue("upload"); !uploadPattern.MatchString(id) {
		return id, n, 0, noUpload()
	}
	n, ok := u.read(id)
	if !ok || n.Token != x.who.Token {
		return id, n, 0, noUpload()
	}
	info, err := os.Stat(u.part(id))
	if errors.Is(err, fs.ErrNotExist) { // it has ended just now
		return id, n, 0, noUpload()
	}
	if err != nil {
		return id, n, 0, fmt.Errorf("look at upload %s: %w", id, err)
	}
	return id, n, info.Size(), nil
}

// appendPiece appends a piece to an upload of so many bytes, as much of it as comes: what has
// come stays when the rest does not, unless the disk is full.
func appendPiece(f *os.File, r io.Reader, had int64, limits contexts.Limits) (size int64, err error) {
	size = had
	// What has come tells the limit, once it is as much as is taken of anything.
	for most := min(limits.Compressed, limits.Size); ; {
		n, err := io.Copy(f, io.LimitReader(r, most-size+1))
		size += n
		switch {
		case isFull(err):
			_ = f.Truncate(had) // others need the room more than this piece
			return had, noRoom(err)
		case err != nil || size <= most:
			return size, err
		}
		head := make([]byte, sniffed)
		read, _ := f.ReadAt(head, 0) // a short one tells nothing
		switch more := limits.Arriving(head[:read]); {
		case more > most:
			most = more
		case more == limits.Size:
			return size, contexts.TooLarge(most)
		default:
			return size, contexts.TooMuchCompressed(most)
		}
	}
}

// sparing reads what goes to the directory of uploads, for as long as its disk has room. What else is
// on that disk, such as Redis or the artifact store, must not stand still because of uploads that may
// never end.
type sparing struct {
	io.Reader
	u *uploadFiles
	// until is how much is read before the next look.
	until int
}

// lookEvery is how much is read between two looks at the disk, in bytes.
const lookEvery = 16 << 20

func (r *sparing) Read(p []byte) (int, error) {
	if r.until <= 0 {
		r.until = lookEvery
		if room, err := r.u.room(r.u.dir); err == nil && room.Short(1) {
			return 0, fmt.Errorf("%w: %w", diskroom.Shortage{Path: r.u.dir, Room: room}, syscall.ENOSPC)
		}
	}
	n, err := r.Reader.Read(p)
	r.until -= n
	return n, err
}

// sniffed is how much of a context tells what it is, in bytes.
const sniffed = 512

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// noRoom says which disk is full, if one is.
func noRoom(err error) error {
	if !isFull(err) {
		return err
	}
	return jobs.Fail(jobs.KindDiskFull, err, "send it again later, or ask the operator to make room", "the server's directory for uploads has no room")
}
