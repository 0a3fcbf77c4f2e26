package jobstest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// rebuild is what the memory knows of a rebuild. Its images are encoded, as Redis has them,
// by wave and name; one that has changed is another one.
type rebuild struct {
	head   jobs.Rebuild
	images []*rebuildImage
	at     map[string]int // in images
}

type rebuildImage struct {
	wave int
	name string
	raw  []byte
}

func newRebuild(head jobs.Rebuild, images []jobs.RebuildImage) *rebuild {
	r := &rebuild{head: copyJSON(head), at: map[string]int{}}
	for _, img := range images {
		r.images = append(r.images, &rebuildImage{img.Wave, img.Name, encode(img)})
	}
	slices.SortFunc(r.images, func(a, b *rebuildImage) int { return cmp.Or(a.wave-b.wave, cmp.Compare(a.name, b.name)) })
	for i, img := range r.images {
		r.at[img.name] = i
	}
	return r
}

// snapshot is the rebuild as it is now.
func (r *rebuild) snapshot() *rebuild { return &rebuild{r.head, slices.Clone(r.images), r.at} }

// rebuild returns what is known of a rebuild, nil for nothing. The caller holds the lock.
func (m *Memory) rebuild(id string) *rebuild {
	for _, r := range m.rebuilds {
		if r.head.ID == id {
			return r
		}
	}
	return nil
}

// BeginRebuild implements jobs.Rebuilds.
func (m *Memory) BeginRebuild(ctx context.Context, head jobs.Rebuild, images []jobs.RebuildImage) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.rebuild(head.ID) != nil {
		return nil
	}
	m.rebuilds = append(m.rebuilds, newRebuild(head, images))
	return nil
}

// Rebuild implements jobs.Rebuilds.
func (m *Memory) Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Rebuild{}, nil, err
	}
	defer m.mu.Unlock()
	r := m.rebuild(id)
	if r == nil {
		return jobs.Rebuild{}, nil, fmt.Errorf("%w: %s", jobs.ErrNoRebuild, id)
	}
	found := r.images
	if len(names) > 0 {
		var places []int
		for _, name := range names {
			if i, ok := r.at[name]; ok {
				places = append(places, i)
			}
		}
		slices.Sort(places)
		found = nil
		for _, i := range slices.Compact(places) {
			found = append(found, r.images[i])
		}
	}
	images := make([]jobs.RebuildImage, len(found))
	for i, img := range found {
		decode(img.raw, &images[i])
	}
	return copyJSON(r.head), images, nil
}

// Rebuilds implements jobs.Rebuilds.
func (m *Memory) Rebuilds(ctx context.Context) ([]jobs.Rebuild, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	list := []jobs.Rebuild{}
	for _, r := range slices.Backward(m.rebuilds) {
		list = append(list, copyJSON(r.head))
	}
	return list, nil
}

// ChangeRebuild implements jobs.Rebuilds.
func (m *Memory) ChangeRebuild(ctx context.Context, seen, next jobs.Rebuild, images ...jobs.RebuildImage) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	r := m.rebuild(seen.ID)
	if r == nil || r.head.Rev != seen.Rev {
		return false, nil
	}
	next.Rev = seen.Rev + 1
	r.head = copyJSON(next)
	for _, img := range images {
		r.images[r.at[img.Name]] = &rebuildImage{img.Wave, img.Name, encode(img)}
	}
	return true, nil
}

// ForgetRebuild implements jobs.Rebuilds.
func (m *Memory) ForgetRebuild(ctx context.Context, seen jobs.Rebuild) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.rebuilds = slices.DeleteFunc(m.rebuilds, func(r *rebuild) bool { return r.head.ID == seen.ID && r.head.Rev == seen.Rev })
	return nil
}

// PromoteTurn implements jobs.Rebuilds.
func (m *Memory) PromoteTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	now := m.clock.now()
	if m.promoter != nonce && now.Before(m.promotes) {
		return false, nil
	}
	m.promoter, m.promotes = nonce, now.Add(ttl)
	return true, nil
}
