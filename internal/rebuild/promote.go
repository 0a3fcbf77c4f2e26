package rebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// What a step may wait for: the judgement of a gate, and the layers of two images.
const (
	gateTime    = 5 * time.Minute
	compareTime = 5 * time.Minute
)

// registryPatience is how long a registry may keep the tags of an image from being moved.
const registryPatience = time.Hour

// step takes an image one step further. A [*heldError] says why it comes no further for
// now; the image has it, too. Any other error is one of Redis.
func (p *Promoter) step(ctx context.Context, head jobs.Rebuild, img jobs.RebuildImage) (next jobs.RebuildImage, err error) {
	switch {
	case img.State == jobs.ImageReverting:
		next, err = p.revert(ctx, img)
	case givenUp(head) != "":
		next = back(img, jobs.ImageSkipped, givenUp(head))
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
		if err := p.inTurn(ctx); err != nil {
			return img, err
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
		if err := p.inTurn(ctx); err != nil {
			return img, err
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
