// Package rebuild works out from the recipes which images stand on which, and what has
// to be built again, in which order, when one of them changes. It is pure: recipes go
// in, a plan comes out.
//
//	graph.go   what stands on what
//	plan.go    what is built again, and why; what is left out, and why
package rebuild

import (
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Graph is what the images of a farm stand on. It does not change.
type Graph struct {
	recipes map[string]*node // by name
	names   []string         // in order
	made    map[string]*node // by the full name of a tag
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
	// Pinned is true when the Dockerfile names the digest: then nothing that happens to
	// the name changes what is built.
	Pinned bool `json:"pinned,omitempty"`
	// Local is true when only a build host had it.
	Local bool `json:"local,omitempty"`
	// Recipe is the name of the recipe that makes it, "" for an image from outside.
	Recipe string `json:"recipe,omitempty"`
}

// NewGraph makes the graph of recipes. Those that cannot be read are left out. Where two
// recipes give one tag, the image of the newer one has it.
func NewGraph(recipes []jobs.Recipe) *Graph {
	g := &Graph{recipes: map[string]*node{}, made: map[string]*node{}}
	for _, r := range recipes {
		if r.Damaged != "" {
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
		if from := g.made[e.Ref]; from != nil && !e.Pinned {
			e.Recipe = from.Name
			if last := len(from.children) - 1; last < 0 || from.children[last] != n.Name { // under another tag
				from.children = append(from.children, n.Name)
			}
		}
		n.stands = append(n.stands, e)
	}
}

// Recipe returns the recipe of a name.
func (g *Graph) Recipe(name string) (jobs.Recipe, bool) {
	n, ok := g.recipes[name]
	if !ok {
		return jobs.Recipe{}, false
	}
	return n.Recipe, true
}

// Names lists the recipes.
func (g *Graph) Names() []string { return slices.Clone(g.names) }

// StandsOn lists what the image of a recipe stands on.
func (g *Graph) StandsOn(name string) []Edge {
	if n := g.recipes[name]; n != nil {
		return slices.Clone(n.stands)
	}
	return nil
}

// Base is an image that images of the farm stand on.
type Base struct {
	// Ref is the full name.
	Ref string `json:"ref"`
	// Recipe makes it, "" for an image from outside.
	Recipe string `json:"recipe,omitempty"`
	// Direct are the recipes that stand on it, Pinned those of them that name its digest.
	Direct []string `json:"direct"`
	Pinned []string `json:"pinned,omitempty"`
}

// Bases lists everything that images of the farm stand on, by name.
func (g *Graph) Bases() []Base {
	found := map[string]*Base{}
	for _, name := range g.names {
		for _, e := range g.recipes[name].stands {
			ref, _, _ := strings.Cut(e.Ref, "@")
			b := found[ref]
			if b == nil {
				b = &Base{Ref: ref}
				if from := g.made[ref]; from != nil {
					b.Recipe = from.Name
				}
				found[ref] = b
			}
			if e.Pinned {
				b.Pinned = append(b.Pinned, name)
			}
			b.Direct = append(b.Direct, name)
		}
	}
	list := make([]Base, 0, len(found))
	for _, b := range found {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Base) int { return strings.Compare(a.Ref, b.Ref) })
	return list
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
// nearest first. It fails with an [*UnknownError] when there are none.
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
	if len(list) == 0 {
		return nil, g.unknownBase(full)
	}
	return list, nil
}

// of reports whether an edge leads to an image, by its full name. A pinned one need not
// say which tag the digest had.
func (e Edge) of(full string) bool {
	ref, _, pinned := strings.Cut(e.Ref, "@")
	return e.Ref == full || pinned && imagename.Full(ref) == full
}

func (g *Graph) unknownBase(full string) *UnknownError {
	var known []string
	for _, b := range g.Bases() {
		known = append(known, imagename.Familiar(b.Ref))
	}
	name := imagename.Familiar(full)
	return &UnknownError{What: "base", Name: name, Nearest: jobs.Nearest(name, known)}
}
