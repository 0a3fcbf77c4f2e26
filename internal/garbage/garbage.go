// Package garbage removes artifacts that no job or recipe names any more from the artifact
// store, and chunks that no blob has any more. Any worker may collect; the store's records let one at a time have its
// turn, and two at once do no harm. [artifacts.Grace] explains why no artifact is lost
// that a producer or a worker counts on.
package garbage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Records is what the collector needs of the records. Package records documents the
// promises.
type Records interface {
	CollectTurn(ctx context.Context, every time.Duration) (bool, error)
	Now(ctx context.Context) (time.Time, error)
	Named(ctx context.Context, f func(digest string)) error
	Condemn(ctx context.Context, digests []string, pretend bool) ([]string, error)
}

// Options tune a Collector.
type Options struct {
	// Every is how often [Collector.Run] collects.
	Every time.Duration
	// Age is how old an artifact must be, at least artifacts.Grace, which is
	// what 0 means.
	Age time.Duration
	// DryRun deletes nothing, and counts what would be deleted.
	DryRun bool
}

// Report says what came of a collection.
type Report struct {
	// Kept are artifacts that are named, pinned, or young.
	Kept int
	// Deleted are those that were removed, and Bytes what they took.
	Deleted int
	Bytes   int64
}

// Sentence is the report as text for an operator; with dryRun nothing was deleted.
func (r Report) Sentence(dryRun bool) string {
	verb := "deleted"
	if dryRun {
		verb = "would delete"
	}
	return fmt.Sprintf("%s %d artifacts, %d bytes; kept %d", verb, r.Deleted, r.Bytes, r.Kept)
}

// Owner knows whether the store is this farm's: what is garbage here may be all
// that another farm has. [artifacts.Owner] has the promises.
type Owner interface {
	Exclusive(ctx context.Context, ask bool) error
}

// Deps are what a Collector works with.
type Deps struct {
	Records Records
	Store   *artifacts.Blobs
	Owner   Owner
}

// Collector deletes garbage.
type Collector struct {
	Deps
	log  *slog.Logger
	opts Options
}

// New makes a Collector. A nil logger is silent.
func New(lg *slog.Logger, deps Deps, opts Options) *Collector {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	opts.Age = max(opts.Age, artifacts.Grace)
	return &Collector{Deps: deps, log: lg, opts: opts}
}

const (
	// lookEvery is how often a worker asks for its turn.
	lookEvery = time.Minute
	// longest bounds a collection: what is pinned when it begins must be so when
	// it ends.
	longest = artifacts.Grace / 4
	// batch is how many artifacts are condemned at once.
	batch = 100
	// maxFailed is how many artifacts may withstand one collection.
	maxFailed = 20
	// hurry is how long after the announcement an artifact may be deleted.
	hurry = artifacts.CondemnedFor / 2
)

// Run collects until ctx ends, whenever it is this worker's turn.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(min(lookEvery, c.opts.Every))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		turn, err := c.Records.CollectTurn(ctx, c.opts.Every)
		if err == nil && turn {
			_, err = c.Collect(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "collecting garbage failed", "err", err)
		}
	}
}

// Collect deletes what is garbage now. When it fails, the report has what was deleted
// before; the next collection deletes the rest.
func (c *Collector) Collect(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := c.Owner.Exclusive(ctx, c.opts.DryRun); err != nil {
		return Report{}, err
	}
	now, err := c.Records.Now(ctx)
	if err != nil {
		return Report{}, err
	}
	named := map[key]struct{}{}
	if err := c.Records.Named(ctx, func(digest string) { named[keyOf(digest)] = struct{}{} }); err != nil {
		return Report{}, err
	}
	t := turn{Collector: c, now: now}
	if err := t.all(ctx, named); err != nil {
		t.failed = append(t.failed, err)
	}
	if t.report.Deleted > 0 && !c.opts.DryRun {
		c.log.InfoContext(ctx, "deleted artifacts that no job or recipe names", "count", t.report.Deleted, "bytes", t.report.Bytes, "kept", t.report.Kept)
	}
	return t.report, errors.Join(t.failed...)
}

// turn is one collection.
type turn struct {
	*Collector
	now    time.Time
	report Report
	// failed has the errors of blobs that could not be deleted. The collection goes on
	// with the others, until more than maxFailed show that the store is at fault.
	failed []error
}

// all collects at all places of the store. A chunk is kept as long as an index has it that was
// there when the turn began, whether that is garbage or not: those who find the index count on
// its chunks.
func (t *turn) all(ctx context.Context, named map[key]struct{}) error {
	used, unknown := t.used(ctx, named)
	for _, at := range []artifacts.Store{t.Store.Store, t.Store.In(artifacts.Indexes)} {
		if err := t.at(ctx, at, named); err != nil {
			return err
		}
	}
	if unknown != nil {
		return fmt.Errorf("no chunk is collected, because it is not known which ones contexts have: %w", unknown)
	}
	return t.at(ctx, t.Store.In(artifacts.Chunks), used)
}

// used are the chunks that blobs have. An index that is damaged has none, unless its blob is
// named: another reading may find it whole.
func (t *turn) used(ctx context.Context, named map[key]struct{}) (map[key]struct{}, error) {
	used := map[key]struct{}{}
	err := t.Store.In(artifacts.Indexes).List(ctx, func(s artifacts.Stored) error {
		x, err := t.Store.Index(ctx, s.Digest)
		_, ok := named[keyOf(s.Digest)]
		if errors.Is(err, artifacts.ErrNotFound) || errors.Is(err, artifacts.ErrIndex) && !ok {
			return nil
		}
		for _, c := range x {
			used[keyOf(c.Digest)] = struct{}{}
		}
		return err
	})
	return used, err
}

// at collects at one place.
func (t *turn) at(ctx context.Context, store artifacts.Store, keep map[key]struct{}) error {
	var old []artifacts.Stored
	err := store.List(ctx, func(s artifacts.Stored) error {
		if _, ok := keep[keyOf(s.Digest)]; ok || t.now.Sub(s.Modified) < t.opts.Age {
			t.report.Kept++
			return nil
		}
		if old = append(old, s); len(old) < batch {
			return nil
		}
		defer func() { old = old[:0] }()
		return t.delete(ctx, store, old)
	})
	if err != nil {
		return err
	}
	return t.delete(ctx, store, old)
}

// delete removes what is old and not named, unless a producer or a worker pins it.
func (t *turn) delete(ctx context.Context, store artifacts.Store, old []artifacts.Stored) error {
	if len(old) == 0 {
		return nil
	}
	sizes := make(map[string]int64, len(old))
	digests := make([]string, len(old))
	for i, s := range old {
		digests[i], sizes[s.Digest] = s.Digest, s.Size
	}
	hurried, cancel := context.WithTimeout(ctx, hurry)
	defer cancel()
	free, err := t.Records.Condemn(hurried, digests, t.opts.DryRun)
	if err != nil {
		return err
	}
	t.report.Kept += len(old)
	for _, digest := range free {
		gone, err := t.deleteOne(hurried, store, digest)
		switch {
		case hurried.Err() != nil: // the announcement runs out; the rest is for the next time
			return ctx.Err()
		case err != nil:
			if t.failed = append(t.failed, err); len(t.failed) > maxFailed {
				return errors.New("too many artifacts cannot be deleted")
			}
		case gone:
			t.report.Kept--
			t.report.Deleted++
			t.report.Bytes += sizes[digest]
		}
	}
	return nil
}

// deleteOne deletes a blob that may be deleted, and reports whether it did.
func (t *turn) deleteOne(ctx context.Context, store artifacts.Store, digest string) (bool, error) {
	// It was listed a while ago: a blob of the same name may be a new one.
	info, err := store.Stat(ctx, digest)
	switch {
	case errors.Is(err, artifacts.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look at garbage %s: %w", digest, err)
	case t.now.Sub(info.Modified) < t.opts.Age:
		return false, nil
	case t.opts.DryRun:
		return true, nil
	}
	return true, store.Delete(ctx, digest)
}

// key is a digest in few bytes: there may be a million.
type key [32]byte

func keyOf(digest string) (k key) {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil { // a store and the records know nothing but digests
		return key{}
	}
	copy(k[:], raw)
	return k
}
