package imagecontent

import (
	"cmp"
	"slices"
)

// Changes is how one list of packages became another, each part by name.
type Changes struct {
	Added   []Package `json:"added,omitempty"`
	Removed []Package `json:"removed,omitempty"`
	Changed []Change  `json:"changed,omitempty"`
}

// Change is a package that has another version. Nothing says which of them is newer.
type Change struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Arch string `json:"arch,omitempty"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Compare lists how two lists of packages differ. A package is known by name, kind and
// architecture: one that comes for another architecture is removed and added. Where a list
// has several versions of one, those that both lists have are left out, the others are
// paired in the order of their text, and what is over is added or removed.
func Compare(from, to []Package) Changes {
	was, is := byKey(from), byKey(to)
	var c Changes
	for key, olds := range was {
		news := is[key]
		olds, news = without(olds, news), without(news, olds)
		for i := range max(len(olds), len(news)) {
			switch {
			case i >= len(news):
				c.Removed = append(c.Removed, olds[i])
			case i >= len(olds):
				c.Added = append(c.Added, news[i])
			default:
				c.Changed = append(c.Changed, Change{Name: key.Name, Kind: key.Kind, Arch: key.Arch, From: olds[i].Version, To: news[i].Version})
			}
		}
	}
	for key, news := range is {
		if _, ok := was[key]; !ok {
			c.Added = append(c.Added, news...)
		}
	}
	slices.SortFunc(c.Added, byName)
	slices.SortFunc(c.Removed, byName)
	slices.SortFunc(c.Changed, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return c
}

// byKey groups packages by all but their versions; each version is there once.
func byKey(list []Package) map[Package][]Package {
	list = slices.Clone(list)
	slices.SortFunc(list, byName)
	groups := map[Package][]Package{}
	for _, p := range slices.Compact(list) {
		key := p
		key.Version = ""
		groups[key] = append(groups[key], p)
	}
	return groups
}

// without is list without those of others.
func without(list, others []Package) []Package {
	return slices.DeleteFunc(slices.Clone(list), func(p Package) bool { return slices.Contains(others, p) })
}
