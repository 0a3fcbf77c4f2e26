package jobs

import (
	"context"
	"errors"
	"time"
)

// ErrNoRebuild says that there is no rebuild of this ID; the farm forgets old ones.
var ErrNoRebuild = errors.New("no such rebuild")

// Cause says why the farm submitted a job by itself. A job of a producer has none.
type Cause struct {
	// Rebuild is the ID of the rebuild that the job builds an image for.
	Rebuild string `json:"rebuild"`
	// Tags are those that the rebuild moves to the image once it is verified. The job
	// pushes it under others.
	Tags []string `json:"tags,omitempty"`
	// Auto is true when no person asked for the job: then a build that has failed is not
	// tried again while nothing that goes into it has changed.
	Auto bool `json:"auto,omitempty"`
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
	// Auto is true when the farm began it by itself.
	Auto bool `json:"auto,omitempty"`
	// Priority is that of the jobs.
	Priority Priority `json:"priority"`
	// MaxParallel bounds how many of its jobs there are at once.
	MaxParallel int `json:"max_parallel"`
	// FailFast starts nothing more once an image has failed.
	FailFast bool `json:"fail_fast,omitempty"`
	// AllOrNothing moves all tags back once an image is not to be done.
	AllOrNothing bool         `json:"all_or_nothing,omitempty"`
	State        RebuildState `json:"state"`
	// Why says why the tags of one that is all or nothing are moved back, "" when they are
	// not.
	Why string `json:"why,omitempty"`
	// Tried is true once all canaries are done: the rebuild paused then.
	Tried bool `json:"tried,omitempty"`
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

// The states of a rebuild. The last four are final, but for a retry or a rollback.
const (
	RebuildRunning     RebuildState = "running"
	RebuildPaused      RebuildState = "paused"       // no job is submitted; those that are go on
	RebuildCancelling  RebuildState = "cancelling"   // its jobs are being ended
	RebuildRollingBack RebuildState = "rolling_back" // its tags are being moved back
	RebuildDone        RebuildState = "done"         // every image is built
	RebuildFailed      RebuildState = "failed"       // some are not
	RebuildCancelled   RebuildState = "cancelled"
	RebuildRolledBack  RebuildState = "rolled_back" // its tags are where they were
)

// Terminal reports whether the state is final.
func (s RebuildState) Terminal() bool {
	return s == RebuildDone || s == RebuildFailed || s == RebuildCancelled || s == RebuildRolledBack
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
	NoCache bool `json:"no_cache,omitempty"`
	// Changed are the bases that have another image by now, as far as the farm has looked.
	Changed []BaseMove `json:"changed,omitempty"`
	// Canary is true for an image that is built before all that are not.
	Canary bool `json:"canary,omitempty"`
	// Inherited is true when nothing but After asks for it: where those turn out to be
	// unchanged, so is this.
	Inherited bool       `json:"inherited,omitempty"`
	State     ImageState `json:"state"`
	// Try counts how often it was begun.
	Try int `json:"try,omitempty"`
	// Of is the job whose recipe is built again.
	Of string `json:"of,omitempty"`
	// Spec is the document of its job while that is not known to be submitted, Job its
	// ID afterwards.
	Spec *Spec  `json:"spec,omitempty"`
	Job  string `json:"job,omitempty"`
	// Why says why it failed, was blocked or skipped.
	Why string `json:"why,omitempty"`
	// Was and Is are the IDs of the image before and after.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
	// Moves are the tags that registries have for the image.
	Moves []TagMove `json:"moves,omitempty"`
	// Bases are the images that it stands on another version of now.
	Bases []BaseMove `json:"bases,omitempty"`
	// Gated is true when a gate let its tags move, and Promoted is when they were.
	Gated    bool      `json:"gated,omitempty"`
	Promoted time.Time `json:"promoted,omitzero"`
	// Then is what it becomes when its tags are back.
	Then ImageState `json:"then,omitempty"`
	// Trouble is since when a registry keeps its tags from being moved.
	Trouble time.Time `json:"trouble,omitzero"`
}

// TagMove is a tag that a rebuild moves, at its registry, from one image to another.
type TagMove struct {
	Tag string `json:"tag"`
	// From is the digest that the tag had before, "" for none. It is kept before the tag
	// is moved; until then Known is false.
	From  string `json:"from,omitempty"`
	Known bool   `json:"known,omitempty"`
	// To is the digest of the new image.
	To string `json:"to"`
}

// BaseMove is an image that another one stands on, before and after.
type BaseMove struct {
	Ref string `json:"ref"`
	// From and To are digests, "" when the build before, or that after, did not use it.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// ImageState is how far a rebuild has come with an image.
type ImageState string

// The states of an image. Those from done on are final, but for a retry or a rollback.
const (
	ImageWaiting    ImageState = "waiting"     // for the images that it stands on, or for its turn
	ImageBuilding   ImageState = "building"    // its job is submitted, or about to be
	ImagePromoting  ImageState = "promoting"   // it is built and verified, and its tags are being moved
	ImageReverting  ImageState = "reverting"   // its tags are being moved back
	ImageDone       ImageState = "done"        // it is built, and its tags are moved
	ImageUnchanged  ImageState = "unchanged"   // its content is what it was, so its tags stay
	ImageFailed     ImageState = "failed"      // its job did not succeed, or it was refused
	ImageBlocked    ImageState = "blocked"     // an image that it stands on is not done
	ImageSkipped    ImageState = "skipped"     // it was not begun, and is not to be
	ImageRolledBack ImageState = "rolled_back" // it was done, and its tags are where they were
)

// ImageStates lists every state, the good ends first.
func ImageStates() []ImageState {
	return []ImageState{
		ImageDone, ImageUnchanged, ImageRolledBack, ImagePromoting, ImageReverting, ImageBuilding, ImageWaiting, ImageFailed, ImageBlocked, ImageSkipped,
	}
}

// Terminal reports whether the state is final.
func (s ImageState) Terminal() bool {
	switch s {
	case ImageWaiting, ImageBuilding, ImagePromoting, ImageReverting:
		return false
	}
	return true
}

// Good reports whether what stands on the image may be built.
func (s ImageState) Good() bool { return s == ImageDone || s == ImageUnchanged }

// Rebuilds keeps what the farm rebuilds. All methods are safe for concurrent use.
type Rebuilds interface {
	// BeginRebuild keeps a new rebuild. Beginning it again changes nothing.
	BeginRebuild(ctx context.Context, r Rebuild, images []RebuildImage) error
	// Rebuild returns a rebuild with its images by wave and name, or ErrNoRebuild; with
	// names only those of its images. An image that cannot be read has failed.
	Rebuild(ctx context.Context, id string, names ...string) (Rebuild, []RebuildImage, error)
	// Rebuilds lists all rebuilds, the newest first.
	Rebuilds(ctx context.Context) ([]Rebuild, error)
	// ChangeRebuild replaces a rebuild and some of its images if nothing of it has changed
	// since it was seen, and changes nothing otherwise. false means that another caller was
	// faster, or that it is forgotten. What was changed has the Rev of seen plus one.
	ChangeRebuild(ctx context.Context, seen, next Rebuild, images ...RebuildImage) (bool, error)
	// ForgetRebuild removes a rebuild that has not changed since it was seen.
	ForgetRebuild(ctx context.Context, seen Rebuild) error
	// PromoteTurn makes nonce the only one that moves tags, for ttl, or prolongs that.
	// false means that another one does.
	PromoteTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error)
}

func (p *problems) cause(c Cause) {
	if !IsID(c.Rebuild) {
		p.add("cause_invalid", "/cause/rebuild", "found %q; want the ID of a rebuild", Clip(c.Rebuild))
	}
}
