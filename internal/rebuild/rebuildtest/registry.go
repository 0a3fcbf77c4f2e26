// Package rebuildtest has what tests of rebuilds need: a registry in memory.
package rebuildtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
	"sync"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Registry is all registries of a farm. It is a rebuild.Tags, safe for concurrent use.
type Registry struct {
	mu    sync.Mutex
	tags  map[string]string // by full name
	same  map[string]bool
	moves []string
	says  func(call, tag string) error
}

// NewRegistry is a registry that has the images of recipes, each under a digest of its own.
func NewRegistry(recipes []jobs.Recipe) *Registry {
	r := &Registry{tags: map[string]string{}, same: map[string]bool{}, says: func(string, string) error { return nil }}
	for _, recipe := range recipes {
		for _, tag := range recipe.Tags {
			r.Push(tag, "old "+recipe.Name)
		}
	}
	return r
}

// Says has the registry answer with what says returns, which is called with "tagged",
// "retag", "retagged" (when that has taken effect) or "same".
func (r *Registry) Says(says func(call, tag string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = says
}

// Push gives a tag to an image, as a build host or another producer does.
func (r *Registry) Push(tag, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[imagename.Full(tag)] = digest
}

// SayUnchanged makes the content of a digest that of what it is compared with.
func (r *Registry) SayUnchanged(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.same[digest] = true
}

// At is the digest under a tag, "" for none.
func (r *Registry) At(tag string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tags[imagename.Full(tag)]
}

// All are the digests by the full names of their tags, without the tags that rebuilds push
// under.
func (r *Registry) All() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(r.tags)
	maps.DeleteFunc(all, func(tag, _ string) bool { return strings.Contains(tag, ":slipway-") })
	return all
}

// Moves are the tags that were moved, in order: "tag digest".
func (r *Registry) Moves() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.moves...)
}

// Build notes in a result what a build of a job has pushed, and that it stood on the
// materials of its recipe as they are now.
func (r *Registry) Build(job jobs.Job, recipe jobs.Recipe, res *jobs.Result) {
	if job.Spec.Build == nil || !job.Spec.Build.Push {
		return
	}
	sum := sha256.Sum256([]byte(job.ID))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	for _, tag := range job.Spec.Build.Tags {
		r.Push(tag, digest)
		res.Tags = append(res.Tags, tag)
		res.RepoDigests = append(res.RepoDigests, imagename.Repository(imagename.Full(tag))+"@"+digest)
	}
	for _, b := range recipe.Materials {
		if now := r.At(b.Ref); now != "" && !b.Pinned {
			b.Digest = now
		}
		res.Bases = append(res.Bases, b)
	}
}

// Tagged implements rebuild.Tags.
func (r *Registry) Tagged(_ context.Context, tag string) (string, error) {
	if err := r.answer("tagged", tag); err != nil {
		return "", err
	}
	return r.At(tag), nil
}

// Retag implements rebuild.Tags.
func (r *Registry) Retag(_ context.Context, tag, digest string) error {
	if err := r.answer("retag", tag); err != nil {
		return err
	}
	r.Push(tag, digest)
	r.mu.Lock()
	r.moves = append(r.moves, tag+" "+digest)
	r.mu.Unlock()
	return r.answer("retagged", tag)
}

// SameContent implements rebuild.Tags.
func (r *Registry) SameContent(_ context.Context, _, _, b string) (bool, error) {
	err := r.answer("same", "")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.same[b] && err == nil, err
}

func (r *Registry) answer(call, tag string) error {
	r.mu.Lock()
	says := r.says
	r.mu.Unlock()
	return says(call, tag)
}
