package pack

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
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
	// Stored is the compressed size in bytes.
	Stored int64
	// Report says what was packed; of a tar it knows the Blob and the Dockerfile.
	Report Report
	// Warnings are sentences about what was taken all the same.
	Warnings []string
}

// Upload packs dir and stores it, unless the store has it. What is wrong with
// the directory or the store is reported as a *jobs.Failure.
func Upload(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions) (Uploaded, error) {
	rec, err := artifacts.NewRecording(opts.TempDir, true)
	if err != nil {
		return Uploaded{}, err
	}
	defer rec.Close()
	limits := opts.Limits.Complete()
	opts.Pack.Limits = limits
	limited := &limitWriter{w: rec, left: limits.Size, limit: limits.Size}
	report, err := Write(ctx, limited, dir, opts.Pack)
	if err != nil {
		return Uploaded{}, asFailure(err)
	}
	return upload(ctx, store, rec, Uploaded{Report: report}, opts)
}

// UploadTar stores a tar, plain or compressed, unless the store has it. It is
// checked as the worker will check it. What is wrong with the tar or the store
// is reported as a *jobs.Failure.
func UploadTar(ctx context.Context, store *artifacts.Blobs, r io.Reader, opts UploadOptions) (Uploaded, error) {
	rec, err := artifacts.NewRecording(opts.TempDir, true)
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

// upload stores what was recorded, which is up.Report.Blob.
func upload(ctx context.Context, store *artifacts.Blobs, rec *artifacts.Recording, up Uploaded, opts UploadOptions) (Uploaded, error) {
	blob := up.Report.Blob
	up.Context = jobs.Context{Ref: artifacts.Ref(blob.Digest), Digest: blob.Digest, Size: blob.Size}
	f, size, err := rec.Rewind()
	if err != nil {
		return Uploaded{}, err
	}
	up.Stored = size
	if most := opts.Limits.Complete().Compressed; size > most {
		return Uploaded{}, contexts.TooMuchCompressed(most)
	}
	up.Existed, err = store.Has(ctx, blob.Digest)
	if err != nil {
		return Uploaded{}, artifacts.StoreFailure(err, "the context")
	}
	if up.Existed {
		return up, nil
	}
	data := &sending{ReadSeeker: f, total: size, tell: opts.Sending}
	if err := store.Put(ctx, blob, data); err != nil {
		return Uploaded{}, artifacts.StoreFailure(err, "the context")
	}
	return up, nil
}

// sending tells how far a store has read.
type sending struct {
	io.ReadSeeker
	sent, total int64
	tell        func(sent, total int64)
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	if s.sent += int64(n); s.tell != nil {
		s.tell(s.sent, s.total)
	}
	return n, err
}

// Seek implements io.Seeker: a store starts again after a failure.
func (s *sending) Seek(offset int64, whence int) (int64, error) {
	at, err := s.ReadSeeker.Seek(offset, whence)
	s.sent = at
	return at, err
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
