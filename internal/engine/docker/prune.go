package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/slipway-farm/slipway/internal/engine"
)

// ImageFacts describes what has a name, or an ID, on the host.
func (e *Engine) ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error) {
	img, err := e.cli.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return engine.ImageFacts{}, nil
	} else if err != nil {
		return engine.ImageFacts{}, failure(ctx, err, "look for image "+ref)
	}
	return engine.ImageFacts{ID: img.ID, Size: img.Size, Names: img.RepoTags}, nil
}

// ImageInUse reports whether a container, running or not, was made of an image.
func (e *Engine) ImageInUse(ctx context.Context, id string) (bool, error) {
	// The filter finds containers of images that stand on it as well.
	all, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("ancestor", id))})
	if err != nil {
		return false, failure(ctx, err, "list the containers of an image")
	}
	for _, c := range all {
		if c.ImageID == id {
			return true, nil
		}
	}
	return false, nil
}

// UnusedCache is how much build cache no build used for so long, in bytes, as far
// as no image has it, too. With the containerd image store it is all of it: version 29
// takes a step on top of a base for a part of that base's image, and never learns better.
func (e *Engine) UnusedCache(ctx context.Context, unused time.Duration) (bytes int64, err error) {
	cache, err := e.buildCache(ctx)
	if err != nil {
		return 0, err
	}
	containerd, err := e.containerdStore(ctx)
	if err != nil {
		return 0, err
	}
	before := time.Now().Add(-unused)
	for _, r := range cache {
		last := r.CreatedAt
		if r.LastUsedAt != nil {
			last = *r.LastUsedAt
		}
		if !r.InUse && (containerd || !r.Shared) && last.Before(before) {
			bytes += r.Size
		}
	}
	return bytes, nil
}

// buildCache lists the records of the build cache.
func (e *Engine) buildCache(ctx context.Context) ([]*build.CacheRecord, error) {
	usage, err := e.cli.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.BuildCacheObject}})
	if err != nil {
		return nil, failure(ctx, err, "measure the build cache")
	}
	return usage.BuildCache, nil
}

// CacheTimes tells when parts of the build cache were made and when each was used last.
func (e *Engine) CacheTimes(ctx context.Context) ([]time.Time, error) {
	cache, err := e.buildCache(ctx)
	if err != nil {
		return nil, err
	}
	var all []time.Time
	for _, r := range cache {
		all = append(all, r.CreatedAt)
		if r.LastUsedAt != nil {
			all = append(all, *r.LastUsedAt)
		}
	}
	return all, nil
}

// PruneCache removes what UnusedCache counts and returns what that freed. The
// daemon leaves alone what a build uses, or what stands on something younger.
func (e *Engine) PruneCache(ctx context.Context, unused time.Duration) (bytes int64, err error) {
	report, err := e.cli.BuildCachePrune(ctx, build.CachePruneOptions{All: true, Filters: filters.NewArgs(filters.Arg("until", unused.String()))})
	if err != nil {
		return 0, failure(ctx, err, "remove build cache")
	}
	return int64(report.SpaceReclaimed), nil // no disk has so many bytes
}
