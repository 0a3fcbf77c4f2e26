package rebuild

import (
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Base is an image from outside that recipes stand on.
type Base struct {
	jobs.Base
	// Recipes stand on it, Stale are those of them that stand on another image than its
	// name stands for now.
	Recipes []string `json:"recipes"`
	Stale   []string `json:"stale"`
}

// Bases lists the images that recipes stand on and no recipe makes, by their names. One
// that no registry was asked for has no Digest.
func (g *Graph) Bases() []Base {
	list := []Base{}
	for _, ref := range g.Outside() {
		b := Base{Base: g.bases[ref], Recipes: []string{}, Stale: []string{}}
		b.Ref = ref
		for _, name := range g.names {
			i := slices.IndexFunc(g.recipes[name].stands, func(e Edge) bool { return e.Ref == ref && !e.Local })
			if i < 0 {
				continue
			}
			b.Recipes = append(b.Recipes, name)
			if g.recipes[name].stands[i].Now != "" {
				b.Stale = append(b.Stale, name)
			}
		}
		list = append(list, b)
	}
	return list
}

// Stale is how many images stand on an older base than was found. Those that stand on such
// images are not among them.
func (g *Graph) Stale() (images int) {
	for _, n := range g.recipes {
		if slices.ContainsFunc(n.stands, func(e Edge) bool { return e.Now != "" }) {
			images++
		}
	}
	return images
}

// Why lists an image of the plan and those of the plan that it stands on, nearest first;
// none when the image is not in it.
func (p Plan) Why(name string) []Image {
	var chain []Image
	next := []string{name}
	for len(next) > 0 {
		i := slices.IndexFunc(p.Images, func(img Image) bool { return img.Name == next[0] })
		next = next[1:]
		if i < 0 || slices.ContainsFunc(chain, func(img Image) bool { return img.Name == p.Images[i].Name }) {
			continue
		}
		chain = append(chain, p.Images[i])
		next = append(next, p.Images[i].After...)
	}
	return chain
}
