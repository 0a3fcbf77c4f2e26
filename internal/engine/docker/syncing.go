package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/tree"
)

// syncing is one sync of a tree into the daemon's keeping. The daemon is told of all files,
// asks for those it lacks while it is told, and gets them in the order in which the tree
// gives them: a tree is an archive, which is read from its beginning to its end.
type syncing struct {
	tree tree.Tree
	view view

	sendMu sync.Mutex // for SendMsg
	stream filesync.FileSync_DiffCopyServer

	mu sync.Mutex
	// ids are those under which the daemon was told of the files, by their numbers, and one
	// more; 0 stands for a file that it was not told of (yet).
	ids   []uint32
	files []told // by their IDs
	// next is the number of the file that the tree comes to next.
	next int
	// left is how many files the daemon waits for, ahead how many of these are still to come.
	left, ahead int
	asked       int       // how many it has asked for
	latest      time.Time // when the daemon asked
	broke       error     // of the tree
	forgot      bool      // the daemon has not the workspace that it was thought to have
	sent        engine.Sent
	// news is closed and made anew when any of this changes.
	news chan struct{}
}

// told is a file that the daemon was told of.
type told struct {
	number int32 // -1 for a directory without one
	state  state
}

// state is whether the daemon wants a file.
type state byte

const (
	notAsked state = iota
	waiting
	sent
)

// silence is for how long a file is waited for while the daemon waits for others: one that takes
// a few at a time only would wait forever. BuildKit asks for all at once.
const silence = time.Second

func newSyncing(stream filesync.FileSync_DiffCopyServer, tree tree.Tree, v view) *syncing {
	return &syncing{stream: stream, tree: tree, view: v, ids: make([]uint32, tree.Entries()), news: make(chan struct{})}
}

// run ends when the daemon has all it wants.
func (y *syncing) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { end(y.listen()) }() // it ends with the stream at the latest
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return y.tell(ctx) })
	g.Go(func() error { return y.give(ctx) })
	if err := g.Wait(); !errors.Is(err, errSynced) {
		return err
	}
	return nil
}

var errSynced = errors.New("the daemon has all files")

// tell tells the daemon of all files.
func (y *syncing) tell(ctx context.Context) error {
	at := y.tree.Time().UnixNano()
	err := y.tree.Walk(ctx, func(f tree.Entry) error {
		if !y.view.has(f.Number) {
			return nil
		}
		s := &types.Stat{
			Path: f.Path, Mode: uint32(y.view.mode(f)), Uid: uint32(f.UID), Gid: uint32(f.GID), Size: f.Size, Linkname: f.Link, ModTime: at,
		}
		if f.Mode.Type() == fs.ModeSymlink { // as it is on the disk: another one would be made anew in each sync
			s.Mode, s.Size = uint32(fs.ModeSymlink|fs.ModePerm), int64(len(f.Link))
		}
		return y.stat(s, f.Number)
	})
	if err != nil {
		return y.ofTree(ctx, err)
	}
	return y.send(&types.Packet{Type: types.PACKET_STAT}) // the last one
}

// ofTree notes an error that is the tree's own.
func (y *syncing) ofTree(ctx context.Context, err error) error {
	if ours := (*sendError)(nil); ctx.Err() == nil && !errors.As(err, &ours) {
		y.look(func() { y.broke = err })
	}
	return err
}

// stat tells the daemon of one file.
func (y *syncing) stat(s *types.Stat, number int) error {
	y.change(func() {
		if number >= 0 {
			y.ids[number] = uint32(len(y.files)) + 1
		}
		y.files = append(y.files, told{number: int32(number)})
	})
	return y.send(&types.Packet{Type: types.PACKET_STAT, Stat: s})
}

// listen takes the daemon's questions, until it has no more and errSynced is returned.
func (y *syncing) listen() error {
	for {
		var p types.Packet
		if err := y.stream.RecvMsg(&p); err != nil {
			return fmt.Errorf("listen to the daemon, which takes the context: %w", err)
		}
		switch p.Type {
		case types.PACKET_REQ:
			if err := y.ask(int(p.ID)); err != nil {
				return err
			}
		case types.PACKET_FIN:
			if err := y.isWhole(); err != nil {
				return err
			}
			if err := y.send(&types.Packet{Type: types.PACKET_FIN}); err != nil {
				return err
			}
			return errSynced
		case types.PACKET_ERR:
			return fmt.Errorf("the daemon could not take the context: %s", p.Data)
		}
	}
}

// errForgotten is of a sync in which the daemon asks for other files than it is to lack.
var errForgotten = errors.New("the daemon no longer has the files of builds before")

// ask notes that the daemon waits for a file.
func (y *syncing) ask(id int) (err error) {
	y.change(func() {
		if id >= len(y.files) || y.files[id].state != notAsked || y.files[id].number < 0 {
			err = fmt.Errorf("the daemon asks for file %d of the context, which it was not told of, or twice", id)
			return
		}
		f := &y.files[id]
		if !y.view.asked(int(f.number)) {
			y.forgot, err = true, errForgotten
			return
		}
		f.state = waiting
		y.left++
		y.asked++
		if int(f.number) >= y.next {
			y.ahead++
		}
		y.latest = time.Now()
	})
	return err
}

// isWhole fails when the daemon says that it has all, but was not sent all that it is to lack.
func (y *syncing) isWhole() (err error) {
	y.look(func() {
		if y.left > 0 || y.asked != y.view.count() {
			y.forgot, err = true, errForgotten
		}
	})
	return err
}

// give sends what the daemon waits for.
func (y *syncing) give(ctx context.Context) error {
	for {
		var left int
		var news <-chan struct{}
		y.look(func() {
			left, news = y.left, y.news
			y.next, y.ahead = 0, left
		})
		if left == 0 {
			if err := await(ctx, news, nil); err != nil {
				return err
			}
			continue
		}
		err := y.tree.Contents(ctx, func(number int) (io.WriteCloser, error) { return y.wanted(ctx, number) })
		if err != nil && !errors.Is(err, errBehind) {
			return y.ofTree(ctx, err)
		}
	}
}

// errBehind ends a reading of the tree: nothing more is wanted, or what is wanted came before.
var errBehind = errors.New("the files that are wanted went by")

// wanted returns what takes a file, nil when the daemon does not want it. It waits for the
// daemon to ask for one that it is to ask for; what it asks for too late is read once more.
func (y *syncing) wanted(ctx context.Context, number int) (to io.WriteCloser, err error) {
	for {
		var rest time.Duration
		var news <-chan struct{}
		decided := true
		y.look(func() {
			y.next, news = number, y.news
			id := int(y.ids[number]) - 1
			rest = silence - time.Since(y.latest)
			switch {
			case y.left == 0 && y.asked == y.view.count():
				err = errBehind
			case !y.view.asked(number), id >= 0 && y.files[id].state == sent:
			case id >= 0 && y.files[id].state == waiting:
				to = &content{y: y, id: uint32(id)}
			case y.left == 0:
				decided, rest = false, 0
			case rest > 0:
				decided = false
			case y.ahead == 0:
				err = errBehind
			}
		})
		if decided {
			return to, err
		}
		var timer *time.Timer
		if rest > 0 {
			timer = time.NewTimer(rest)
		}
		if err := await(ctx, news, timer); err != nil {
			return nil, err
		}
	}
}

// await waits for news, or for a timer that is not nil.
func await(ctx context.Context, news <-chan struct{}, timer *time.Timer) error {
	var rings <-chan time.Time
	if timer != nil {
		defer timer.Stop()
		rings = timer.C
	}
	select {
	case <-news:
	case <-rings:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (y *syncing) look(f func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f()
}

func (y *syncing) change(f func()) {
	y.look(func() {
		f()
		close(y.news)
		y.news = make(chan struct{})
	})
}

func (y *syncing) send(p *types.Packet) error {
	y.sendMu.Lock()
	defer y.sendMu.Unlock()
	if err := y.stream.SendMsg(p); err != nil {
		return &sendError{err}
	}
	return nil
}

// sendError is a failure of the connection to the daemon.
type sendError struct{ err error }

func (e *sendError) Error() string { return "send the context to the daemon: " + e.err.Error() }

// Unwrap returns the error behind.
func (e *sendError) Unwrap() error { return e.err }

// content sends what is in a file.
type content struct {
	y    *syncing
	id   uint32
	sent int64
}

// Write implements io.Writer.
func (c *content) Write(p []byte) (int, error) {
	if len(p) == 0 { // that would be the end
		return 0, nil
	}
	c.sent += int64(len(p))
	return len(p), c.y.send(&types.Packet{Type: types.PACKET_DATA, ID: c.id, Data: p})
}

// Close implements io.Closer: the file is complete.
func (c *content) Close() error {
	c.y.change(func() {
		f := &c.y.files[c.id]
		c.y.sent.Files++
		c.y.sent.Bytes += c.sent
		f.state = sent
		c.y.left--
		if int(f.number) >= c.y.next {
			c.y.ahead--
		}
	})
	return c.y.send(&types.Packet{Type: types.PACKET_DATA, ID: c.id})
}
