package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// UploadOptions say how a context gets into a store.
type UploadOptions struct {
	Pack   PackOptions
	Limits Limits
	// TempDir holds the packed context until the store has it; "" means the
	// system's directory for temporary files. It takes the compressed size.
	TempDir string
}

// Uploaded is a context that a store has.
type Uploaded struct {
	// Context is ready to be put into a job.
	Context jobs.Context
	// Existed is true when the store had it already and nothing was sent.
	Existed bool
	// Report says what was packed; of a tar it knows the Blob only.
	Report PackReport
}

// Upload packs dir and stores it, unless the store has it. What is wrong with
// the directory or the store is reported as a *jobs.Failure.
func Upload(ctx context.Context, store Store, dir string, opts UploadOptions) (Uploaded, error) {
	sp, err := newSpool(opts.TempDir)
	if err != nil {
		return Uploaded{}, err
	}
	defer sp.remove()
	limited := &limitWriter{w: sp, left: opts.Limits.size(), limit: opts.Limits.size()}
	report, err := Pack(ctx, limited, dir, opts.Pack)
	if err != nil {
		return Uploaded{}, spoolFailure(err)
	}
	return sp.upload(ctx, store, report)
}

// UploadTar stores a tar, plain or compressed, unless the store has it. What is
// wrong with the tar or the store is reported as a *jobs.Failure.
func UploadTar(ctx context.Context, store Store, r io.Reader, opts UploadOptions) (Uploaded, error) {
	in, err := newStream(ctx, io.NopCloser(r), expected{}, opts.Limits)
	if err != nil {
		return Uploaded{}, err
	}
	defer in.Close()
	sp, err := newSpool(opts.TempDir)
	if err != nil {
		return Uploaded{}, err
	}
	defer sp.remove()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sp}, struct{ io.Reader }{in}, make([]byte, 256<<10)); err != nil {
		if in.Err() != nil {
			return Uploaded{}, in.Err()
		}
		return Uploaded{}, spoolFailure(err)
	}
	return sp.upload(ctx, store, PackReport{Blob: in.Blob()})
}

// spool is a temporary file that holds a context compressed: its digest has to
// be known before it is worth sending.
type spool struct {
	f   *os.File
	enc *zstd.Encoder
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "slipway-context-*")
	if err != nil {
		return nil, spoolFailure(err)
	}
	// Where the system lets us, the file has no name while it is used, so that
	// nothing is left behind after a crash.
	_ = os.Remove(f.Name())
	enc, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		_ = f.Close()
		return nil, spoolFailure(err)
	}
	return &spool{f: f, enc: enc}, nil
}

func (s *spool) Write(p []byte) (int, error) { return s.enc.Write(p) }

func (s *spool) remove() {
	_ = s.f.Close()
	_ = os.Remove(s.f.Name())
}

// spoolFailure finds the failure behind an error of the writer, which tar and
// the encoder hand on.
func spoolFailure(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return jobs.Fail(jobs.KindDiskFull, err, "free space there, or set TMPDIR to a directory on another disk", "the directory for temporary files is full, so the context could not be packed")
	}
	return fmt.Errorf("spool context: %w", err)
}

// upload stores what was written, which is report.Blob.
func (s *spool) upload(ctx context.Context, store Store, report PackReport) (Uploaded, error) {
	up := Uploaded{
		Context: jobs.Context{Ref: Ref(report.Digest), Digest: report.Digest, Size: report.Size},
		Report:  report,
	}
	if err := s.enc.Close(); err != nil {
		return Uploaded{}, spoolFailure(err)
	}
	_, err := store.Stat(ctx, report.Digest)
	if err == nil {
		up.Existed = true
		return up, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return Uploaded{}, StoreFailure(err, "the context")
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return Uploaded{}, spoolFailure(err)
	}
	plain, err := zstd.NewReader(s.f)
	if err != nil {
		return Uploaded{}, spoolFailure(err)
	}
	defer plain.Close()
	// A store makes a blob visible at its end only, so a spool that was
	// damaged on the disk never becomes one.
	if _, err := store.Put(ctx, Verify(plain, report.Blob)); err != nil {
		return Uploaded{}, StoreFailure(err, "the context")
	}
	return up, nil
}

// limitWriter refuses a context that is longer than its limit.
type limitWriter struct {
	w           io.Writer
	left, limit int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, tooLarge(l.limit)
	}
	return l.w.Write(p)
}
