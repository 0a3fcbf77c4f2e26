package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNoRebuild says that there is no rebuild of this ID; the farm forgets old ones.
var ErrNoRebuild = errors.New("no such rebuild")

// Cause says why the farm submitted a job by itself. A job of a producer has none.
type Cause struct {
	// Rebuild is the ID of the rebuild that the job builds an image for.
	Rebuild string `json:"rebuild"`
}

// Rebuild is a plan that the farm carries out: it submits a job for each image, as soon
// as the images that it stands on are done. All that holds for jobs holds for those.
type Rebuild struct {
	// ID is that of a job, which no job has.
	ID string `json:"id"`
	// Plan is the hash of the plan, Question what it was asked for, By who asked.
	Plan     string `json:"plan"`
	Question string `json:"question"`
	By       string `json:"by,omitempty"`
	// Priority is that of the jobs.
	Priority Priority `json:"priority"`
	// MaxParallel bounds how many of its jobs there are at once.
	MaxParallel int `json:"max_parallel"`
	// FailFast starts nothing more once an image has failed.
	FailFast bool         `json:"fail_fast,omitempty"`
	State    RebuildState `json:"state"`
	// CancelledBy is who cancelled it.
	CancelledBy string    `json:"cancelled_by,omitempty"`
	Created     time.Time `json:"created"`
	// Ended is when the last of its jobs had ended, zero before.
	Ended time.Time `json:"ended,omitzero"`
	// Rev counts the changes of the rebuild and of its images.
	Rev int64 `json:"rev"`
}

// RebuildState is the state of a rebuild in one word.
type RebuildState string

// The states of a rebuild. The last three are final, but for a retry.
const (
	RebuildRunning    RebuildState = "running"
	RebuildPaused     RebuildState = "paused"     // no job is submitted; those that are go on
	RebuildCancelling RebuildState = "cancelling" // its jobs are being ended
	RebuildDone       RebuildState = "done"       // every image is built
	RebuildFailed     RebuildState = "failed"     // some are not
	RebuildCancelled  RebuildState = "cancelled"
)

// Terminal reports whether the state is final.
func (s RebuildState) Terminal() bool {
	return s == RebuildDone || s == RebuildFailed || s == RebuildCancelled
}

// RebuildImage is an image of a rebuild.
type RebuildImage struct {
	// Name is that of the recipe, and Wave that of the plan.
	Name string `json:"name"`
	Wave int    `json:"wave"`
	// Because says why it is built, in words.
	Because string `json:"because"`
	// After are the images of the rebuild that it stands on.
	After []string `json:"after,omitempty"`
	// NoCache has every step run again: it is built for the packages that they install.
	NoCache bool       `json:"no_cache,omitempty"`
	State   ImageState `json:"state"`
	// Try counts how often it was begun.
	Try int `json:"try,omitempty"`
	// Spec is the document of its job while that is not known to be submitted, Job its
	// ID afterwards.
	Spec *Spec  `json:"spec,omitempty"`
	Job  string `json:"job,omitempty"`
	// Why says why it failed, was blocked or skipped.
	Why string `json:"why,omitempty"`
	// Was and Is are the IDs of the image before and after.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// ImageState is how far a rebuild has come with an image.
type ImageState string

// The states of an image. All but the first two are final, but for a retry.
const (
	ImageWaiting  ImageState = "waiting"  // for the images that it stands on, or for its turn
	ImageBuilding ImageState = "building" // its job is submitted, or about to be
	ImageDone     ImageState = "done"     // it is built, and pushed where its recipe says so
	ImageFailed   ImageState = "failed"   // its job did not succeed
	ImageBlocked  ImageState = "blocked"  // an image that it stands on is not done
	ImageSkipped  ImageState = "skipped"  // it was not begun, and is not to be
)

// Terminal reports whether the state is final.
func (s ImageState) Terminal() bool { return s != ImageWaiting && s != ImageBuilding }

// Rebuilds keeps what the farm rebuilds. All methods are safe for concurrent use.
type Rebuilds interface {
	// BeginRebuild keeps a new rebuild. Beginning it again changes nothing.
	BeginRebuild(ctx context.Context, r Rebuild, images []RebuildImage) error
	// Rebuild returns a rebuild with its images by wave and name, or ErrNoRebuild. An image
	// that cannot be read has failed.
	Rebuild(ctx context.Context, id string) (Rebuild, []RebuildImage, error)
	// Rebuilds lists all rebuilds, the newest first.
	Rebuilds(ctx context.Context) ([]Rebuild, error)
	// ChangeRebuild replaces a rebuild and some of its images if nothing of it has changed
	// since it was seen, and changes nothing otherwise. false means that another caller was
	// faster, or that it is forgotten.
	ChangeRebuild(ctx context.Context, seen, next Rebuild, images ...RebuildImage) (bool, error)
	// ForgetRebuild removes a rebuild that has not changed since it was seen.
	ForgetRebuild(ctx context.Context, seen Rebuild) error
}

func (p *problems) cause(c Cause) {
	if !IsID(c.Rebuild) {
		p.add("cause_invalid", "/cause/rebuild", "found %q; want the ID of a rebuild", Clip(c.Rebuild))
	}
}

// RebuildSpec is the document of the job that builds an image of a rebuild again. Pull has
// the daemon look at the registry for what has no digest yet: what it has may be as old as
// the image. That fails for an image that only this host has, so it is left out then.
func RebuildSpec(r Rebuild, img RebuildImage, recipe Recipe) Spec {
	spec := copySpec(recipe.Spec)
	spec.Cause, spec.Run, spec.Priority = &Cause{Rebuild: r.ID}, nil, r.Priority
	spec.IdempotencyKey = fmt.Sprintf("rebuild/%s/%s/%d", r.ID, img.Name, img.Try)
	switch source := recipe.Settings.Source; {
	case source != nil:
		c := *source
		spec.Context = &c
	case spec.Context != nil && !strings.HasPrefix(spec.Context.Ref, "cas:"):
		spec.Context.Digest = recipe.Context // the same, or none
	}
	spec.Build.NoCache = spec.Build.NoCache || img.NoCache
	spec.Build.Pull = true
	for _, m := range recipe.Materials {
		if m.Local {
			spec.Build.Pull = recipe.Spec.Build.Pull
		}
	}
	return spec.Normalize()
}

// copySpec copies what RebuildSpec changes.
func copySpec(s Spec) Spec {
	b := *s.Build
	s.Build = &b
	if s.Context != nil {
		c := *s.Context
		s.Context = &c
	}
	return s
}
