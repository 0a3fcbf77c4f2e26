package docker

import (
	"cmp"
	"strconv"

	"github.com/docker/docker/api/types/build"
	"github.com/moby/buildkit/client"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// cacheSpaceArg is the argument by which frontends keep cache mounts apart; none
// shows it to the steps unless the Dockerfile declares it.
const cacheSpaceArg = "BUILDKIT_CACHE_MOUNT_NS"

// buildOptions are what a build asks for, in the terms of both ways to the daemon.
type buildOptions struct {
	// request is the daemon's build request.
	request build.ImageBuildOptions
	// solve is what the daemon makes of such a request, for BuildKit's own
	// interface.
	solve client.SolveOpt
}

// optionsOf translates a build. What is passed through is one line for both ways,
// so that none of them lacks an option.
func optionsOf(b engine.Build) buildOptions {
	o := buildOptions{
		request: build.ImageBuildOptions{
			Version: build.BuilderBuildKit, Tags: []string{b.Name},
			Remove: true, ForceRemove: true, // the zero values ask for leftovers
		},
		solve: client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{}, Exports: toImage(b.Name)},
	}
	o.text("filename", cmp.Or(b.Spec.Dockerfile, jobs.DefaultDockerfile), &o.request.Dockerfile)
	o.text("target", b.Spec.Target, &o.request.Target)
	o.text("platform", b.Spec.Platform, &o.request.Platform)
	o.toggle("no-cache", b.Spec.NoCache, &o.request.NoCache)
	o.labels(b.Spec.Labels)
	o.args(b.Spec.Args, b.CacheSpace)
	o.network(b.Spec.Network)
	o.pull(b.Spec.Pull)
	o.cacheFrom(b.Spec.CacheFrom)
	return o
}

// text is an option that the frontend has as an attribute with a value.
func (o *buildOptions) text(attr, v string, request *string) {
	*request = v
	if v != "" {
		o.solve.FrontendAttrs[attr] = v
	}
}

// toggle is an option that the frontend has as an attribute without a value.
func (o *buildOptions) toggle(attr string, v bool, request *bool) {
	*request = v
	if v {
		o.solve.FrontendAttrs[attr] = ""
	}
}

func (o *buildOptions) labels(labels map[string]string) {
	o.request.Labels = labels
	for k, v := range labels {
		o.solve.FrontendAttrs["label:"+k] = v
	}
}

func (o *buildOptions) args(args map[string]string, cacheSpace string) {
	o.request.BuildArgs = map[string]*string{}
	set := func(k, v string) {
		o.request.BuildArgs[k] = &v
		o.solve.FrontendAttrs["build-arg:"+k] = v
	}
	for k, v := range args {
		set(k, v)
	}
	if cacheSpace != "" {
		set(cacheSpaceArg, cacheSpace)
	}
	if inline, err := strconv.ParseBool(args["BUILDKIT_INLINE_CACHE"]); err == nil && inline { // as the daemon reads it
		o.solve.CacheExports = []client.CacheOptionsEntry{{Type: "inline"}}
	}
}

func (o *buildOptions) network(mode string) {
	o.request.NetworkMode = mode
	if mode != "" && mode != "default" {
		o.solve.FrontendAttrs["force-network-mode"] = mode
	}
}

// pull asks the registry for newer bases. Otherwise a base that is on the host is
// used: the containerd image store would ask the registry for each.
func (o *buildOptions) pull(newer bool) {
	o.request.PullParent = newer
	o.solve.FrontendAttrs["image-resolve-mode"] = "local"
	if newer {
		o.solve.FrontendAttrs["image-resolve-mode"] = "pull"
	}
}

func (o *buildOptions) cacheFrom(refs []string) {
	o.request.CacheFrom = refs
	for _, ref := range refs {
		o.solve.CacheImports = append(o.solve.CacheImports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
}
