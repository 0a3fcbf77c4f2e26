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
	// Remote is true when a step fetches what is no image, as ADD from a URL does.
	Remote bool
	// Frontend is the image of the # syntax line, "" without one.
	Frontend string
	// Images are all that the text names, whether or not the build comes to use them.
	Images []string
	// Asked has an image of each registry that the text names anywhere: also in
	// triggers, which are for the builds of others, and in text that only old engines
	// take for instructions.
	Asked []string
	// Locks are the cache mounts that one build at a time may have, by their IDs.
	Locks []string
}

// sources gathers what a checker comes across.
type sources struct {
	Sources
	stages []string // their names
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

func (s *sources) use(ref string) {
	if !s.quiet && !slices.Contains(s.Images, ref) {
		s.Images = append(s.Images, ref)
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
func find(stages []string, name string) int {
	for i, st := range slices.Backward(stages) {
		if st != "" && strings.EqualFold(st, name) {
			return i
		}
	}
	if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(stages) {
		return i
	}
	return -1
}
