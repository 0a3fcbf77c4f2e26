//go:build integration

package bench_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/chunkcache"
	"github.com/slipway-farm/slipway/internal/artifacts/s3store"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

// bucket measures what goes to a store that is far, and comes from it to a host, when one file
// of a large tree has changed.
func (f *farm) bucket(r *report) {
	f.Helper()
	server := hosttest.StartS3(f.B, nil)
	keys := f.TempDir()
	profile := s3conn.Profile{Endpoint: server.Endpoint, Region: "us-east-1", AccessKeyFile: filepath.Join(keys, "access"), SecretKeyFile: filepath.Join(keys, "secret")}
	f.must(errors.Join(os.WriteFile(profile.AccessKeyFile, []byte(server.AccessKey), 0o600), os.WriteFile(profile.SecretKeyFile, []byte(server.SecretKey), 0o600)))
	s3, err := s3store.New("s3://"+server.Bucket+"/bench", profile, download.Transfer{})
	f.must(err)
	meter := &meter{}
	store := metered{s3, meter}
	producer := artifacts.NewBlobs(store, f.TempDir())
	host := artifacts.NewBlobs(chunkcache.New(store, f.TempDir(), 4<<30), "")
	t := f.tree(1000, 20_000, contextBytes)
	opts := pack.UploadOptions{
		TempDir: f.TempDir(), CacheDir: f.TempDir(),
		Limits: contexts.Limits{Size: 4 << 30, Compressed: 4 << 30, Entries: 100_000},
	}
	var sent, came [2]int64
	var submit, fetch [2]time.Duration
	for i := range 2 {
		if i > 0 {
			f.must(t.change())
		}
		meter.n.Store(0)
		start := time.Now()
		up, err := pack.Upload(f.ctx, producer, t.dir, opts)
		f.must(err)
		submit[i], sent[i] = time.Since(start), meter.n.Swap(0)
		start = time.Now()
		f.must(f.fetch(host, up.Context, opts.Limits))
		fetch[i], came[i] = time.Since(start), meter.n.Load()
	}
	f.must(os.RemoveAll(t.dir))
	r.share("bytes to a bucket, one file of 1 GiB changed", "first", littleBar, sent[1], sent[0])
	r.latency("submit to a bucket, one file of 1 GiB changed", "first", submitBar, submit[1], submit[0])
	r.share("bytes from a bucket to a host, one file of 1 GiB changed", "first", littleBar, came[1], came[0])
	r.latency("fetch and judge on a host, one file of 1 GiB changed", "first", submitBar, fetch[1], fetch[0])
}

// fetch reads a context as a worker does before it builds.
func (f *farm) fetch(host *artifacts.Blobs, c jobs.Context, limits contexts.Limits) error {
	fetcher := contexts.NewFetcher(contexts.Options{TempDir: f.TempDir(), Limits: limits}, cassource.New(host))
	got, err := fetcher.Fetch(f.ctx, c, "Dockerfile")
	if err != nil {
		return err
	}
	return got.Close()
}

// meter counts the bytes of blobs, both ways.
type meter struct{ n atomic.Int64 }

// metered is a store whose bytes are counted.
type metered struct {
	artifacts.Store
	meter *meter
}

func (m metered) In(p artifacts.Place) artifacts.Store { return metered{m.Store.In(p), m.meter} }

func (m metered) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	data, err := m.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return counting{data, m.meter}, nil
}

func (m metered) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (bool, error) {
	size, err := data.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	made, err := m.Store.Put(ctx, b, data)
	if made {
		m.meter.n.Add(size)
	}
	return made, err
}

type counting struct {
	io.ReadCloser
	meter *meter
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.meter.n.Add(int64(n))
	return n, err
}
