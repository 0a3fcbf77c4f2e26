package docker

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/mount"
)

// Written implements engine.Engine.
func (e *Engine) Written(ctx context.Context, id string) (bytes int64, err error) {
	have, _, err := e.cli.ContainerInspectWithRaw(ctx, id, true)
	if errdefs.IsNotFound(err) {
		return 0, containerLost(id, err)
	} else if err != nil {
		return 0, failure(ctx, err, "measure the container")
	}
	if have.SizeRw != nil {
		bytes = *have.SizeRw
	}
	volumes := map[string]bool{}
	for _, m := range have.Mounts {
		if m.Type == mount.TypeVolume {
			volumes[m.Name] = true
		}
	}
	if len(volumes) == 0 {
		return bytes, nil
	}
	// The engine measures all volumes or none.
	usage, err := e.cli.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.VolumeObject}})
	if err != nil {
		return 0, failure(ctx, err, "measure the container's volumes")
	}
	for _, v := range usage.Volumes {
		if volumes[v.Name] && v.UsageData != nil {
			bytes += max(v.UsageData.Size, 0)
		}
	}
	return bytes, nil
}
