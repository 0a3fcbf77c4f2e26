package rebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Tags is what moving tags needs of registries: *docker.Engine.
type Tags interface {
	// Tagged returns the digest that a registry has under a tag, "" when it has none.
	Tagged(ctx context.Context, tag string) (digest string, err error)
	// Retag gives a tag to what its repository has under a digest.
	Retag(ctx context.Context, tag, digest string) error
	// SameContent reports whether two digests of a repository have the same content.
	SameContent(ctx context.Context, repository, a, b string) (bool, error)
}

// LearnedRecipes is what moving tags needs of the recipes.
type LearnedRecipes interface {
	Recipes
	Learn(ctx context.Context, r jobs.Recipe) (bool, error)
	ReplaceRecipe(ctx context.Context, job string, r jobs.Recipe) error
}

// Promoter moves the tags of images that are built and verified, and moves them back. It
// keeps nothing but which rebuilds to look at: what a tag had before is kept with the
// rebuild before the tag is moved, so that the next promoter goes on where one was cut
// off. One in the farm works at a time.
type Promoter struct {
	log      *slog.Logger
	rebuilds jobs.Rebuilds
	recipes  LearnedRecipes
	jobs     Jobs
	tags     Tags
	opts     PromoterOptions

	mu      sync.Mutex
	waiting []string
	wake    chan struct{}
}

// PromoterOptions tune a Promoter.
type PromoterOptions struct {
	// Nonce tells it from all others.
	Nonce string
	// Gate may be nil.
	Gate Gate
	// Settle is how long what the tags had is kept before they are moved, 2 s when 0: a
	// Redis that crashes loses its last second, and a tag that was moved tells no more
	// where it was.
	Settle time.Duration
}

// NewPromoter makes a Promoter.
func NewPromoter(lg *slog.Logger, rebuilds jobs.Rebuilds, recipes LearnedRecipes, js Jobs, tags Tags, o PromoterOptions) *Promoter {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if o.Settle == 0 {
		o.Settle = 2 * time.Second
	}
	return &Promoter{log: lg, rebuilds: rebuilds, recipes: recipes, jobs: js, tags: tags, opts: o, wake: make(chan struct{}, 1)}
}

// Wake has the promoter look at a rebuild soon.
func (p *Promoter) Wake(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.waiting, id) {
		p.waiting = append(p.waiting, id)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Promoter) next() (id string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return "", false
	}
	id, p.waiting = p.waiting[0], p.waiting[1:]
	return id, true
}

// Run looks at rebuilds until ctx ends, and calls moved after each in which something has
// changed.
func (p *Promoter) Run(ctx context.Context, moved func(ctx context.Context, id string) error) {
	for {
		id, ok := p.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
			}
			continue
		}
		changed, err := p.Promote(ctx, id)
		if changed {
			err = errors.Join(err, moved(ctx, id))
		}
		if err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "moving the tags of a rebuild failed; tried again", "rebuild", id, "err", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// turnTime is how long one promoter has the turn; it is prolonged with each step. A step
// that takes longer moves no tag, and counts for nothing when another promoter was faster.
const turnTime = 2 * time.Minute

// What a step may wait for: the judgement of a gate, and the layers of two images.
const (
	gateTime    = 5 * time.Minute
	compareTime = 5 * time.Minute
)

// Promote does what can be done now for the tags of a rebuild. changed is true when an
// image has come further.
func (p *Promoter) Promote(ctx context.Context, id string) (changed bool, err error) {
	stuck := map[string]bool{}      // images that have to wait for their registries
	ready := map[string]time.Time{} // when what is kept of an image is safe
	for {
		if mine, err := p.rebuilds.PromoteTurn(ctx, p.opts.Nonce, turnTime); err != nil || !mine {
			return changed, err
		}
		head, images, err := p.rebuilds.Rebuild(ctx, id)
		if errors.Is(err, jobs.ErrNoRebuild) {
			return changed, nil
		} else if err != nil {
			return changed, err
		}
		i, wait := p.choose(images, stuck, ready)
		if wait > 0 {
			select {
			case <-time.After(wait):
				continue // what is kept by then counts
			case <-ctx.Done():
				return changed, ctx.Err()
			}
		} else if i < 0 {
			return changed, nil
		}
		next, err := p.step(ctx, head, images[i])
		var held *heldError
		switch {
		case errors.As(err, &held):
			stuck[next.Name] = true
			if next.Why == images[i].Why && !images[i].Trouble.IsZero() {
				continue
			}
		case err != nil:
			return changed, fmt.Errorf("rebuild %s, image %s: %w", id, images[i].Name, err)
		}
		// One that is not kept means that the rebuild has changed: look again.
		kept, err := p.rebuilds.ChangeRebuild(ctx, head, head, next)
		if err != nil {
			return changed, err
		}
		if kept {
			changed = changed || next.State != images[i].State
			p.tell(ctx, head, images[i], next)
		}
	}
}

// choose returns which image is to come further, or how long to wait until one can; -1 and 0
// when none is.
func (p *Promoter) choose(images []jobs.RebuildImage, stuck map[string]bool, ready map[string]time.Time) (i int, wait time.Duration) {
	for i, img := range images {
		if stuck[img.Name] || img.State != jobs.ImagePromoting && img.State != jobs.ImageReverting {
			continue
		}
		if img.State == jobs.ImagePromoting && img.Moves[0].Known {
			if ready[img.Name].IsZero() {
				ready[img.Name] = time.Now().Add(p.opts.Settle)
			}
			if left := time.Until(ready[img.Name]); left > 0 {
				if wait == 0 || left < wait {
					wait = left
				}
				continue
			}
		}
		return i, 0
	}
	return -1, wait
}

// tell logs what has changed of an image.
func (p *Promoter) tell(ctx context.Context, head jobs.Rebuild, before, next jobs.RebuildImage) {
	lg := p.log.With("rebuild", head.ID, "recipe", next.Name)
	switch {
	case next.State != before.State:
		lg.InfoContext(ctx, "image of a rebuild came further", "state", next.State, "reason", next.Why)
	case !next.Trouble.IsZero():
		lg.WarnContext(ctx, "moving a tag failed; tried again", "err", next.Why)
	}
}

// registryPatience is how long a registry may keep the tags of an image from being moved.
const registryPatience = time.Hour

// step takes an image one step further. A [*heldError] says why it comes no further for
// now; the image has it, too. Any other error is one of Redis.
func (p *Promoter) step(ctx context.Context, head jobs.Rebuild, img jobs.RebuildImage) (next jobs.RebuildImage, err error) {
	switch {
	case img.State == jobs.ImageReverting:
		next, err = p.revert(ctx, img)
	case head.State == jobs.RebuildCancelling:
		next = back(img, jobs.ImageSkipped, whyCancelled)
	default:
		next, err = p.promote(ctx, head, img)
	}
	var held *heldError
	if !errors.As(err, &held) {
		next.Trouble = time.Time{}
		return next, err
	}
	switch {
	case img.Trouble.IsZero():
		img.Trouble = time.Now().UTC().Truncate(time.Microsecond)
	case img.State == jobs.ImagePromoting && time.Since(img.Trouble) > registryPatience:
		next = back(img, jobs.ImageFailed, fmt.Sprintf("its tags could not be moved for %s: %v", registryPatience, held))
		next.Trouble = time.Time{}
		return next, nil
	}
	if img.State == jobs.ImagePromoting { // what is moved back says why it is
		img.Why = held.Error()
	}
	return img, held
}

// back is an image whose tags go back where they were.
func back(img jobs.RebuildImage, then jobs.ImageState, why string) jobs.RebuildImage {
	img.State, img.Then, img.Why = jobs.ImageReverting, then, why
	return img
}

// heldError is what a registry, or the gate, has against going on now.
type heldError struct{ err error }

func (e *heldError) Error() string { return e.err.Error() }
func (e *heldError) Unwrap() error { return e.err }

// promote does the next of: note what the tags had, compare, ask the gate; move the tags,
// learn the recipe. It fails with a [*heldError].
func (p *Promoter) promote(ctx context.Context, head jobs.Rebuild, img jobs.RebuildImage) (jobs.RebuildImage, error) {
	job, err := p.jobs.Get(ctx, img.Job)
	if errors.Is(err, jobs.ErrNotFound) {
		return back(img, jobs.ImageFailed, "the farm forgot its job before its tags were moved"), nil
	} else if err != nil {
		return img, err
	}
	have, err := p.recipes.Recipe(ctx, img.Name)
	if errors.Is(err, jobs.ErrNoRecipe) {
		return back(img, jobs.ImageFailed, "its recipe was removed"), nil
	} else if err != nil {
		return img, err
	}
	recipe, ok := have.Rebuilt(job)
	switch {
	case !ok || have.Spec.Build == nil:
		return back(img, jobs.ImageFailed, "its recipe cannot be read"), nil
	case have.Job != img.Of && have.Job != job.ID:
		return back(img, jobs.ImageFailed, fmt.Sprintf("job %s has built the image of this name meanwhile", have.Job)), nil
	}
	recipe.Tags = job.Spec.Cause.Tags
	if !img.Moves[0].Known {
		return p.judge(ctx, head, img, have, recipe)
	}
	for _, move := range img.Moves {
		now, err := p.tags.Tagged(ctx, move.Tag)
		switch {
		case err != nil:
			return img, &heldError{err}
		case now == move.To:
			continue
		case now != move.From:
			return back(img, jobs.ImageFailed, fmt.Sprintf("%s was moved to %s by another while the image was built", imagename.Familiar(move.Tag), orNothing(now))), nil
		}
		if err := p.tags.Retag(ctx, move.Tag, move.To); err != nil {
			return img, &heldError{err}
		}
	}
	if have.Job != recipe.Job { // else it was learned, and the answer was lost
		have.Previous, have.Settings = nil, jobs.RecipeSettings{}
		recipe.Previous = &have
		if _, err := p.recipes.Learn(ctx, recipe); err != nil {
			return img, err
		}
	}
	img.State, img.Why, img.Promoted = jobs.ImageDone, "", time.Now().UTC().Truncate(time.Microsecond)
	return img, nil
}

func orNothing(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}

// judge notes what the tags have before they are moved, unless the content is what it was,
// or the gate refuses it.
func (p *Promoter) judge(ctx context.Context, head jobs.Rebuild, img jobs.RebuildImage, have, recipe jobs.Recipe) (jobs.RebuildImage, error) {
	img.Moves = slices.Clone(img.Moves)
	for i, move := range img.Moves {
		now, err := p.tags.Tagged(ctx, move.Tag)
		if err != nil {
			return img, &heldError{err}
		}
		if pushed := digestIn(have.RepoDigests, move.Tag); now != "" && pushed != "" && now != pushed {
			return back(img, jobs.ImageFailed, fmt.Sprintf("%s has %s, which job %s did not push: another has moved it", imagename.Familiar(move.Tag), now, have.Job)), nil
		}
		img.Moves[i].From, img.Moves[i].Known = now, true
	}
	img.Bases = moved(have.Materials, recipe.Materials)
	if p.same(ctx, img.Moves) {
		// The image is that of before; the recipe says what it stands on by now, so that it
		// is not stale any more.
		have.Materials = recipe.Materials
		if err := p.recipes.ReplaceRecipe(ctx, have.Job, have); err != nil {
			return img, err
		}
		img.State, img.Why, img.Is, img.Moves = jobs.ImageUnchanged, "its content is what it was", img.Was, nil
		return img, nil
	}
	img.Why = ""
	if p.opts.Gate == nil {
		return img, nil
	}
	ctx, cancel := context.WithTimeout(ctx, gateTime)
	defer cancel()
	refusal, err := p.opts.Gate(ctx, Candidate{head.ID, img.Name, img.Because, img.Job, img.Moves, recipe.Materials})
	switch {
	case err != nil:
		return img, &heldError{err}
	case refusal != "":
		img.State, img.Why, img.Moves = jobs.ImageFailed, "the gate refused it: "+refusal, nil
		return img, nil
	}
	img.Gated = true
	return img, nil
}

// moved are the images of which two builds have used different ones, by name.
func moved(before, after []jobs.BaseImage) []jobs.BaseMove {
	moves := map[string]*jobs.BaseMove{}
	at := func(ref string) *jobs.BaseMove {
		full := imagename.Full(ref)
		if moves[full] == nil {
			moves[full] = &jobs.BaseMove{Ref: full}
		}
		return moves[full]
	}
	for _, b := range before {
		at(b.Ref).From = b.Digest
	}
	for _, b := range after {
		at(b.Ref).To = b.Digest
	}
	var list []jobs.BaseMove
	for _, ref := range slices.Sorted(maps.Keys(moves)) {
		if m := *moves[ref]; m.From != m.To {
			list = append(list, m)
		}
	}
	return list
}

// same reports whether every tag has the content of the new image already. What cannot be
// compared is taken for changed.
func (p *Promoter) same(ctx context.Context, moves []jobs.TagMove) bool {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	type pair struct{ repository, from, to string }
	known := map[pair]bool{}
	for _, m := range moves {
		this := pair{imagename.Repository(imagename.Full(m.Tag)), m.From, m.To}
		if m.From == "" {
			return false
		}
		if known[this] || m.From == m.To {
			continue
		}
		same, err := p.tags.SameContent(ctx, this.repository, m.From, m.To)
		if err != nil {
			p.log.WarnContext(ctx, "comparing a new image with the one before failed; it is taken for changed", "image", m.Tag, "err", err)
		}
		if err != nil || !same {
			return false
		}
		known[this] = true
	}
	return true
}

// revert moves the tags of an image back. One that has yet another image by now stays, and
// so does one that had none before.
func (p *Promoter) revert(ctx context.Context, img jobs.RebuildImage) (jobs.RebuildImage, error) {
	var kept []string
	for _, move := range img.Moves {
		if !move.Known {
			continue // it was not moved
		}
		now, err := p.tags.Tagged(ctx, move.Tag)
		switch {
		case err != nil:
			return img, &heldError{err}
		case now == move.From:
			continue
		case now != move.To || move.From == "":
			kept = append(kept, imagename.Familiar(move.Tag))
			continue
		}
		if err := p.tags.Retag(ctx, move.Tag, move.From); err != nil {
			return img, &heldError{err}
		}
	}
	if err := p.restore(ctx, img); err != nil {
		return img, err
	}
	if len(kept) > 0 {
		img.Why = strings.TrimPrefix(fmt.Sprintf("%s; left as they are: %s", img.Why, strings.Join(kept, ", ")), "; ")
	}
	img.State, img.Then = img.Then, ""
	return img, nil
}

// restore makes the recipe that of before, if it is that of the rebuild still.
func (p *Promoter) restore(ctx context.Context, img jobs.RebuildImage) error {
	r, err := p.recipes.Recipe(ctx, img.Name)
	switch {
	case errors.Is(err, jobs.ErrNoRecipe):
		return nil
	case err != nil || r.Job != img.Job || r.Previous == nil:
		return err
	}
	return p.recipes.ReplaceRecipe(ctx, img.Job, *r.Previous)
}
