// Package apitest has what tests of the HTTP API and of its clients need: a farm without
// workers, whose jobs the test itself runs, and a network that breaks. The tests of
// internal/api and of client call it, and those of whole farms use the network.
package apitest

import (
	"bytes"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
)

// Farm is a farm on an embedded Redis. It has no workers: tests are the workers.
type Farm struct {
	T     *testing.T
	DB    *records.DB
	Redis *miniredis.Miniredis
	// Client is the farm's, for tests that look at its connections.
	Client *redis.Client
	Blobs  *artifacts.Blobs
	Jobs   *jobs.Service
	// StoreDir is where the artifact store is.
	StoreDir string
}

// NewFarm makes a farm that goes with the test.
func NewFarm(t *testing.T) *Farm {
	t.Helper()
	mr := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: mr.Addr(), PoolSize: 300})
	t.Cleanup(func() { _ = rdb.Close() })
	dir := t.TempDir()
	store, err := dirstore.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	db := records.New(rdb, records.Options{})
	return &Farm{
		T: t, DB: db, Redis: mr, Client: rdb, StoreDir: dir, Blobs: artifacts.NewBlobs(store, t.TempDir()),
		Jobs: jobs.NewService(db, queue.New(rdb), func() string { return uuid.Must(uuid.NewV7()).String() }),
	}
}

// Token makes a token and returns its text.
func (f *Farm) Token(t access.Token) string {
	f.T.Helper()
	t, text, err := access.NewToken(t)
	if err == nil {
		err = f.DB.AddToken(f.T.Context(), t)
	}
	if err != nil {
		f.T.Fatal(err)
	}
	return text
}

// Nonce is that of the test, as the owner of a job.
const Nonce = "0123456789abcdef"

// Worker is the owner of a running job.
type Worker struct {
	*Farm
	Job    jobs.Job
	offset int64
	// Log is what was written.
	Log []byte
}

// Claim makes the test the worker of a job.
func (f *Farm) Claim(id string) *Worker {
	f.T.Helper()
	job, err := f.DB.Claim(f.T.Context(), jobs.Ticket{ID: id}, jobs.Owner{Worker: "w1", Host: "h1", Nonce: Nonce, Lease: time.Hour})
	if err != nil {
		f.T.Fatal(err)
	}
	return &Worker{Farm: f, Job: job}
}

// Write appends a frame to the live log.
func (w *Worker) Write(s jobs.Stream, text string) {
	w.T.Helper()
	raw := jobs.AppendFrame(nil, jobs.Frame{Stream: s, At: time.UnixMilli(1000), Data: []byte(text)})
	if err := w.DB.AppendLog(w.T.Context(), w.Job.ID, Nonce, jobs.LogChunk{Attempt: w.Job.Attempt, Offset: w.offset, Data: raw}); err != nil {
		w.T.Error(err)
	}
	w.offset += int64(len(raw))
	w.Log = append(w.Log, raw...)
}

// Finish stores the log and ends the job.
func (w *Worker) Finish(r jobs.Result) {
	w.T.Helper()
	blob, err := w.Blobs.Write(w.T.Context(), bytes.NewReader(w.Log))
	if err == nil {
		r.Attempt, r.Log = w.Job.Attempt, jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}
		err = w.DB.Finish(w.T.Context(), w.Job.ID, Nonce, r)
	}
	if err != nil {
		w.T.Error(err)
	}
}
