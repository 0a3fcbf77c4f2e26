package jobs

import (
	"context"
	"time"
)

// BuiltBy says which attempt built an image.
type BuiltBy struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	Host    string `json:"host"`
	Engine  string `json:"engine,omitempty"`
	// Began and Ended bound the attempt, up to the end of its build, on Redis time.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

// KeyedBuild is a build that is known by its key, which stands for all that goes into it:
// builds with one key make images with one content.
type KeyedBuild struct {
	By BuiltBy `json:"by"`
	// Repositories are those that the image goes to, by their full names.
	Repositories []string `json:"repositories,omitempty"`
	// ImageID is that of the image on the host, "" as long as it is built. Then come
	// name@sha256:... of what was pushed, and the images that the build used.
	ImageID     string      `json:"image_id,omitempty"`
	RepoDigests []string    `json:"repo_digests,omitempty"`
	Bases       []BaseImage `json:"bases,omitempty"`
	// Failed is how the build with this key failed before, nil when it has not.
	Failed *FailedBuild `json:"failed,omitempty"`
}

// FailedBuild is how a build failed, by the fault of what went into it.
type FailedBuild struct {
	Job     string `json:"job"`
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
}

// Done reports whether there is an image.
func (b KeyedBuild) Done() bool { return b.ImageID != "" }

const (
	// BuildHold is how long a key is an attempt's that does not hold it again.
	BuildHold = 30 * time.Second
	// BuildKept is how long the farm remembers what came of a build.
	BuildKept = 24 * time.Hour
)

// Builds knows builds by their keys. It saves work, and no more: what it forgets is built
// again. All methods are safe for concurrent use.
type Builds interface {
	// BeginBuild gives a key to an attempt, unless another builds it or has built it, and
	// returns whose it is. A later attempt of the same job takes it from the one before. One
	// that gets the key is told how the build failed before.
	BeginBuild(ctx context.Context, key string, b KeyedBuild) (KeyedBuild, error)
	// HoldBuild reports whether the key is still the attempt's.
	HoldBuild(ctx context.Context, key string, b KeyedBuild) (bool, error)
	// EndBuild keeps what came of a build, an image or a failure, and gives the key up when
	// that is no image. Nothing changes while another attempt builds it.
	EndBuild(ctx context.Context, key string, b KeyedBuild) error
}
