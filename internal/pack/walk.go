package pack

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"os"
	"path"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// walk goes through all that a context is made of, in the order of its archive. It belongs
// to one goroutine.
type walk struct {
	opts Options
	// report is what is known without reading the files.
	report *Report
	// visit is handed each entry with the name that it has in the archive.
	visit visitor
	// look leaves the files closed.
	look bool
	// leave is how many entries come first whose files stay closed, visited how many have come.
	leave, visited int

	// dir is what is walked through now, and prefix what all its names begin with in the
	// archive.
	dir, prefix string
}

type visitor func(ctx context.Context, r *record) error

// context walks through a directory, and those beside it.
func (w *walk) context(ctx context.Context, dir string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if w.report.Modes, err = w.opts.Modes.in(dir); err != nil {
		return err
	}
	name := path.Clean(cmp.Or(w.opts.Dockerfile, contexts.DefaultDockerfile))
	ignoredBy := name
	if w.opts.Inline == nil {
		w.report.Dockerfile, err = readDockerfile(root, name)
	} else {
		w.report.Dockerfile, err = inline(w.opts.Inline)
		ignoredBy = "" // what is left of <Dockerfile>.dockerignore
	}
	if err != nil {
		return err
	}
	if w.opts.Check != nil {
		if err := w.opts.Check(w.report.Dockerfile); err != nil {
			return err
		}
	}
	ig, err := newIgnores(root, ignoredBy)
	if err != nil {
		return err
	}
	if err := w.dockerfile(ctx, root, ig); err != nil {
		return err
	}
	w.dir = dir
	if err := w.tree(ctx, root, ig); err != nil {
		return err
	}
	for _, b := range w.opts.Beside {
		if err := w.beside(ctx, root, b); err != nil {
			return err
		}
	}
	return nil
}

// dockerfile visits a Dockerfile that is not met in the tree, before anything else.
func (w *walk) dockerfile(ctx context.Context, root *os.Root, ig *ignores) error {
	d := &w.report.Dockerfile
	if w.opts.Inline == nil {
		visible, err := ig.visible(root, d.Name)
		if err != nil || visible {
			return err
		}
	}
	w.report.Hidden, d.Name = true, contexts.HiddenPrefix+path.Base(d.Name)
	if _, err := root.Lstat(d.Name); err == nil {
		return jobs.Fail(jobs.KindContextInvalid, nil, "rename it", "%q has a name that the farm needs for itself", jobs.Clip(d.Name))
	}
	hdr := header(d.Name, 0o644, ModesKeep)
	hdr.Typeflag, hdr.Size = tar.TypeReg, int64(len(d.Content))
	return w.entry(ctx, &record{hdr: hdr, content: d.Content})
}

// tree visits what is in root, which the scanner walks through beside it.
func (w *walk) tree(ctx context.Context, root *os.Root, ig *ignores) error {
	ctx, stop := context.WithCancel(ctx)
	full, free := make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		free <- &batch{}
	}
	s := &scanner{
		ignores: ig, leaveGit: !w.opts.KeepGit && !ig.names(gitDir), modes: w.report.Modes, look: w.look, leave: w.leave - w.visited, out: full, free: free,
		seen: leftOut{w.report.Ignored, w.report.GitLeftOut, w.report.Sockets}, // of trees before
	}
	walked := make(chan error, 1)
	go func() { walked <- s.scan(ctx, root) }()
	var err error
	for b := range full {
		if err == nil {
			if err = w.batch(ctx, b); err != nil {
				stop()
			}
		}
		b.close()
		b.records = b.records[:0]
		free <- b
	}
	failed := <-walked
	stop()
	if err == nil {
		err = failed
	}
	w.left(s.seen)
	return err
}

func (w *walk) batch(ctx context.Context, b *batch) error {
	w.left(b.seen)
	for i := range b.records {
		r := &b.records[i]
		if r.err != nil {
			return r.err
		}
		r.hdr.Name = w.prefix + r.hdr.Name
		if err := w.entry(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(ctx context.Context, r *record) error {
	w.visited++
	return w.visit(ctx, r)
}

func (w *walk) left(out leftOut) {
	w.report.Ignored, w.report.GitLeftOut, w.report.Sockets = out.ignored, out.git, out.sockets
}

// beside visits a directory below a path of its own, with its own .dockerignore.
func (w *walk) beside(ctx context.Context, main *os.Root, b Beside) error {
	if _, err := main.Lstat(b.Path); err == nil {
		return jobs.Fail(jobs.KindContextInvalid, nil, "rename it", "%q has a name that the farm needs for itself", b.Path)
	}
	return jobs.About(fmt.Sprintf("the directory %s of %q", b.Dir, jobs.Clip(b.Name)), w.below(ctx, b))
}

func (w *walk) below(ctx context.Context, b Beside) error {
	root, err := openDir(b.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return unreadable(b.Dir, err)
	}
	ig, err := newIgnores(root, "")
	if err != nil {
		return err
	}
	top := header(b.Path+"/", info.Mode(), w.report.Modes)
	top.Typeflag = tar.TypeDir
	if err := w.entry(ctx, &record{hdr: top}); err != nil {
		return err
	}
	w.dir, w.prefix = b.Dir, b.Path+"/"
	return w.tree(ctx, root, ig)
}
