package pack

import (
	"context"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// RecentBytes is how much may have just changed in a directory that is remembered.
const RecentBytes = maxRecent

// CacheFile is where a directory is remembered.
func CacheFile(dir string, opts UploadOptions) string {
	opts.Pack.Limits = opts.Limits.Complete()
	return remembered(opts.CacheDir, dir, opts.Pack).path
}

// UploadSettled is Upload long after the directory was changed the last time, with nothing
// remembered.
func UploadSettled(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions) (Uploaded, error) {
	return uploadWith(ctx, store, dir, opts, func(n *notes) { n.began = n.began.Add(time.Hour) })
}

// UploadDiskFull is Upload with a disk that has no room for what is remembered.
func UploadDiskFull(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions) (Uploaded, error) {
	return uploadWith(ctx, store, dir, opts, func(n *notes) { n.out.Drop() })
}

func uploadWith(ctx context.Context, store *artifacts.Blobs, dir string, opts UploadOptions, change func(*notes)) (Uploaded, error) {
	opts.Pack.Limits = opts.Limits.Complete()
	m := remembered(opts.CacheDir, dir, opts.Pack)
	n, err := m.begin()
	if err != nil {
		return Uploaded{}, err
	}
	defer n.drop()
	change(n)
	up, err := pack(ctx, store, dir, opts, n, artifacts.Known{}, nil)
	if err != nil {
		return Uploaded{}, err
	}
	return up, m.keep(n, up)
}

// Deceive makes what is remembered of a directory say that each file was as it is now, except
// for its content.
func Deceive(ctx context.Context, dir string, opts UploadOptions) error {
	opts.Pack.Limits = opts.Limits.Complete()
	m := remembered(opts.CacheDir, dir, opts.Pack)
	in, err := openCache(m.path, m.key)
	if err != nil {
		return err
	}
	defer in.close()
	out, err := createCache(m.path, m.key)
	if err != nil {
		return err
	}
	n := &notes{out: out}
	w := &walk{opts: opts.Pack, report: &Report{}, look: true}
	w.visit = func(_ context.Context, r *record) error {
		e, err := in.next()
		if err != nil {
			return err
		}
		e.face = appendFace(nil, n.prev, r)
		n.prev = r.hdr.Name
		n.block = appendEntry(n.block, e)
		return nil
	}
	if err := w.context(ctx, dir); err != nil {
		return err
	}
	_, res, err := in.end()
	if err != nil {
		return err
	}
	res.Dockerfile = fingerprint(w.report.Dockerfile)
	return n.keep(res)
}

// ReadCache reads a cache file to its end.
func ReadCache(path, key string) error {
	in, err := openCache(path, key)
	if err != nil {
		return err
	}
	defer in.close()
	for err == nil {
		_, err = in.next()
	}
	if err == io.EOF { //nolint:errorlint // it is returned bare
		err = nil
	}
	return err
}
