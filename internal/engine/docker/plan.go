package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/slipway-farm/slipway/internal/tree"
)

// plan is how a workspace becomes a tree.
//
// The daemon compares names, sizes, times, modes and owners, never contents, and contexts have
// one time for all files. So a file that differs in its content alone is taken out of the workspace
// first, and then put back. The daemon sets the time of a directory when it makes it or when its
// mode changes, and files that come or go later change it again: so directories in which something
// changes get another mode, and then their own again.
type plan struct {
	files []change // by number
	// added and unseen are how many files there are of each change.
	added, unseen int
	// touched are directories whose time has to be set again.
	touched map[string]bool
	all     bool // directories are such
	// apart is set when the mode of directories may not be changed by the same sync as files.
	apart bool
}

// change is what becomes of a file; none for one that stays.
type change byte

const (
	_ change = iota
	// added is one that the daemon lacks, or sees to be another one.
	added
	// unseen has another content, and nothing else that is another.
	unseen
)

// maxTouched is how many directories a plan tells apart from the rest.
const maxTouched = 10_000

// errApart is of a workspace that is not to become a tree: there is nothing in it that stays, by
// which it could be known to be there, or the daemon would not notice all that changes.
var errApart = errors.New("the tree has too little in common with its workspace")

// planOf compares a tree with its workspace, which is made anew where that is needed, and notes
// what the workspace is to have. timesDirs is set when the daemon gives directories that it makes
// their times.
func planOf(ctx context.Context, p *workspace, t tree.Tree, timesDirs bool) (*plan, error) {
	made, err := compare(ctx, p, t, timesDirs)
	if errors.Is(err, errApart) {
		p.renew()
		made, err = compare(ctx, p, t, timesDirs)
	}
	if err != nil {
		return nil, &treeError{fmt.Errorf("find what has changed in the context: %w", err)}
	}
	return made, nil
}

// comparing is the walk through a workspace and a tree beside one another.
type comparing struct {
	plan
	timesDirs bool
	late      bool         // files have another time than those of the workspace
	was       func() error // reads old
	old       tree.Entry   // Path is "" after the last one
	same      int          // regular files that stay
	dirs      int          // that are new
	made      string       // the last of these that is in no new one
}

func compare(ctx context.Context, p *workspace, t tree.Tree, timesDirs bool) (*plan, error) {
	p.note(t.Time())
	c := &comparing{timesDirs: timesDirs, late: !p.time.Equal(t.Time())}
	c.files, c.touched = make([]change, t.Entries()), map[string]bool{}
	entries := p.entries()
	c.was = func() (err error) {
		if c.old, err = tree.Read(entries); errors.Is(err, io.EOF) {
			c.old, err = tree.Entry{}, nil
		}
		return err
	}
	err := c.was()
	if err == nil {
		var line []byte
		err = t.Walk(ctx, func(f tree.Entry) error {
			line = tree.Append(line[:0], f)
			p.entry(line)
			return c.next(f)
		})
	}
	for err == nil && c.old.Path != "" {
		err = c.gone()
	}
	switch {
	case err != nil:
		return nil, err
	case p.was != nil && c.same == 0:
		return nil, errApart
	}
	c.apart = c.unseen > 0 || c.dirs > 0 && (!timesDirs || c.all)
	return &c.plan, nil
}

// next takes an entry of the tree.
func (c *comparing) next(f tree.Entry) error {
	for c.old.Path != "" && tree.Before(c.old.Path, f.Path) {
		if err := c.gone(); err != nil {
			return err
		}
	}
	old := c.old
	if old.Path != f.Path {
		c.come(f)
		return nil
	}
	alike := old.Mode == f.Mode && old.UID == f.UID && old.GID == f.GID && old.Size == f.Size && old.Link == f.Link
	switch {
	case old.Mode.Type() != f.Mode.Type():
		c.come(f)
	case f.Mode.IsDir() && !alike:
		return errApart // the digests by which BuildKit finds copies would stay as they are
	case f.Mode.IsDir():
	case !alike || c.late:
		c.changed(f, added)
	case f.Mode.IsRegular() && old.Digest != f.Digest:
		c.changed(f, unseen)
	case f.Mode.IsRegular():
		c.same++
	}
	return c.was()
}

// gone takes an entry that is no longer there.
func (c *comparing) gone() error {
	c.touch(path.Dir(c.old.Path))
	return c.was()
}

// come takes an entry that was not there.
func (c *comparing) come(f tree.Entry) {
	if f.Mode.IsDir() {
		if c.dirs++; !c.isMade(path.Dir(f.Path)) {
			c.made = f.Path
		}
	}
	c.changed(f, added)
}

// isMade reports whether a directory is a new one, while what is in it comes by.
func (c *comparing) isMade(dir string) bool {
	rest, ok := strings.CutPrefix(dir, c.made)
	return ok && c.made != "" && (rest == "" || rest[0] == '/')
}

// changed takes an entry that comes or becomes another one.
func (c *comparing) changed(f tree.Entry, to change) {
	if dir := path.Dir(f.Path); !c.timesDirs || !c.isMade(dir) {
		c.touch(dir)
	}
	if !f.Mode.IsRegular() {
		return
	}
	c.files[f.Number] = to
	if to == added {
		c.added++
	} else {
		c.unseen++
	}
}

// touch notes that the daemon changes the time of a directory. That of the root goes nowhere.
func (c *comparing) touch(dir string) {
	if dir == "." || c.all {
		return
	}
	if c.touched[dir] = true; len(c.touched) > maxTouched {
		c.all, c.touched = true, nil
	}
}

// view is what the daemon is told of a tree in one sync.
type view struct {
	*plan
	step   int  // from 0 on
	marked bool // touched directories have another mode
}

// synced is the step of a view of which the daemon has all.
const synced = 2

// views are those that lead from the workspace to the tree, which is the last one.
func (p *plan) views() []view {
	var all []view
	if p.apart {
		all = append(all, view{plan: p})
	}
	if p.all || len(p.touched) > 0 {
		all = append(all, view{p, len(all), true})
	}
	return append(all, view{plan: p, step: len(all)})
}

// has reports whether the daemon is told of a file.
func (v view) has(number int) bool { return number < 0 || v.step > 0 || v.files[number] != unseen }

// asked reports whether the daemon is to ask for a file, when its workspace is what it is thought to be.
func (v view) asked(number int) bool {
	switch v.files[number] {
	case added:
		return v.step == 0
	case unseen:
		return v.step == 1
	}
	return false
}

// count is how many files that are.
func (v view) count() int { return [synced + 1]int{v.added, v.unseen}[v.step] }

// mode is what the daemon is told of a mode.
func (v view) mode(f tree.Entry) fs.FileMode {
	if v.marked && f.Mode.IsDir() && (v.all || v.touched[f.Path]) {
		return f.Mode ^ 1
	}
	return f.Mode
}
