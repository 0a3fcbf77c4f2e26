package jobs

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// DefaultDockerfile is what an absent path of a Dockerfile means.
const DefaultDockerfile = "Dockerfile"

// Build asks for an image to be built from the context.
type Build struct {
	// Dockerfile is a slash-separated path inside the context.
	Dockerfile string `json:"dockerfile,omitempty"`
	// HideDockerfile keeps the Dockerfile from COPY and ADD, though it is in the
	// archive. It is what docker build does with one that .dockerignore names.
	HideDockerfile bool              `json:"hide_dockerfile,omitempty"`
	Target         string            `json:"target,omitempty"`
	Args           map[string]string `json:"args,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	// Contexts are what names in the Dockerfile's FROM, COPY --from and mounts stand for:
	// docker-image://IMAGE, or a directory inside the context, a slash-separated path.
	Contexts map[string]string `json:"contexts,omitempty"`
	Platform string            `json:"platform,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	// Pull asks registries for every image that the build uses: what is on the host, or
	// was told to another worker a moment ago, does not count.
	Pull      bool     `json:"pull,omitempty"`
	NoCache   bool     `json:"no_cache,omitempty"`
	CacheFrom []string `json:"cache_from,omitempty"`
	Secrets   []Secret `json:"secrets,omitempty"`
	// SSH are keys of the worker that RUN --mount=type=ssh,id=... may sign with. The
	// steps reach an agent that has the key, and never the key.
	SSH []Secret `json:"ssh,omitempty"`
	// Network of RUN steps: "default" or "none".
	Network string `json:"network,omitempty"`
	// Push sends every tag to its registry after the build.
	Push bool `json:"push,omitempty"`
	// Limits bound each step: CPUs and memory, where the engine has such limits.
	Limits BuildLimits `json:"limits,omitzero"`
}

// BuildLimits bound a step of a build. Zero means the operator's default.
type BuildLimits struct {
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
}

func (b Build) normal() Build {
	if b.Dockerfile == "" {
		b.Dockerfile = DefaultDockerfile
	}
	return b
}

func (p *problems) build(b Build) {
	f := b.Dockerfile
	if f != "" && (path.IsAbs(f) || f == ".." || strings.HasPrefix(path.Clean(f), "../") || strings.ContainsAny(f, "\x00\n") || path.Clean(f) == ".") {
		p.add("dockerfile_path_invalid", "/build/dockerfile", "found %q; want a path inside the context", Clip(f))
	}
	p.match(platformPattern, "platform_invalid", "/build/platform", b.Platform, "os/arch or os/arch/variant, such as linux/amd64")
	p.match(secretPattern, "target_invalid", "/build/target", b.Target, "a stage name")
	p.vars("/build/args", "build_arg", b.Args)
	p.imageLabels("/build/labels", b.Labels)
	p.contexts("/build/contexts", b.Contexts)
	p.choice("network_invalid", "/build/network", "network", b.Network, "default", "none")
	p.count("/build/tags", len(b.Tags))
	for i, t := range b.Tags {
		at := fmt.Sprintf("/build/tags/%d", i)
		p.image(at, t)
		if strings.Contains(t, "@") {
			p.add("image_ref_invalid", at, "a tag cannot carry a digest")
		}
	}
	if b.Push && len(b.Tags) == 0 {
		p.add("push_without_tag", "/build/push", "nothing to push: give at least one tag")
	}
	p.count("/build/cache_from", len(b.CacheFrom))
	for i, c := range b.CacheFrom {
		p.image(fmt.Sprintf("/build/cache_from/%d", i), c)
	}
	p.count("/build/secrets", len(b.Secrets))
	for i, s := range b.Secrets {
		p.secret(fmt.Sprintf("/build/secrets/%d", i), s)
	}
	p.count("/build/ssh", len(b.SSH))
	for i, s := range b.SSH {
		p.secret(fmt.Sprintf("/build/ssh/%d", i), s)
		if slices.ContainsFunc(b.SSH[:i], func(other Secret) bool { return other.ID == s.ID }) {
			p.add("secret_invalid", fmt.Sprintf("/build/ssh/%d/id", i), "%q comes twice", s.ID)
		}
	}
}
