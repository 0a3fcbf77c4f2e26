package pack

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// UploadOptions say how a context gets into a store.
type UploadOptions struct {
	// Pack says how a directory is packed; its Dockerfile and Check are about a
	// tar, too.
	Pack   Options
	Limits contexts.Limits
	// TempDir holds the packed context until the store has it; "" means the
	// system's directory for temporary files. It takes the compressed size.
	TempDir string
	// CacheDir is where packs of directories are remembered, so that one which has not changed
	// is not packed again; "" means nowhere.
	CacheDir string
	// Sending, when not nil, is told how much of the compressed context has been
	// sent, and how much there is.
	Sending func(sent, total int64)
}

// Uploaded is a context that a store has.
type Uploaded struct {
	// Context is ready to be put into a job.
	Context jobs.Context
	// Existed is true when the store had it already and nothing was sent.
	Existed bool
	// Unchanged is true when a directory has not changed since it was packed the last time,
	// and was not packed now.
	Unchanged bool
	// Stored is the compressed size in bytes. Of it, Sent was sent, and Had was in the store as
	// parts of other contexts.
	Stored, Sent, Had int64
	// Unread is how much of the tar was not read again, because what is at the beginning of the
	// directory has not changed, in bytes.
	Unread int64
	// Report says what was packed; of a tar it knows the Blob and the Dockerfile.
	Report Report
	// Warnings are sentences about what was taken all the same, and about what is remembered.
	Warnings []string

	chunks artifacts.Index // what a large tar was cut into
}

// Upload packs dir and stores it, unless the store has it. A directory that is as it was the
// last time is not packed to find that out. What is wrong with the directory or the store is
// reported as a *jobs.Failure.
func Upload(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions) (Uploaded, error) {
	opts.Pack.Limits = opts.Limits.Complete()
	opts.Pack.Check = once(opts.Pack.Check)
	m := remembered(opts.CacheDir, dir, opts.Pack)
	last, same, wrong := m.recall(ctx, dir, opts.Pack)
	defer same.close()
	if last.Unchanged {
		had, err := store.Has(ctx, last.Report.Digest)
		if err != nil {
			return Uploaded{}, artifacts.StoreFailure(err, "the context")
		}
		if had {
			last.Context, last.Existed = contextOf(last.Report.Blob), true
			return last, nil
		}
	}
	was := last.Report.Digest
	if same != nil {
		was = same.of.Digest
	}
	known, err := store.Knows(ctx, was)
	if err != nil {
		return Uploaded{}, artifacts.StoreFailure(err, "the context")
	}
	up, err := m.pack(ctx, store, dir, opts, known, same)
	if errors.Is(err, errMoved) {
		up, err = m.pack(ctx, store, dir, opts, known, nil)
	}
	if err == nil && last.Unchanged && up.Report.Digest != last.Report.Digest {
		wrong = errors.New("it packs to another digest, and nothing in it seems to have changed")
	}
	if err == nil && wrong != nil {
		up.Warnings = append(up.Warnings, fmt.Sprintf("what was remembered of the directory is wrong, so it was packed anew: %v", wrong))
	}
	return up, err
}

// pack packs and stores a directory, and remembers it. The beginning of it that is as it was is
// not read.
func (m *memory) pack(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions, known artifacts.Known, same *beginning) (Uploaded, error) {
	r := m.resume(same, known)
	n, forgetful := m.begin()
	defer n.drop()
	if n != nil && r != nil {
		n.marks = r.marks
	}
	up, err := pack(ctx, store, dir, opts, n, known, r)
	if err != nil {
		return Uploaded{}, err
	}
	same.close() // Windows does not replace a file that is open
	if err := errors.Join(forgetful, m.keep(n, up)); err != nil {
		up.Warnings = append(up.Warnings, fmt.Sprintf("the directory is not remembered for the next time (--no-cache-dir does without): %v", err))
	}
	return up, nil
}

// pack packs and stores a directory.
func pack(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions, n *notes, known artifacts.Known, r *resume) (Uploaded, error) {
	chunks, to := r.kept()
	rec, err := store.Cut(opts.TempDir, known, chunks...)
	if err != nil {
		return Uploaded{}, err
	}
	defer rec.Close()
	size := opts.Pack.Limits.Size
	at := r.mark().At
	report, err := write(ctx, &limitWriter{w: &behind{w: rec, skip: to - at}, left: size - at, limit: size}, dir, opts.Pack, n, r)
	if err != nil {
		return Uploaded{}, asFailure(err)
	}
	return upload(ctx, store, rec, Uploaded{Report: report, Unread: at}, opts)
}

// behind leaves out what is written first.
type behind struct {
	w    io.Writer
	skip int64
}

func (b *behind) Write(p []byte) (int, error) {
	skip := min(b.skip, int64(len(p)))
	b.skip -= skip
	n, err := b.w.Write(p[skip:])
	return int(skip) + n, err
}

// once is a check that is not repeated for the same Dockerfile.
func once(check func(dockerfile.File) error) func(dockerfile.File) error {
	if check == nil {
		return nil
	}
	var last *dockerfile.File
	var said error
	return func(d dockerfile.File) error {
		if last == nil || last.Name != d.Name || !bytes.Equal(last.Content, d.Content) {
			last, said = &d, check(d)
		}
		return said
	}
}

func contextOf(b artifacts.Blob) jobs.Context {
	return jobs.Context{Ref: artifacts.Ref(b.Digest), Digest: b.Digest, Size: b.Size}
}

// UploadTar stores a tar, plain or compressed, unless the store has it. It is
// checked as the worker will check it. What is wrong with the tar or the store
// is reported as a *jobs.Failure.
func UploadTar(ctx context.Context, store *artifacts.Blobs, r io.Reader, opts UploadOptions) (Uploaded, error) {
	rec, err := store.Cut(opts.TempDir, artifacts.Known{})
	if err != nil {
		return Uploaded{}, err
	}
	defer rec.Close()
	in, err := contexts.Judge(ctx, rec, r, cmp.Or(opts.Pack.Dockerfile, contexts.DefaultDockerfile), opts.Limits)
	if err != nil {
		return Uploaded{}, err
	}
	if opts.Pack.Check != nil {
		if err := opts.Pack.Check(in.Dockerfile); err != nil {
			return Uploaded{}, err
		}
	}
	return upload(ctx, store, rec, Uploaded{Report: Report{Blob: in.Blob, Dockerfile: in.Dockerfile}, Warnings: in.Warnings}, opts)
}

// asFailure finds the failure behind an error of the writer, which tar and the
// encoder hand on.
func asFailure(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	return err
}

// upload stores what was cut, which is up.Report.Blob.
func upload(ctx context.Context, store *artifacts.Blobs, c *artifacts.Cutter, up Uploaded, opts UploadOptions) (Uploaded, error) {
	up.Context = contextOf(up.Report.Blob)
	_, packed, err := c.Rewind() // what the store has is not measured here again
	if err != nil {
		return Uploaded{}, err
	}
	if most := opts.Limits.Complete().Compressed; packed > most {
		return Uploaded{}, contexts.TooMuchCompressed(most)
	}
	up.chunks = c.Chunks()
	up.Stored = up.chunks.Stored()
	kept, err := store.Keep(ctx, up.Report.Blob, c, opts.Sending)
	if err != nil {
		return Uploaded{}, artifacts.StoreFailure(err, "the context")
	}
	up.Existed, up.Sent, up.Had = kept.Existed, kept.Sent, kept.Had
	return up, nil
}

// limitWriter refuses a context that is longer than its limit.
type limitWriter struct {
	w           io.Writer
	left, limit int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, contexts.TooLarge(l.limit)
	}
	return l.w.Write(p)
}
