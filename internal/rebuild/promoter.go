package rebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Promoter moves the tags of images that are built and verified, and moves them back. It
// keeps nothing but which images it works on: what a tag had before is kept with the
// rebuild before the tag is moved, so that the next promoter goes on where one was cut
// off. One in the farm works at a time, on some images side by side.
type Promoter struct {
	log      *slog.Logger
	rebuilds jobs.Rebuilds
	recipes  LearnedRecipes
	jobs     Jobs
	tags     Tags
	opts     PromoterOptions
	slots    chan struct{} // held during a step

	mu sync.Mutex
	// woken are images that nothing was done for yet, under those and the ones that are
	// worked on, and moved the rebuilds of which an image has come further.
	woken []imageOf
	under map[imageOf]bool
	moved []string
	wake  chan struct{}
}

// imageOf is an image of a rebuild.
type imageOf struct{ rebuild, name string }

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
	// AtOnce is how many images it works on side by side, 4 when 0: a gate that does not
	// answer, or large layers, must not hold up all others.
	AtOnce int
}

// NewPromoter makes a Promoter.
func NewPromoter(lg *slog.Logger, rebuilds jobs.Rebuilds, recipes LearnedRecipes, js Jobs, tags Tags, o PromoterOptions) *Promoter {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if o.Settle == 0 {
		o.Settle = 2 * time.Second
	}
	if o.AtOnce == 0 {
		o.AtOnce = 4
	}
	return &Promoter{
		log: lg, rebuilds: rebuilds, recipes: recipes, jobs: js, tags: tags, opts: o, slots: make(chan struct{}, o.AtOnce),
		under: map[imageOf]bool{}, wake: make(chan struct{}, 1),
	}
}

// Wake has the promoter look at images of a rebuild soon.
func (p *Promoter) Wake(id string, names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if img := (imageOf{id, name}); !p.under[img] {
			p.under[img] = true
			p.woken = append(p.woken, img)
		}
	}
	p.signal()
}

func (p *Promoter) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run works on the images that it is woken for until ctx ends. It calls moved for a rebuild
// of which an image has come further.
func (p *Promoter) Run(ctx context.Context, moved func(ctx context.Context, id string) error) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		woken, rebuilds := p.news()
		for _, img := range woken {
			all.Go(func() { p.work(ctx, img) })
		}
		for _, id := range rebuilds {
			if err := moved(ctx, id); err != nil {
				p.warn(ctx, id, err)
				time.AfterFunc(lookAgain, func() { p.further(id) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
	}
}

// news is what there is to do that was not begun.
func (p *Promoter) news() (woken []imageOf, moved []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	woken, moved = p.woken, p.moved
	p.woken, p.moved = nil, nil
	return woken, moved
}

// lookAgain is how soon a promoter looks again at what another one had the turn for, or of
// which Redis said nothing.
const lookAgain = 5 * time.Second

// work takes an image as far as it comes, and tells Run.
func (p *Promoter) work(ctx context.Context, img imageOf) {
	for ctx.Err() == nil {
		further, err := p.carry(ctx, img.rebuild, img.name)
		if further {
			p.further(img.rebuild)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errTurn) {
			p.warn(ctx, img.rebuild, err)
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.under, img)
}

// further has Run tell that an image of a rebuild has come further.
func (p *Promoter) further(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.moved, id) {
		p.moved = append(p.moved, id)
	}
	p.signal()
}

func (p *Promoter) warn(ctx context.Context, id string, err error) {
	if ctx.Err() == nil {
		p.log.WarnContext(ctx, "moving the tags of a rebuild failed; tried again", "rebuild", id, "err", err)
	}
}

// Promote does what can be done now for the tags of a rebuild, with names only for those of
// its images. changed is true when an image has come further.
func (p *Promoter) Promote(ctx context.Context, id string, names ...string) (changed bool, err error) {
	_, images, err := p.rebuilds.Rebuild(ctx, id, names...)
	if errors.Is(err, jobs.ErrNoRebuild) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var mu sync.Mutex // guards changed and err
	var all sync.WaitGroup
	slots := make(chan struct{}, p.opts.AtOnce)
	for _, img := range images {
		if !underWay(&img) {
			continue
		}
		slots <- struct{}{} // the first ones come first
		all.Go(func() {
			defer func() { <-slots }()
			further, failed := p.carry(ctx, id, img.Name)
			if errors.Is(failed, errTurn) {
				failed = nil
			}
			mu.Lock()
			defer mu.Unlock()
			changed, err = changed || further, errors.Join(err, failed)
		})
	}
	all.Wait()
	return changed, err
}

// underWay reports whether a promoter has to take an image further.
func underWay(img *jobs.RebuildImage) bool {
	return img.State == jobs.ImagePromoting || img.State == jobs.ImageReverting
}

// carry takes an image as far as it comes now. further is true when its state is another one.
// It fails with errTurn when another promoter has the turn.
func (p *Promoter) carry(ctx context.Context, id, name string) (further bool, err error) {
	var ready time.Time // when what is kept of it is safe
	for {
		one, err := p.once(ctx, id, name, &ready)
		further = further || one.further
		if err != nil || one.over {
			return further, err
		}
		select {
		case <-time.After(one.wait): // what is kept by then counts
		case <-ctx.Done():
			return further, ctx.Err()
		}
	}
}

// progress is what one look at an image has led to: whether its state is another one,
// whether it comes no further now, and else how long it has to wait.
type progress struct {
	further, over bool
	wait          time.Duration
}

// once takes an image one step further.
func (p *Promoter) once(ctx context.Context, id, name string, ready *time.Time) (progress, error) {
	over := progress{over: true}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return over, ctx.Err()
	}
	if err := p.inTurn(ctx); err != nil {
		return over, err
	}
	head, images, err := p.rebuilds.Rebuild(ctx, id, name)
	switch {
	case errors.Is(err, jobs.ErrNoRebuild):
		return over, nil
	case err != nil:
		return over, err
	case len(images) == 0 || !underWay(&images[0]):
		return over, nil
	}
	img := images[0]
	if left := p.unsafe(img, ready); left > 0 {
		return progress{wait: left}, nil
	}
	stop := p.keepTurn(ctx)
	next, err := p.step(ctx, head, img)
	stop()
	var held *heldError
	switch {
	case errors.As(err, &held):
		if next.Why == img.Why && !img.Trouble.IsZero() {
			return over, nil
		}
	case err != nil:
		return over, fmt.Errorf("rebuild %s, image %s: %w", id, name, err)
	}
	kept, err := p.keep(ctx, head, img, next)
	if err != nil {
		return over, err
	}
	if kept {
		p.tell(ctx, head, img, next)
	}
	return progress{further: kept && next.State != img.State, over: held != nil}, nil
}

// unsafe is how long what the tags of an image had has to be kept still before they are
// moved; ready remembers since when it is.
func (p *Promoter) unsafe(img jobs.RebuildImage, ready *time.Time) time.Duration {
	if img.State != jobs.ImagePromoting || !img.Moves[0].Known {
		*ready = time.Time{} // or not any more, by a Redis that has lost it
		return 0
	}
	if ready.IsZero() {
		*ready = time.Now().Add(p.opts.Settle)
	}
	return time.Until(*ready)
}

// keep keeps what has become of an image, unless that was changed meanwhile. That other
// images were is no reason to do it again: a gate may have taken minutes. false means that
// it has to be looked at again.
func (p *Promoter) keep(ctx context.Context, head jobs.Rebuild, was, next jobs.RebuildImage) (bool, error) {
	for {
		kept, err := p.rebuilds.ChangeRebuild(ctx, head, head, next)
		if kept || err != nil {
			return kept, err
		}
		now, images, err := p.rebuilds.Rebuild(ctx, head.ID, was.Name)
		if errors.Is(err, jobs.ErrNoRebuild) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if now.State != head.State || len(images) == 0 || !reflect.DeepEqual(images[0], was) {
			return false, nil
		}
		head = now
	}
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
