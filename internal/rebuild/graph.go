// Package rebuild works out from the recipes which images stand on which, and what has
// to be built again, in which order, when one of them changes; and it has that done. Up to
// the plan it is pure: recipes go in, a plan comes out.
//
//	graph.go     what stands on what
//	plan.go      what is built again, and why; what is left out, and why
//	begin.go     a plan becomes a rebuild
//	service.go   the one way in for those who ask for plans and rebuilds
//	refusal.go   why they do not get them
//	runner.go    a rebuild is carried out, one step after the other
//	promoter.go  which images have tags to move, and when
//	promote.go   the tags of an image are moved, or moved back
//	verbs.go     what operators do with rebuilds that there are
package rebuild

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Graph is what the images of a farm stand on. It does not change.
type Graph struct {
	recipes map[string]*node // by name
	names   []string         // in order
	made    map[string]*node // by the full name of a tag
	// pinned are the recipes that name the digest of an image, by its repository.
	pinned map[string][]*node
	bases  map[string]jobs.Base // by their full names
	unread []LeftOut            // recipes that cannot be read
}

// node is an image of the farm.
type node struct {
	jobs.Recipe
	stands   []Edge   // what it stands on, in the order of its materials
	children []string // names of the recipes that stand on it
}

// Edge is an image that another one stands on.
type Edge struct {
	// Ref is the full name.
	Ref string `json:"ref"`
	// Role is what the build used it for; of several the first.
	Role jobs.Role `json:"role"`
	// Digest is what Ref stood for when the build used it.
	Digest string `json:"digest,omitempty"`
	// Now is what it stands for since Since, when that is another image; "" else.
	Now   string    `json:"now,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Pinned is true when the Dockerfile names the digest: then nothing that happens to
	// the name changes what is built.
	Pinned bool `json:"pinned,omitempty"`
	// Local is true when only a build host had it.
	Local bool `json:"local,omitempty"`
	// Recipe is the name of the recipe that makes it, "" for an image from outside.
	Recipe string `json:"recipe,omitempty"`
}

// NewGraph makes the graph of recipes, and of what registries have under the names of
// bases. Recipes that cannot be read are left out. Where two recipes give one tag, the image
// of the newer one has it.
func NewGraph(recipes []jobs.Recipe, bases []jobs.Base) *Graph {
	g := &Graph{recipes: map[string]*node{}, made: map[string]*node{}, pinned: map[string][]*node{}, bases: map[string]jobs.Base{}}
	for _, b := range bases {
		g.bases[b.Ref] = b
	}
	for _, r := range recipes {
		if r.Damaged != "" {
			g.unread = append(g.unread, LeftOut{r.Name, r.Damaged})
			continue
		}
		n := &node{Recipe: r}
		g.recipes[r.Name] = n
		g.names = append(g.names, r.Name)
		for _, tag := range r.Tags {
			full := imagename.Full(tag)
			if other := g.made[full]; other == nil || other.Made.Before(r.Made) {
				g.made[full] = n
			}
		}
	}
	slices.Sort(g.names)
	for _, name := range g.names {
		g.link(g.recipes[name])
	}
	return g
}

// link finds what an image stands on.
func (g *Graph) link(n *node) {
	for _, m := range n.Materials {
		e := Edge{Ref: imagename.Full(m.Ref), Role: m.Role, Digest: m.Digest, Pinned: m.Pinned, Local: m.Local}
		if slices.ContainsFunc(n.stands, func(have Edge) bool { return have.Ref == e.Ref }) {
			continue // it is used for something else, too
		}
		if e.Pinned {
			repo := imagename.Repository(e.Ref)
			g.pinned[repo] = append(g.pinned[repo], n)
		} else if from := g.made[e.Ref]; from != nil {
			e.Recipe = from.Name
			if last := len(from.children) - 1; last < 0 || from.children[last] != n.Name { // under another tag
				from.children = append(from.children, n.Name)
			}
		}
		if b := g.bases[e.Ref]; e.Recipe == "" && b.Replaces(m) {
			e.Now, e.Since = b.Digest, b.Since
		}
		n.stands = append(n.stands, e)
	}
}

// replaced returns the recipe that has all tags of an image now, "" when it has one
// itself, or never had any.
func (g *Graph) replaced(n *node) (newer string) {
	for _, tag := range n.Tags {
		if newer = g.made[imagename.Full(tag)].Name; newer == n.Name {
			return ""
		}
	}
	return newer
}

// StandsOn lists what the image of a recipe stands on. ok is false when there is no such
// recipe.
func (g *Graph) StandsOn(name string) (edges []Edge, ok bool) {
	n := g.recipes[name]
	if n == nil {
		return nil, false
	}
	return slices.Clone(n.stands), true
}

// Outside lists the full names of the images that recipes stand on and no recipe makes, but
// for those that a change of the name does not reach: named by their digests, or only on a
// build host.
func (g *Graph) Outside() []string {
	found := map[string]bool{}
	for _, n := range g.recipes {
		for _, e := range n.stands {
			if e.Recipe == "" && !e.Pinned && !e.Local {
				found[e.Ref] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Dependant is a recipe that stands on an image.
type Dependant struct {
	Name string `json:"name"`
	// Depth is 1 for one that stands on the image itself.
	Depth int `json:"depth"`
	// Through is the recipe that it stands on, which is a dependant, too; "" at depth 1.
	Through string `json:"through,omitempty"`
	// Pinned is true when it names the image's digest. What stands on it is no dependant.
	Pinned bool `json:"pinned,omitempty"`
}

// Dependants lists the recipes that stand on an image, given by any of its names, the
// nearest first. It fails with an [*UnknownError] when no recipe makes the image or stands
// on it.
func (g *Graph) Dependants(image string) ([]Dependant, error) {
	full := imagename.Full(image)
	var list []Dependant
	seen := map[string]bool{}
	for _, name := range g.names {
		for _, e := range g.recipes[name].stands {
			if e.of(full) && !seen[name] {
				seen[name] = true
				list = append(list, Dependant{Name: name, Depth: 1, Pinned: e.Pinned})
			}
		}
	}
	for i := 0; i < len(list); i++ {
		from := list[i]
		if from.Pinned {
			continue
		}
		for _, child := range g.recipes[from.Name].children {
			if !seen[child] {
				seen[child] = true
				list = append(list, Dependant{Name: child, Depth: from.Depth + 1, Through: from.Name})
			}
		}
	}
	if len(list) == 0 && g.made[full] == nil {
		return nil, g.unknownBase(full)
	}
	return list, nil
}

// of reports whether an edge leads to an image, by its full name. Where a pinned one does
// not say which tag the digest had, it may have been any.
func (e Edge) of(full string) bool {
	ref, _, pinned := strings.Cut(e.Ref, "@")
	switch {
	case !pinned:
		return e.Ref == full
	case ref == imagename.Repository(ref): // without a tag
		return ref == imagename.Repository(full)
	default:
		return ref == full
	}
}

func (Edge) any() bool { return true }

func (e Edge) onHost() bool { return e.Local }

// unknownBase is for an image that no recipe makes or stands on.
func (g *Graph) unknownBase(full string) *UnknownError {
	var known []string
	for tag := range g.made {
		known = append(known, imagename.Familiar(tag))
	}
	for _, n := range g.recipes {
		for _, e := range n.stands {
			ref, _, _ := strings.Cut(e.Ref, "@")
			known = append(known, imagename.Familiar(ref))
		}
	}
	slices.Sort(known) // of two that are as near the first
	name := imagename.Familiar(full)
	return &UnknownError{What: "base", Name: name, Nearest: jobs.Nearest(name, known)}
}
