package rebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Registry asks registries: *docker.Engine.
type Registry interface {
	// Published returns the digest of what a name stands for, and the digests of the
	// manifests in it when it is an index, as far as they are known.
	Published(ctx context.Context, ref string) (digest string, manifests []string, err error)
}

// AllRecipes lists the recipes.
type AllRecipes interface {
	AllRecipes(ctx context.Context) ([]jobs.Recipe, error)
}

// Watcher asks registries now and then what they have under the names of the images that
// recipes stand on. It compares with what they had when it asked last, so nothing is missed
// that happens while no worker looks.
type Watcher struct {
	log      *slog.Logger
	bases    jobs.Bases
	recipes  AllRecipes
	registry Registry
	opts     WatcherOptions
}

// WatcherOptions tune a Watcher.
type WatcherOptions struct {
	// Every is how often registries are asked, by all watchers of the farm together.
	Every time.Duration
	// Begin is called when the watcher has asked; it may be nil.
	Begin func(ctx context.Context) error
	// Stale is told then how many images stand on an older base; it may be nil.
	Stale func(images int)
}

// NewWatcher makes a Watcher.
func NewWatcher(lg *slog.Logger, bases jobs.Bases, recipes AllRecipes, registry Registry, o WatcherOptions) *Watcher {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if o.Begin == nil {
		o.Begin = func(context.Context) error { return nil }
	}
	if o.Stale == nil {
		o.Stale = func(int) {}
	}
	return &Watcher{lg, bases, recipes, registry, o}
}

// WatchPoll is how often a watcher sees whether it is its turn.
const WatchPoll = 10 * time.Second

// questionPause lies between two questions: a registry must not take a farm with a
// thousand bases for an attack.
const questionPause = 100 * time.Millisecond

// questionTime bounds one question.
const questionTime = 30 * time.Second

// Run asks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(min(WatchPoll, w.opts.Every))
	defer tick.Stop()
	for {
		turn, err := w.bases.WatchTurn(ctx, w.opts.Every)
		if turn {
			if err = w.checkFor(ctx, w.opts.Every); err == nil {
				err = w.opts.Begin(ctx)
			}
			if err != nil {
				err = errors.Join(err, w.bases.AskForBases(ctx)) // the turn was for nothing
			}
		}
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "looking for new bases failed; tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkFor checks for as long as the turn lasts. What it has not come to then is what the
// next turn begins with.
func (w *Watcher) checkFor(ctx context.Context, turn time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, turn)
	defer cancel()
	err := w.Check(bounded)
	if bounded.Err() != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "not all bases were asked for before the next turn; the others come first then")
		return nil
	}
	return err
}

// Check asks for every base once, first for that which was not asked for the longest. A
// registry in trouble is asked nothing more this time, and one that wants to be left alone
// nothing before that is over, by any worker.
func (w *Watcher) Check(ctx context.Context) error {
	recipes, err := w.recipes.AllRecipes(ctx)
	if err != nil {
		return err
	}
	list, err := w.bases.Bases(ctx)
	if err != nil {
		return err
	}
	known := map[string]jobs.Base{}
	for _, b := range list {
		known[b.Ref] = b
	}
	trouble := map[string]string{} // by registry
	outside := NewGraph(recipes, nil).Outside()
	slices.SortStableFunc(outside, func(a, b string) int { return known[a].Checked.Compare(known[b].Checked) })
	for ref := range known { // no recipe stands on it any more
		if slices.Contains(outside, ref) {
			continue
		}
		if err := w.bases.ForgetBase(ctx, ref); err != nil {
			return err
		}
		delete(known, ref)
	}
	for _, ref := range outside {
		was := known[ref]
		was.Ref = ref
		b, err := w.ask(ctx, was, trouble)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.bases.KeepBase(ctx, b); err != nil {
			return err
		}
		known[ref] = b
	}
	w.opts.Stale(NewGraph(recipes, slices.Collect(maps.Values(known))).Stale())
	return nil
}

// ask finds out what a registry has under a name now. trouble is why registries are not
// asked any more, "" for one that may be. An error is one of Redis.
func (w *Watcher) ask(ctx context.Context, was jobs.Base, trouble map[string]string) (jobs.Base, error) {
	registry := jobs.RegistryOf(was.Ref)
	why, known := trouble[registry]
	if !known {
		left, err := w.bases.LeftAlone(ctx, registry)
		if err != nil {
			return was, err
		}
		if left > 0 {
			why = fmt.Sprintf("registry %s wants to be left alone until %s", registry, now().Add(left).Truncate(time.Second).Format(time.RFC3339))
		}
		trouble[registry] = why
	}
	if why != "" {
		was.Checked, was.Error = now(), why
		return was, nil
	}
	asking, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	digest, manifests, err := w.registry.Published(asking, was.Ref)
	if err != nil && ctx.Err() == nil && asking.Err() != nil {
		err = jobs.Fail(jobs.KindRegistryUnavailable, err, "", "the registry did not answer within %s", questionTime)
	}
	if err != nil {
		f := jobs.AsFailure(err)
		if was.Error == "" {
			w.log.WarnContext(ctx, "asking a registry for a base failed", "image", imagename.Familiar(was.Ref), "err", err)
		}
		if f.Kind != jobs.KindBaseMissing && f.Kind != jobs.KindRegistryDenied { // which are about this name alone
			trouble[registry] = f.Message
		}
		was.Checked, was.Error = now(), f.Message
		if f.After > 0 {
			w.log.WarnContext(ctx, "a registry wants to be left alone", "registry", registry, "reason", "Retry-After: "+f.After.String())
			return was, w.bases.LeaveAlone(ctx, registry, f.After)
		}
		return was, nil
	}
	b := was.Found(digest, manifests, now())
	if was.Digest != "" && digest != was.Digest {
		w.log.InfoContext(ctx, "a base has changed", "image", imagename.Familiar(was.Ref), "was", was.Digest, "digest", digest)
	}
	select {
	case <-time.After(questionPause):
	case <-ctx.Done():
	}
	return b, nil
}

// now is the time as it is kept.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
