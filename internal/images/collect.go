package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// CollectorHost is what a Collector needs of the engine. Package engine/docker
// documents the promises.
type CollectorHost interface {
	ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error)
	ImageInUse(ctx context.Context, id string) (bool, error)
	RemoveImage(ctx context.Context, ref string) error
	UnusedCache(ctx context.Context, unused time.Duration) (bytes int64, err error)
	PruneCache(ctx context.Context, unused time.Duration) (bytes int64, err error)
}

// Records looks up the jobs that built images.
type Records interface {
	Get(ctx context.Context, id string) (jobs.Job, error)
}

// CollectorOptions tune a Collector.
type CollectorOptions struct {
	// Age is how long something must be unused to be removed.
	Age time.Duration
	// Keep are patterns of names, as in path.Match, that are never removed.
	Keep []string
	// Every is how often Run looks; a minute when 0.
	Every time.Duration
	// Short reports whether less room is left than so many times what a worker
	// needs to take jobs.
	Short func(times uint64) bool
	// DryRun removes nothing.
	DryRun bool
}

// Room is made when less than low times the floor is free, until high times is.
const low, high = 2, 3

// Report is the result of a collection.
type Report struct {
	// Removed are names of images; Bytes is what those images take, some of which
	// others may share.
	Removed []string
	Bytes   int64
	// Kept has the reason why each of the others stays, by name.
	Kept map[string]string
	// Cache is how much build cache went, in bytes.
	Cache int64
}

// Lines is the report as text for an operator; with dryRun nothing was removed.
func (r Report) Lines(dryRun bool) []string {
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	var lines []string
	for _, name := range r.Removed {
		lines = append(lines, verb+" "+name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Kept)) {
		lines = append(lines, fmt.Sprintf("kept %s: %s", name, r.Kept[name]))
	}
	return append(lines, fmt.Sprintf("%s %d images of %s, and %s of build cache", verb, len(r.Removed), diskroom.Bytes(r.Bytes), diskroom.Bytes(r.Cache)))
}

// Collector makes room on a build host: when its disk fills, images that the farm
// brought there and build cache that were not used for a while are removed, the
// longest unused first.
type Collector struct {
	log     *slog.Logger
	host    CollectorHost
	notes   *Notes
	records Records
	opts    CollectorOptions
}

// NewCollector makes a Collector. A nil logger is silent.
func NewCollector(lg *slog.Logger, host CollectorHost, notes *Notes, records Records, opts CollectorOptions) *Collector {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	opts.Every = cmp.Or(opts.Every, time.Minute)
	return &Collector{log: lg, host: host, notes: notes, records: records, opts: opts}
}

// Run makes room whenever it is short, until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(c.opts.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var r Report
		var err error
		switch {
		case c.opts.Short(low):
			r, err = c.Collect(ctx, func() bool { return !c.opts.Short(high) })
		case n%tidyEvery == 0:
			err = c.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "making room on the build host failed", "err", err)
		}
		if len(r.Removed) > 0 || r.Cache > 0 {
			c.log.InfoContext(ctx, "made room on the build host", "images", r.Removed, "image_bytes", r.Bytes, "cache_bytes", r.Cache)
		}
	}
}

// tidyEvery is how many looks at the room there are for one at the notes.
const tidyEvery = 60

// tidy drops the notes on images that the operator or another program removed.
func (c *Collector) tidy(ctx context.Context) error {
	all, err := c.notes.list()
	for _, u := range all {
		if err == nil && ctx.Err() == nil {
			_, _, err = c.look(ctx, u)
		}
	}
	return err
}

// Collect removes images, the longest unused first, then build cache, until there
// is enough room. One image that cannot be judged or removed does not save the
// others; its error comes back with the report.
func (c *Collector) Collect(ctx context.Context, enough func() bool) (Report, error) {
	r := Report{Kept: map[string]string{}}
	all, err := c.notes.list()
	if err != nil {
		return r, err
	}
	slices.SortFunc(all, func(a, b Note) int { return cmp.Or(a.Last.Compare(b.Last), cmp.Compare(a.Name, b.Name)) })
	var errs []error
	for _, u := range all {
		if ctx.Err() != nil || enough() {
			break
		}
		if err := c.one(ctx, u, &r); err != nil {
			r.Kept[u.Name] = "not looked at"
			errs = append(errs, err)
		}
	}
	if ctx.Err() == nil && !enough() {
		prune := c.host.PruneCache
		if c.opts.DryRun {
			prune = c.host.UnusedCache
		}
		r.Cache, err = prune(ctx, c.opts.Age)
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// one judges a name and removes it.
func (c *Collector) one(ctx context.Context, u Note, r *Report) error {
	facts, ours, err := c.look(ctx, u)
	if err != nil || !ours {
		return err
	}
	why, err := c.pinned(ctx, u)
	if err != nil {
		return err
	}
	if why == "" {
		used, err := c.host.ImageInUse(ctx, facts.ID)
		if err != nil {
			return err
		}
		if used {
			why = "a container uses it"
		}
	}
	if why != "" {
		r.Kept[u.Name] = why
		return nil
	}
	if !c.opts.DryRun {
		gone, err := c.notes.forget(u, func() error { return c.host.RemoveImage(ctx, u.Name) })
		if err != nil {
			return fmt.Errorf("remove image %s: %w", u.Name, err)
		}
		if !gone {
			r.Kept[u.Name] = "a job has just begun to use it"
			return nil
		}
	}
	r.Removed = append(r.Removed, u.Name)
	r.Bytes += facts.Size
	return nil
}

// look reports whether a name is still the farm's, and drops the note of one that is not.
func (c *Collector) look(ctx context.Context, u Note) (facts engine.ImageFacts, ours bool, err error) {
	facts, err = c.host.ImageFacts(ctx, u.Name)
	if err != nil {
		return facts, false, fmt.Errorf("look at image %s: %w", u.Name, err)
	}
	if c.ours(u, facts) {
		return facts, true, nil
	}
	if !c.opts.DryRun && !c.young(u) { // else it may be on its way
		_, err = c.notes.forget(u, func() error { return nil })
	}
	return facts, false, err
}

// ours reports whether what has the name now is what the farm gave it to.
func (c *Collector) ours(u Note, facts engine.ImageFacts) bool {
	if jobs.IsDigest(u.Name) && len(facts.Names) > 0 {
		return false // it has a name again, which the farm gave it if there is a note on that
	}
	return u.of(facts)
}

func (c *Collector) young(u Note) bool { return time.Since(u.Last) < c.opts.Age }

// pinned says why an image stays, "" when it may go.
func (c *Collector) pinned(ctx context.Context, u Note) (why string, err error) {
	if c.young(u) {
		return fmt.Sprintf("used within the last %s", jobs.Duration(c.opts.Age)), nil
	}
	for _, pattern := range c.opts.Keep {
		if match, err := path.Match(pattern, u.Name); err != nil {
			return "", fmt.Errorf("pattern %q: %w", pattern, err)
		} else if match {
			return "the operator keeps " + pattern, nil
		}
	}
	if u.Job == "" || u.Pushed {
		return "", nil // its registry has it, or its name is another image's
	}
	// An image that was not pushed is nowhere else.
	job, err := c.records.Get(ctx, u.Job)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look whether job %s still counts on its image: %w", u.Job, err)
	case !job.State.Terminal():
		return "its job has not ended", nil
	case job.Spec.Build == nil: // this build cannot read its document
		return "what its job asked for cannot be read", nil
	case job.State == jobs.Succeeded && !job.Spec.Build.Push:
		return "it was not pushed, and its job is on record", nil
	}
	return "", nil
}
