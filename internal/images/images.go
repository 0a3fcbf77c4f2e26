// Package images keeps book of the images that the farm brought to a build host:
// who pulled or built each, under which name. From that follows which names a job
// may give, that no job's image stands for what a registry has, and which images
// go when the disk fills.
//
// An image is the farm's only if this host's notes say that the farm pulled or
// built it under that name, and what has the name is still that image. Labels
// prove nothing, since an image that is built on another one inherits them. What
// the operator put there is never touched, nor is another name that it was given.
//
// The worker's wiring makes one Images and one [Collector] on the same notes.
package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/quiet"
)

// Engine is what Images needs of the engine. Package engine/docker documents the
// promises.
type Engine interface {
	ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error)
	Image(ctx context.Context, ref string, progress io.Writer) (string, error)
	Pull(ctx context.Context, ref string, progress io.Writer) (string, error)
	Tag(ctx context.Context, id, name string) error
	Push(ctx context.Context, id, tag string, progress io.Writer) (string, error)
	RemoveImage(ctx context.Context, ref string) error
	CacheTimes(ctx context.Context) ([]time.Time, error)
}

// Images gives images their names, and finds those that jobs name. All methods
// are safe for concurrent use.
type Images struct {
	log    *slog.Logger
	engine Engine
	notes  *Notes
	rules  func() Rules

	// alone are names that a registry is not asked again for: it did not have them, or did
	// not answer.
	alone quiet.Names
}

// New makes an Images. rules are those of the moment. A nil logger is silent.
func New(lg *slog.Logger, eng Engine, notes *Notes, rules func() Rules) *Images {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return &Images{log: lg, engine: eng, notes: notes, rules: rules}
}

// Use makes sure that ref is on the host and returns its ID. What a job left under
// a name does not count where the registry has the name. The use is noted before
// the image is looked for, so that it is not removed in between.
func (i *Images) Use(ctx context.Context, ref string, progress io.Writer) (id string, err error) {
	note, known, err := i.notes.touch(ref)
	i.warn(ctx, err)
	if err := i.refresh(ctx, ref, progress); err != nil {
		return "", err
	}
	facts, err := i.engine.ImageFacts(ctx, ref)
	if err != nil {
		return "", err
	}
	if facts.ID != "" { // an image that was there, and not by the farm's doing, gets no note
		if known && note.Job == "" && note.Image == "" { // pulled by a worker that was killed
			i.warn(ctx, i.notes.set(Note{Name: ref, Image: facts.ID}))
		}
		return facts.ID, nil
	}
	i.warn(ctx, i.notes.set(Note{Name: ref}))
	id, err = i.engine.Image(ctx, ref, progress)
	if err != nil {
		i.dropIfGone(ctx, ref)
		return "", err
	}
	i.warn(ctx, i.notes.set(Note{Name: ref, Image: id}))
	return id, nil
}

// Refresh sees to it that none of the images which a build is about to use is one
// that a job left on the host, where a registry has the name. A frontend makes the
// steps of the build: one that a job left is never used.
func (i *Images) Refresh(ctx context.Context, refs []string, frontend string, progress io.Writer) error {
	for _, ref := range refs {
		if err := i.refresh(ctx, ref, progress); err != nil {
			return err
		}
	}
	if frontend == "" {
		return nil
	}
	if left, err := i.leftByJob(ctx, frontend); err != nil || !left {
		return err
	}
	_, err := i.pull(ctx, frontend, progress)
	return err
}

// refresh replaces what a job left under a name by what the registry has, if it
// answers and has it.
func (i *Images) refresh(ctx context.Context, ref string, progress io.Writer) error {
	if left, err := i.leftByJob(ctx, ref); err != nil || !left {
		return err
	}
	if i.alone.Has(ref) {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := i.pull(bounded, ref, progress)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch f := (*jobs.Failure)(nil); {
	case err == nil:
		return nil
	case bounded.Err() != nil:
	case errors.As(err, &f) && f.Kind.Info().Fault == jobs.InfraFault && f.Kind != jobs.KindRegistryUnavailable:
		return err // of the host
	}
	i.alone.Add(ref, askAgain)
	return nil
}

const (
	// askTime is how long a registry may take to hand out what has a name on the host
	// already.
	askTime = 20 * time.Second
	// askAgain is how long it is not asked again after it did not.
	askAgain = time.Minute
)

// pull gets an image from its registry, in the place of what a job left.
func (i *Images) pull(ctx context.Context, ref string, progress io.Writer) (id string, err error) {
	before, err := i.engine.ImageFacts(ctx, ref)
	if err != nil {
		return "", err
	}
	note, _, err := i.notes.find(ref)
	if err == nil {
		err = i.announce(engine.Naming{Name: ref, Job: note.Job, Recipe: note.Recipe}, holder{before.ID, true})
	}
	i.warn(ctx, err)
	if id, err = i.engine.Pull(ctx, ref, progress); err != nil {
		return "", err
	}
	i.warn(ctx, i.notes.set(Note{Name: ref, Image: id}))
	i.replaced(ctx, holder{before.ID, true}, id)
	return id, nil
}

// Size is how large an image is, in bytes, with what it shares with others; 0 when the
// engine does not tell.
func (i *Images) Size(ctx context.Context, id string) int64 {
	facts, err := i.engine.ImageFacts(ctx, id)
	i.warn(ctx, err)
	return facts.Size
}

// leftByJob reports whether what has a name on the host is what a job made, and no
// registry got it.
func (i *Images) leftByJob(ctx context.Context, ref string) (bool, error) {
	note, known, err := i.notes.find(ref)
	if err != nil || !known || note.Job == "" || note.Pushed {
		i.warn(ctx, err)
		return false, nil
	}
	facts, err := i.engine.ImageFacts(ctx, ref)
	return err == nil && facts.ID != "" && note.of(facts), err
}

// Name gives an image a name if the rules let the job have it. The image that had
// it before goes if it has no other and the farm made it.
func (i *Images) Name(ctx context.Context, n engine.Naming) error {
	unlock, err := i.notes.naming.lock() // what is decided must still hold when the name is given
	if err != nil {
		return err
	}
	defer unlock()
	before, err := i.admit(ctx, n, false)
	if err != nil {
		return err
	}
	if err := i.announce(n, before); err != nil {
		return err
	}
	if err := i.engine.Tag(ctx, n.Image, n.Name); err != nil {
		return err
	}
	i.warn(ctx, i.notes.set(noteOf(n, "")))
	i.replaced(ctx, before, n.Image)
	return nil
}

// Push publishes an image under a name, which it has on the host, too, from then
// on. The policy of pushes says who may; what the name stood for on this host does
// not matter, as the registry will have the same.
func (i *Images) Push(ctx context.Context, n engine.Naming, progress io.Writer) (repoDigest string, err error) {
	before, err := i.admit(ctx, n, true)
	if err != nil {
		return "", err
	}
	old, known, err := i.notes.find(n.Name)
	if err != nil {
		return "", fmt.Errorf("read the note on the name %s: %w", n.Name, err)
	}
	if err := i.announce(n, before); err != nil {
		return "", err
	}
	if repoDigest, err = i.engine.Push(ctx, n.Image, n.Name, progress); err != nil {
		if known { // the name is what it was
			i.warn(ctx, i.notes.set(old))
		} else {
			i.warn(ctx, i.notes.drop(n.Name))
		}
		return "", err
	}
	pushed := noteOf(n, "")
	pushed.Pushed = true
	i.warn(ctx, i.notes.set(pushed))
	i.replaced(ctx, before, n.Image)
	return repoDigest, nil
}

// announce notes that a name is about to be given, and the image that loses it: a
// worker that dies in the middle would leave an image without a note.
func (i *Images) announce(n engine.Naming, before holder) error {
	var err error
	if before.ours && before.image != n.Image {
		err = i.notes.set(Note{Name: before.image, Image: before.image})
	}
	if err = errors.Join(err, i.notes.set(noteOf(n, before.image))); err != nil {
		return fmt.Errorf("note the name %s: %w", n.Name, err)
	}
	return nil
}

func noteOf(n engine.Naming, before string) Note {
	return Note{Name: n.Name, Image: n.Image, Before: before, Job: n.Job, Recipe: n.Recipe}
}

// holder is the image that has a name.
type holder struct {
	image string // its ID, "" for none
	ours  bool   // whether the farm gave it the name
}

// admit decides whether a job may have a name, and returns what has it now.
func (i *Images) admit(ctx context.Context, n engine.Naming, push bool) (holder, error) {
	rules := i.rules()
	if err := rules.forbid(n.Name, push); err != nil {
		return holder{}, err
	}
	facts, err := i.engine.ImageFacts(ctx, n.Name)
	if err != nil || facts.ID == "" {
		return holder{}, err
	}
	note, known, err := i.notes.find(n.Name)
	if err != nil {
		return holder{}, fmt.Errorf("read the note on the name %s: %w", n.Name, err)
	}
	now := holder{facts.ID, known && note.of(facts)}
	if facts.ID == n.Image || push || rules.mayReplace(n.Name) {
		return now, nil
	}
	const hint = "give the image another name, or ask the operator (images.replace in the policy)"
	switch {
	case !now.ours:
		err = jobs.Fail(jobs.KindTagNotAllowed, nil, hint, "the name %q stands for an image that the operator of the build host put there, or that this worker has no note of", n.Name)
	case note.Job == "":
		err = jobs.Fail(jobs.KindTagNotAllowed, nil, hint, "the name %q stands for an image that came to the build host from a registry", n.Name)
	case note.Recipe != "" && note.Recipe != n.Recipe:
		err = jobs.Fail(jobs.KindTagNotAllowed, nil, hint, "the name %q stands for the image of another recipe, %s", n.Name, note.Recipe)
	}
	return now, err
}

// Release takes a private name from an image, which goes if it has no other. The
// image is noted by its ID first: an engine that dies after it took the name would
// leave an image without a note.
func (i *Images) Release(ctx context.Context, name string) error {
	unlock, err := i.notes.naming.lock() // Tidy must not forget what is noted here
	if err != nil {
		return err
	}
	defer unlock()
	facts, err := i.engine.ImageFacts(ctx, name)
	if err != nil || facts.ID == "" {
		return err
	}
	i.warn(ctx, i.notes.set(Note{Name: facts.ID, Image: facts.ID}))
	if err := i.engine.RemoveImage(ctx, name); err != nil {
		return err
	}
	return i.removeNameless(ctx, facts.ID)
}

// Tidy removes images that lost their last name while something used them, or
// while the engine was away.
func (i *Images) Tidy(ctx context.Context) error {
	unlock, err := i.notes.naming.lock()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := i.notes.list()
	if err != nil {
		return err
	}
	losing := map[string]bool{} // images that are about to lose a name
	for _, n := range all {
		if n.Before == "" {
			continue
		}
		facts, err := i.engine.ImageFacts(ctx, n.Name)
		if err != nil {
			return err
		}
		losing[n.Before] = losing[n.Before] || facts.ID == n.Before
	}
	var errs []error
	for _, n := range all {
		if jobs.IsDigest(n.Name) && !losing[n.Name] {
			errs = append(errs, i.removeNameless(ctx, n.Name))
		}
	}
	return errors.Join(errs...)
}

// replaced removes the image that had a name, if it was the farm's and has no
// other.
func (i *Images) replaced(ctx context.Context, before holder, now string) {
	if !before.ours || before.image == now {
		return
	}
	if err := i.removeNameless(ctx, before.image); err != nil {
		i.log.WarnContext(ctx, "removing an image that lost its name to another failed", "image_id", before.image, "err", err)
	}
}

// removeNameless removes an image that is noted by its ID, if it has no name. One
// that a container uses stays, and its note with it.
func (i *Images) removeNameless(ctx context.Context, id string) error {
	facts, err := i.engine.ImageFacts(ctx, id)
	if err != nil {
		return err
	}
	if facts.ID != "" && len(facts.Names) == 0 {
		if err := i.engine.RemoveImage(ctx, id); err != nil {
			return err
		}
		if facts, err = i.engine.ImageFacts(ctx, id); err != nil {
			return err
		}
	}
	if facts.ID == "" || len(facts.Names) > 0 {
		i.warn(ctx, i.notes.drop(id))
	}
	return nil
}

// dropIfGone forgets a name that nothing has. What it does not see is forgotten
// later.
func (i *Images) dropIfGone(ctx context.Context, ref string) {
	if facts, err := i.engine.ImageFacts(ctx, ref); err == nil && facts.ID == "" {
		i.warn(ctx, i.notes.drop(ref))
	}
}

func (i *Images) warn(ctx context.Context, err error) {
	if err != nil {
		i.log.WarnContext(ctx, "writing the notes on images failed", "err", err)
	}
}
