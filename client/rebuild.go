package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// RebuildQuestion is which images are to be built again. With them go all that stand on them.
type RebuildQuestion struct {
	// Bases are images that have changed, by any of their names.
	Bases []string `json:"bases,omitempty"`
	// Names are recipes, * for any characters.
	Names []string `json:"names,omitempty"`
	// Stale asks for images on an older base than workers have found, or older than their
	// recipes' max age, All for every image.
	Stale bool `json:"stale,omitempty"`
	All   bool `json:"all,omitempty"`
}

// RebuildRequest is a question, and how what it asks for is built.
type RebuildRequest struct {
	RebuildQuestion
	// ID is that of the new rebuild. Without one the client makes one for each call.
	ID string `json:"id,omitempty"`
	// Plan is the hash of the plan that was looked at: another one is refused.
	Plan string `json:"plan,omitempty"`
	// Priority is high, normal or low, which is the default.
	Priority string `json:"priority,omitempty"`
	// MaxParallel is how many of its jobs there may be at once, 0 for the default.
	MaxParallel int `json:"max_parallel,omitempty"`
	// FailFast begins nothing more once an image has failed, AllOrNothing moves all tags back
	// then.
	FailFast     bool `json:"fail_fast,omitempty"`
	AllOrNothing bool `json:"all_or_nothing,omitempty"`
	// Canaries is how many images are built before the others, with what they stand on.
	Canaries int `json:"canaries,omitempty"`
}

// Plan is what is built again, and in which order: by wave, then by name.
type Plan struct {
	Images []PlannedImage `json:"images"`
	// LeftOut are images that the question is about and that are not built, Unread recipes
	// that cannot be read.
	LeftOut []LeftOut `json:"left_out"`
	Unread  []LeftOut `json:"unread,omitempty"`
	Waves   int       `json:"waves"`
	// Work is how long the builds take one after the other, Longest the longest chain of them.
	Work    Duration `json:"work"`
	Longest Duration `json:"longest"`
	// Hash is the same for as long as the same images would be built from the same sources, in
	// the same order and for the same reasons.
	Hash string `json:"hash"`
}

// PlannedImage is an image of a plan.
type PlannedImage struct {
	Name string `json:"name"`
	// Wave counts from 1: all that an image stands on is in an earlier one.
	Wave    int             `json:"wave"`
	Reasons []RebuildReason `json:"reasons"`
	// After are the images of the plan that it stands on, Unpushed those of them that only a
	// build host has.
	After    []string `json:"after,omitempty"`
	Unpushed []string `json:"unpushed,omitempty"`
	// Job is the one whose recipe is built again, Made when it had its image.
	Job  string    `json:"job"`
	Made time.Time `json:"made"`
	// Source is where the context is fetched from anew; nil is the one with the digest Context,
	// from Ref.
	Source  *Context `json:"source,omitempty"`
	Context string   `json:"context,omitempty"`
	Ref     string   `json:"ref,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Took    Duration `json:"took,omitempty"`
}

// RebuildReason is why an image is built again.
type RebuildReason struct {
	// Kind is base, parent, name or age.
	Kind string `json:"kind"`
	// Ref is the changed base or the tag of Parent, Digest what it was when the image was
	// built, and Now what the base is since Since.
	Ref    string    `json:"ref,omitempty"`
	Digest string    `json:"digest,omitempty"`
	Now    string    `json:"now,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Parent string    `json:"parent,omitempty"`
}

// LeftOut is an image that is not built, and why.
type LeftOut struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Rebuild is a plan that the farm carries out.
type Rebuild struct {
	ID string `json:"id"`
	// Plan is the hash of the plan, Question what it was asked for, By who asked.
	Plan         string       `json:"plan"`
	Question     string       `json:"question"`
	By           string       `json:"by,omitempty"`
	Auto         bool         `json:"auto,omitempty"`
	Priority     string       `json:"priority"`
	MaxParallel  int          `json:"max_parallel"`
	FailFast     bool         `json:"fail_fast,omitempty"`
	AllOrNothing bool         `json:"all_or_nothing,omitempty"`
	State        RebuildState `json:"state"`
	// Why says why the tags of one that is all or nothing are moved back.
	Why string `json:"why,omitempty"`
	// Tried is true once all canaries are done: it paused then.
	Tried       bool      `json:"tried,omitempty"`
	CancelledBy string    `json:"cancelled_by,omitempty"`
	Created     time.Time `json:"created"`
	Ended       time.Time `json:"ended,omitzero"`
	// Rev counts its changes.
	Rev    int64          `json:"rev"`
	Images []RebuildImage `json:"images,omitempty"`
}

// RebuildState is where a rebuild is in its life.
type RebuildState string

// The states of a rebuild.
const (
	RebuildRunning     RebuildState = "running"
	RebuildPaused      RebuildState = "paused"
	RebuildCancelling  RebuildState = "cancelling"   // its jobs are being ended
	RebuildRollingBack RebuildState = "rolling_back" // its tags are being moved back
	RebuildDone        RebuildState = "done"         // every image is built
	RebuildFailed      RebuildState = "failed"       // some are not
	RebuildCancelled   RebuildState = "cancelled"
	RebuildRolledBack  RebuildState = "rolled_back" // its tags are where they were
)

// Ended reports whether a rebuild has ended, but for a retry or a rollback.
func (s RebuildState) Ended() bool {
	switch s {
	case RebuildDone, RebuildFailed, RebuildCancelled, RebuildRolledBack:
		return true
	}
	return false
}

// RebuildImage is an image of a rebuild.
type RebuildImage struct {
	Name    string `json:"name"`
	Wave    int    `json:"wave"`
	Because string `json:"because"`
	// After are the images of the rebuild that it stands on.
	After []string `json:"after,omitempty"`
	// NoCache has every step run again.
	NoCache bool `json:"no_cache,omitempty"`
	// Changed are the bases that have another image by now.
	Changed   []BaseMove `json:"changed,omitempty"`
	Canary    bool       `json:"canary,omitempty"`
	Inherited bool       `json:"inherited,omitempty"`
	// State is waiting, building, promoting, reverting, done, unchanged, failed, blocked,
	// skipped or rolled_back.
	State string    `json:"state"`
	Try   int       `json:"try,omitempty"`
	Of    string    `json:"of,omitempty"`
	Spec  *Document `json:"spec,omitempty"`
	// Job is the ID of its job, Why says why it failed, was blocked or skipped.
	Job string `json:"job,omitempty"`
	Why string `json:"why,omitempty"`
	// Was and Is are the IDs of the image before and after, Moves its tags.
	Was   string    `json:"was,omitempty"`
	Is    string    `json:"is,omitempty"`
	Moves []TagMove `json:"moves,omitempty"`
	// Bases are the images that it stands on another version of now.
	Bases    []BaseMove `json:"bases,omitempty"`
	Gated    bool       `json:"gated,omitempty"`
	Promoted time.Time  `json:"promoted,omitzero"`
	Then     string     `json:"then,omitempty"`
	// Trouble is since when a registry keeps its tags from being moved.
	Trouble time.Time `json:"trouble,omitzero"`
}

// TagMove is a tag that a rebuild moves from one image to another.
type TagMove struct {
	Tag string `json:"tag"`
	// From is the digest that the tag had before, "" for none, once that is Known.
	From  string `json:"from,omitempty"`
	Known bool   `json:"known,omitempty"`
	To    string `json:"to"`
}

// BaseMove is an image that another one stands on, before and after.
type BaseMove struct {
	Ref  string `json:"ref"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// PlanRebuild asks for a plan, which changes nothing. What cannot be planned is a [*Problem] of
// kind rebuild_impossible.
func (c *Client) PlanRebuild(ctx context.Context, q RebuildQuestion) (plan Plan, err error) {
	err = c.post(ctx, "/v1/rebuilds/plan", q, &plan)
	return plan, err
}

// BeginRebuild has images built again. A rebuild without an ID says that there is nothing to
// build. Another plan than the one that was looked at, and images that another rebuild is about
// to build, are a [*Problem] of kind rebuild_conflict.
func (c *Client) BeginRebuild(ctx context.Context, r RebuildRequest) (begun Rebuild, err error) {
	if r.ID == "" {
		r.ID = "client-" + strings.ToLower(rand.Text())
	}
	err = c.post(ctx, "/v1/rebuilds", r, &begun)
	return begun, err
}

// post asks for something. Asked twice it does what it does once.
func (c *Client) post(ctx context.Context, path string, question, answer any) error {
	raw, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode the question: %w", err)
	}
	_, err = c.document(ctx, call{method: http.MethodPost, path: path, body: raw, again: true}.with("Content-Type", "application/json"), answer)
	return err
}

// Rebuild reads a rebuild with its images.
func (c *Client) Rebuild(ctx context.Context, id string) (r Rebuild, err error) {
	_, err = c.document(ctx, call{method: http.MethodGet, path: rebuildPath(id), again: true}, &r)
	return r, err
}

func rebuildPath(id string) string { return "/v1/rebuilds/" + url.PathEscape(id) }

// WaitRebuild waits until a rebuild has ended, or has paused after its canaries, however long
// that takes; ctx bounds it. That images have failed is no error.
func (c *Client) WaitRebuild(ctx context.Context, id string) (Rebuild, error) {
	return wait(ctx, c, rebuildPath(id), func(r Rebuild) bool { return r.State.Ended() || r.State == RebuildPaused && r.Tried })
}

// RebuildVerb is something that is done with a rebuild.
type RebuildVerb string

// The verbs. The last two are for rebuilds that have ended.
const (
	PauseRebuild    RebuildVerb = "pause"    // begin no more images
	ResumeRebuild   RebuildVerb = "resume"   // go on
	CancelRebuild   RebuildVerb = "cancel"   // end its jobs; images that are done stay
	RetryRebuild    RebuildVerb = "retry"    // build the images again that are not done
	RollBackRebuild RebuildVerb = "rollback" // move the tags back where they were
)

// ChangeRebuild does a verb with a rebuild. One that is in no state for that is a [*Problem] of
// kind rebuild_conflict. It is not tried again when the connection breaks.
func (c *Client) ChangeRebuild(ctx context.Context, id string, verb RebuildVerb) (r Rebuild, err error) {
	_, err = c.document(ctx, call{method: http.MethodPost, path: rebuildPath(id) + "/" + url.PathEscape(string(verb))}, &r)
	return r, err
}
