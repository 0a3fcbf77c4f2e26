package dockerfile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Sources are what a build stands on, as far as its Dockerfile says it. What
// triggers of a base image add, and what a variable holds that only the build
// knows, is not among it.
type Sources struct {
	// Parsed is true when the newest frontend understands the Dockerfile.
	Parsed bool
	// Frontend is the image of the # syntax line, "" without one.
	Frontend string
	Images   []Image
	// Asked has an image of each registry that the text names anywhere: also in
	// triggers, which are for the builds of others, and in text that only old engines
	// take for instructions.
	Asked []string
	// Locks are the cache mounts that one build at a time may have, by their IDs.
	Locks []string
}

// Image is an image that a build uses, and what for.
type Image struct {
	Ref  string
	Role jobs.Role
}

// stage is what is known of a stage.
type stage struct {
	name string
	// base is the image that it is built on, "" for scratch and when it stands on
	// the stage with the index on.
	base string
	on   int
}

// sources gathers what a checker comes across.
type sources struct {
	Sources
	stages []stage
	// quiet is set while text is looked at that may be no instructions.
	quiet bool
	// asked are the registries of Asked.
	asked map[string]bool
}

// ask notes the registry of an image.
func (s *sources) ask(ref string) {
	registry := jobs.RegistryOf(ref)
	if s.asked[registry] {
		return
	}
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	s.asked[registry] = true
	s.Asked = append(s.Asked, ref)
}

func (s *sources) use(ref string, role jobs.Role) {
	if img := (Image{ref, role}); !s.quiet && !slices.Contains(s.Images, img) {
		s.Images = append(s.Images, img)
	}
}

// locks notes the cache mounts of a step that are not shared.
func (s *sources) locks(mounts []*instructions.Mount) {
	for _, m := range mounts {
		id := m.CacheID
		if id == "" {
			id = m.Target
		}
		if m.Type == instructions.MountTypeCache && m.CacheSharing == instructions.MountSharingLocked && !s.quiet && !slices.Contains(s.Locks, id) {
			s.Locks = append(s.Locks, id)
		}
	}
}

// find returns the index of a stage by its name or number, -1 when there is none.
// Of two with one name the later counts.
func (s *sources) find(name string) int {
	for i, st := range slices.Backward(s.stages) {
		if st.name != "" && strings.EqualFold(st.name, name) {
			return i
		}
	}
	if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(s.stages) {
		return i
	}
	return -1
}

// done tells the image that the result stands on from those of other stages.
func (s *sources) done(target int) Sources {
	root := target
	for s.stages[root].on >= 0 {
		root = s.stages[root].on
	}
	var bases []Image
	for i, st := range s.stages {
		img := Image{st.base, jobs.RoleStage}
		if i == root {
			img.Role = jobs.RoleFrom
		}
		if st.base != "" && !slices.Contains(bases, img) {
			bases = append(bases, img)
		}
	}
	s.Images = append(bases, s.Images...)
	return s.Sources
}
