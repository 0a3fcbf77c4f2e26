package pack

import (
	"archive/tar"
	"context"
	"fmt"
	"os"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Beside is a directory that is packed with the context, and is no part of it: the
// Dockerfile has a name for it.
type Beside struct {
	// Name is what the Dockerfile calls it.
	Name string
	// Dir is the directory on this machine.
	Dir string
	// Path is where it is in the archive: one component that begins with
	// [contexts.HiddenPrefix].
	Path string
}

// beside packs a directory below a path of its own, with its own .dockerignore.
func (p *packer) beside(ctx context.Context, main *os.Root, b Beside) error {
	if _, err := main.Lstat(b.Path); err == nil {
		return jobs.Fail(jobs.KindContextInvalid, nil, "rename it", "%q has a name that the farm needs for itself", b.Path)
	}
	return jobs.About(fmt.Sprintf("the directory %s of %q", b.Dir, jobs.Clip(b.Name)), p.below(ctx, b))
}

func (p *packer) below(ctx context.Context, b Beside) error {
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
	top := header(b.Path+"/", info.Mode(), p.report.Modes)
	top.Typeflag = tar.TypeDir
	if err := p.header(top); err != nil {
		return err
	}
	p.prefix = b.Path + "/"
	defer func() { p.prefix = "" }()
	return p.tree(ctx, root, ig)
}
