package rebuild_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// recipe is one whose image has its name as its tag and stands on these images: a name
// that begins with = is pinned.
func recipe(name string, on ...string) jobs.Recipe {
	r := jobs.Recipe{Name: name, Job: "job of " + name, Made: now.Add(-time.Hour), Context: "sha256:" + strings.Repeat("c", 64), Tags: []string{name}, Took: jobs.Duration(time.Second)}
	for i, ref := range on {
		role := jobs.RoleFrom
		if i > 0 {
			role = jobs.RoleCopy
		}
		ref, pinned := strings.CutPrefix(ref, "=")
		if pinned {
			ref += "@sha256:" + strings.Repeat("a", 64)
		}
		r.Materials = append(r.Materials, jobs.BaseImage{Ref: ref, Role: role, Digest: "digest of " + ref, Pinned: pinned})
	}
	return r
}

// farm has two bases from outside, a diamond, a COPY --from, a pinned base, and an image
// that stands on nothing.
func farm() []jobs.Recipe {
	return []jobs.Recipe{
		recipe("base", "debian:12"),
		recipe("left", "base"),
		recipe("right", "docker.io/library/base:latest", "tools:1"),
		recipe("app", "left", "right"),
		recipe("tools", "alpine"),
		recipe("fixed", "=debian:12"),
		recipe("above", "fixed"),
		recipe("scratch"),
	}
}

// lines is a plan in short: "wave name reason ...".
func lines(p rebuild.Plan) []string {
	var list []string
	for _, img := range p.Images {
		line := fmt.Sprint(img.Wave, " ", img.Name)
		for _, r := range img.Reasons {
			line += " " + string(r.Kind) + "=" + r.Parent
			if r.Kind == rebuild.BecauseBase {
				line += r.Ref
			}
		}
		list = append(list, line)
	}
	for _, l := range p.LeftOut {
		list = append(list, "- "+l.Name+" "+l.Reason)
	}
	return list
}

func TestPlan(t *testing.T) {
	t.Parallel()
	set := func(name string, s jobs.RecipeSettings) func([]jobs.Recipe) {
		return func(all []jobs.Recipe) {
			for i := range all {
				if all[i].Name == name {
					all[i].Settings = s
				}
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func([]jobs.Recipe)
		q      rebuild.Question
		want   []string
	}{
		{"a base from outside", nil, rebuild.Question{Bases: []string{"debian:12"}}, []string{
			"1 base base=docker.io/library/debian:12", "2 left parent=base", "2 right parent=base", "3 app parent=left parent=right",
			"- fixed it names debian:12 by its digest",
		}},
		{"its full name", nil, rebuild.Question{Bases: []string{"index.docker.io/library/alpine:latest"}}, []string{"1 tools base=docker.io/library/alpine:latest"}},
		{"two bases", func(all []jobs.Recipe) { all[4] = recipe("tools:1", "alpine") }, rebuild.Question{Bases: []string{"alpine", "debian:12"}}, []string{
			"1 base base=docker.io/library/debian:12", "1 tools:1 base=docker.io/library/alpine:latest",
			"2 left parent=base", "2 right parent=base parent=tools:1", "3 app parent=left parent=right",
			"- fixed it names debian:12 by its digest",
		}},
		{"an image of the farm", nil, rebuild.Question{Bases: []string{"left"}}, []string{"1 app base=docker.io/library/left:latest"}},
		{"by name", nil, rebuild.Question{Names: []string{"*ight", "app"}}, []string{"1 right name=", "2 app name= parent=right"}},
		{"by age", set("left", jobs.RecipeSettings{MaxAge: jobs.Duration(time.Minute)}), rebuild.Question{Stale: true}, []string{"1 left age=", "2 app parent=left"}},
		{"young enough", set("left", jobs.RecipeSettings{MaxAge: jobs.Duration(2 * time.Hour)}), rebuild.Question{Stale: true}, nil},
		{"never", set("left", jobs.RecipeSettings{Policy: jobs.RebuildNever}), rebuild.Question{Bases: []string{"debian:12"}}, []string{
			"1 base base=docker.io/library/debian:12", "2 right parent=base", "3 app parent=right",
			"- fixed it names debian:12 by its digest", "- left its policy is never",
		}},
		{"pinned, and built for another reason", nil, rebuild.Question{Bases: []string{"debian:12"}, Names: []string{"fixed"}}, []string{
			"1 base base=docker.io/library/debian:12", "1 fixed name=", "2 above parent=fixed", "2 left parent=base", "2 right parent=base", "3 app parent=left parent=right",
		}},
		{"an image that nothing stands on", nil, rebuild.Question{Bases: []string{"app"}}, nil},
		{"a pin without a tag", func(all []jobs.Recipe) { all[5] = recipe("fixed", "=debian") }, rebuild.Question{Bases: []string{"debian:12"}, Names: []string{"scratch"}}, []string{
			"1 base base=docker.io/library/debian:12", "1 scratch name=", "2 left parent=base", "2 right parent=base", "3 app parent=left parent=right",
			"- fixed it names debian:12 by its digest",
		}},
		{"a pin on an image of the farm", func(all []jobs.Recipe) { all[1] = recipe("left", "=base:latest") }, rebuild.Question{Bases: []string{"debian:12"}}, []string{
			"1 base base=docker.io/library/debian:12", "2 right parent=base", "3 app parent=right",
			"- fixed it names debian:12 by its digest", "- left it names base:latest by its digest",
		}},
		{"a recipe that has lost its tags", func(all []jobs.Recipe) { all[7].Tags, all[7].Made = []string{"tools"}, now }, rebuild.Question{Names: []string{"tools", "scratch"}}, []string{
			"1 scratch name=", "- tools its tags are those of the newer recipe scratch",
		}},
		{"one thing asked for twice", nil, rebuild.Question{All: true, Names: []string{"scratch", "s*"}, Bases: []string{"alpine", "docker.io/library/alpine:latest"}}, []string{
			"1 base name=", "1 fixed name=", "1 scratch name=", "1 tools base=docker.io/library/alpine:latest name=",
			"2 above name= parent=fixed", "2 left name= parent=base", "2 right name= parent=base", "3 app name= parent=left parent=right",
		}},
		{"all", nil, rebuild.Question{All: true}, []string{
			"1 base name=", "1 fixed name=", "1 scratch name=", "1 tools name=",
			"2 above name= parent=fixed", "2 left name= parent=base", "2 right name= parent=base", "3 app name= parent=left parent=right",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all := farm()
			if tt.change != nil {
				tt.change(all)
			}
			p, err := rebuild.NewGraph(all, nil).Plan(tt.q, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, lines(p)); diff != "" {
				t.Errorf("the plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	ring := []jobs.Recipe{recipe("a", "c"), recipe("b", "a"), recipe("c", "b"), recipe("d", "c"), recipe("e", "debian")}
	_, err := rebuild.NewGraph(ring, nil).Plan(rebuild.Question{Names: []string{"d", "a"}}, now)
	var cycle *rebuild.CycleError
	if !errors.As(err, &cycle) || !slices.Equal(cycle.Path, []string{"a", "c", "b", "a"}) {
		t.Errorf("Plan of a ring = %v, want the ring", err)
	}
	if _, err := rebuild.NewGraph(ring, nil).Plan(rebuild.Question{Names: []string{"e"}}, now); err != nil {
		t.Errorf("Plan beside a ring = %v", err)
	}
	for _, tt := range []struct {
		q       rebuild.Question
		nearest string
	}{{rebuild.Question{Bases: []string{"debain"}}, "debian:latest"}, {rebuild.Question{Names: []string{"xyz"}}, ""}} {
		_, err := rebuild.NewGraph(ring, nil).Plan(tt.q, now)
		var unknown *rebuild.UnknownError
		if !errors.As(err, &unknown) || unknown.Nearest != tt.nearest {
			t.Errorf("Plan(%+v) = %v, want an UnknownError near %q", tt.q, err, tt.nearest)
		}
	}
}

func TestPlanTimes(t *testing.T) {
	t.Parallel()
	all := farm()
	p, err := rebuild.NewGraph(all, nil).Plan(rebuild.Question{Bases: []string{"debian:12"}}, now)
	if err != nil || p.Work.D() != 4*time.Second || p.Longest.D() != 3*time.Second || p.Waves != 3 {
		t.Errorf("%d waves, %s of work, %s in order, %v; want 3, 4s, 3s", p.Waves, p.Work, p.Longest, err)
	}
}

// TestPlanHash: the hash moves with what is built and with nothing else.
func TestPlanHash(t *testing.T) {
	t.Parallel()
	hash := func(change func([]jobs.Recipe)) string {
		all := farm()
		change(all)
		p, err := rebuild.NewGraph(all, nil).Plan(rebuild.Question{Bases: []string{"debian:12"}}, now)
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash
	}
	first := hash(func([]jobs.Recipe) {})
	for name, change := range map[string]func([]jobs.Recipe){
		"another order": slices.Reverse[[]jobs.Recipe],
		"another duration, and an image that has nothing to do with it": func(all []jobs.Recipe) { all[0].Took, all[7].Job = 5, "another" },
		"another one that is left out":                                  func(all []jobs.Recipe) { all[7] = recipe("more", "=debian:12") },
	} {
		if got := hash(change); got != first {
			t.Errorf("%s: the hash is %s, want %s", name, got, first)
		}
	}
	seen := map[string]string{first: "nothing"}
	for name, change := range map[string]func([]jobs.Recipe){
		"a newer job":    func(all []jobs.Recipe) { all[0].Job = "another" },
		"another base":   func(all []jobs.Recipe) { all[0].Materials[0].Digest = "another" },
		"another source": func(all []jobs.Recipe) { all[1].Settings.Source = &jobs.Context{Ref: "https://a.example/b"} },
		"another directory of it": func(all []jobs.Recipe) {
			all[1].Settings.Source = &jobs.Context{Ref: "https://a.example/b", Dir: "c"}
		},
		"one of them less": func(all []jobs.Recipe) { all[2].Settings.Policy = jobs.RebuildNever },
	} {
		got := hash(change)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: the hash is the same as for %s", name, other)
		}
		seen[got] = name
	}
}

// TestRandomPlans: in graphs without a ring each image comes after all that it stands on,
// and exactly those are planned that stand on the base.
func TestRandomPlans(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 1 + r.IntN(60)
		order := r.Perm(n)
		all, affected := make([]jobs.Recipe, n), map[string]bool{}
		for i := range n {
			name := fmt.Sprint("image-", order[i])
			on := []string{[]string{"changed", "other"}[r.IntN(2)]}
			for range r.IntN(4) {
				if i > 0 {
					on = append(on, fmt.Sprint("image-", order[r.IntN(i)]))
				}
			}
			all[i] = recipe(name, on...)
			affected[name] = slices.ContainsFunc(on, func(ref string) bool { return ref == "changed" || affected[ref] })
		}
		r.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		p, err := rebuild.NewGraph(all, nil).Plan(rebuild.Question{Bases: []string{"changed"}}, now)
		if err != nil {
			if slices.Contains(slices.Collect(maps.Values(affected)), true) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			continue // nothing stands on it
		}
		wave := map[string]int{}
		for _, img := range p.Images {
			wave[img.Name] = img.Wave
			for _, parent := range img.After {
				if w, ok := wave[parent]; !ok || w >= img.Wave {
					t.Errorf("seed %d: %s is in wave %d, and %s, which it stands on, in %d", seed, img.Name, img.Wave, parent, w)
				}
			}
		}
		for name, want := range affected {
			if _, got := wave[name]; got != want {
				t.Errorf("seed %d: %s is planned: %v, want %v", seed, name, got, want)
			}
		}
	}
}

func TestDependants(t *testing.T) {
	t.Parallel()
	g := rebuild.NewGraph(farm(), nil)
	got, err := g.Dependants("debian:12")
	want := []rebuild.Dependant{
		{Name: "base", Depth: 1},
		{Name: "fixed", Depth: 1, Pinned: true},
		{Name: "left", Depth: 2, Through: "base"},
		{Name: "right", Depth: 2, Through: "base"},
		{Name: "app", Depth: 3, Through: "left"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Dependants, %v (-want +got):\n%s", err, diff)
	}
	if _, err := g.Dependants("nothing"); err == nil {
		t.Error("Dependants of an unknown image is no error")
	}
	if list, err := g.Dependants("app"); err != nil || len(list) != 0 {
		t.Errorf("Dependants of an image that nothing stands on = %v, %v", list, err)
	}
}

func TestGraph(t *testing.T) {
	t.Parallel()
	all := farm()
	newer := recipe("another", "alpine")
	newer.Tags, newer.Made = []string{"base:latest"}, now
	broken := recipe("broken", "base")
	broken.Damaged = "it is not JSON"
	g := rebuild.NewGraph(append(all, newer, broken), nil)
	if edges, _ := g.StandsOn("left"); len(edges) != 1 || edges[0].Recipe != "another" {
		t.Errorf("left stands on %+v, want the newer image with that tag", edges)
	}
	if _, ok := g.StandsOn("broken"); ok {
		t.Error("a recipe that cannot be read is in the graph")
	}
}
