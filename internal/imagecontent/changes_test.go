package imagecontent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packages are given as "kind name:arch version".
func packages(list ...string) []Package {
	var all []Package
	for _, text := range list {
		words := strings.Fields(text)
		name, arch, _ := strings.Cut(words[1], ":")
		all = append(all, Package{Name: name, Arch: arch, Kind: words[0], Version: words[2]})
	}
	return all
}

func TestCompare(t *testing.T) {
	t.Parallel()
	change := func(name, arch, from, to string) Change {
		return Change{Name: name, Kind: Deb, Arch: arch, From: from, To: to}
	}
	for _, tt := range []struct {
		name     string
		from, to []Package
		want     Changes
	}{
		{"none", nil, nil, Changes{}},
		{"the same", packages("deb a:amd64 1", "apk b:x86_64 1"), packages("apk b:x86_64 1", "deb a:amd64 1"), Changes{}},
		{"all kinds of change", packages("deb z: 1", "deb c: 1", "deb b: 1"), packages("deb a: 1", "deb c: 2", "deb b: 2"), Changes{
			Added: packages("deb a: 1"), Removed: packages("deb z: 1"), Changed: []Change{change("b", "", "1", "2"), change("c", "", "1", "2")},
		}},
		{"an older version", packages("deb a: 2"), packages("deb a: 1"), Changes{Changed: []Change{change("a", "", "2", "1")}}},
		{"two architectures", packages("deb a:amd64 1", "deb a:i386 1"), packages("deb a:amd64 2", "deb a:i386 3"), Changes{
			Changed: []Change{change("a", "amd64", "1", "2"), change("a", "i386", "1", "3")},
		}},
		{"another architecture", packages("deb a:all 1"), packages("deb a:amd64 1"), Changes{Added: packages("deb a:amd64 1"), Removed: packages("deb a:all 1")}},
		{"another kind", packages("deb a: 1"), packages("apk a: 1"), Changes{Added: packages("apk a: 1"), Removed: packages("deb a: 1")}},
		{"several versions", packages("deb a: 1", "deb a: 2", "deb a: 3"), packages("deb a: 2", "deb a: 4"), Changes{
			Removed: packages("deb a: 3"), Changed: []Change{change("a", "", "1", "4")},
		}},
		{"a version more", packages("deb a: 2"), packages("deb a: 1", "deb a: 2", "deb a: 2"), Changes{Added: packages("deb a: 1")}},
		{"a version twice", packages("deb a: 1", "deb a: 1"), packages("deb a: 1"), Changes{}},
	} {
		from, to := slices.Clone(tt.from), slices.Clone(tt.to)
		if diff := cmp.Diff(tt.want, Compare(from, to)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
		if !slices.Equal(from, tt.from) || !slices.Equal(to, tt.to) {
			t.Errorf("%s: a list was changed", tt.name)
		}
	}
}
