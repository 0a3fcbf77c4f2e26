package rebuild_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// shelf is a registry that a test fills: by full name "digest manifest...".
type shelf struct {
	has   map[string]string
	fails map[string]*jobs.Failure
	mu    sync.Mutex // guards asked
	asked []string
	stale int // images, at the last look
}

func (s *shelf) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *shelf) Published(_ context.Context, ref string) (string, []string, error) {
	s.mu.Lock()
	s.asked = append(s.asked, ref)
	s.mu.Unlock()
	if f := s.fails[ref]; f != nil {
		return "", nil, f
	}
	words := strings.Fields(s.has[ref])
	if len(words) == 0 {
		return "", nil, jobs.Fail(jobs.KindBaseMissing, nil, "", "image %s was not found", ref)
	}
	return words[0], words[1:], nil
}

const (
	debianRef = "docker.io/library/debian:12"
	alpineRef = "docker.io/library/alpine:latest"
	toolsRef  = "docker.io/library/tools:1" // which the recipe tools does not make
)

// watching is a farm whose images were built on the index i1, with the manifest m1, of
// debian, on the manifest a1 of alpine, and on tools.
func watching(t *testing.T) (*jobstest.Memory, *shelf, *rebuild.Watcher) {
	t.Helper()
	m, s := jobstest.NewMemory(jobstest.Options{}), &shelf{has: map[string]string{debianRef: "i1 m1 arm1", alpineRef: "a1", toolsRef: "t1"}, fails: map[string]*jobs.Failure{}}
	for _, r := range farm() {
		for i := range r.Materials {
			switch mat := &r.Materials[i]; mat.Ref {
			case "debian:12":
				mat.Digest, mat.PlatformDigest = "i1", "m1"
			case "alpine":
				mat.Digest = "a1"
			case "tools:1":
				mat.Digest = "t1"
			}
		}
		if _, err := m.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return m, s, rebuild.NewWatcher(nil, m, m, s, rebuild.WatcherOptions{Every: time.Hour, Stale: func(n int) { s.stale = n }})
}

// stale are the images that are to be built again.
func stale(t *testing.T, m *jobstest.Memory) (names []string) {
	t.Helper()
	recipes, err := m.AllRecipes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bases, err := m.Bases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rebuild.NewGraph(recipes, bases).Plan(rebuild.Question{Stale: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range plan.Images {
		names = append(names, img.Name)
	}
	return names
}

// Only another image makes stale, whatever else happens to a name.
func TestWatch(t *testing.T) {
	t.Parallel()
	below := []string{"base", "left", "right", "app"}
	for _, tt := range []struct {
		name   string
		change func(s *shelf)
		want   []string
		error  string // of debian
	}{
		{"nothing", func(*shelf) {}, nil, ""},
		{"another image", func(s *shelf) { s.has[debianRef] = "i2 m2 arm2" }, below, ""},
		{"another base", func(s *shelf) { s.has[alpineRef] = "a2" }, []string{"tools"}, ""},
		{"only another platform", func(s *shelf) { s.has[debianRef] = "i2 m1 arm2" }, nil, ""},
		{"attestations", func(s *shelf) { s.has[debianRef] = "i2 m1 arm1 at1" }, nil, ""},
		{"the name is gone", func(s *shelf) { delete(s.has, debianRef) }, nil, "image " + debianRef + " was not found"},
		{"the registry is away", func(s *shelf) {
			s.fails[alpineRef] = jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "it does not answer")
			s.has[debianRef] = "i2 m2"
		}, nil, "it does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, s, w := watching(t)
				check := func() {
					t.Helper()
					if err := w.Check(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				check()
				if names := stale(t, m); len(names) > 0 {
					t.Fatalf("%q are stale before anything has changed", names)
				}
				tt.change(s)
				check()
				if names := stale(t, m); !slices.Equal(names, tt.want) {
					t.Errorf("%q are stale, want %q", names, tt.want)
				}
				if direct := min(1, len(tt.want)); s.stale != direct { // base, or tools
					t.Errorf("%d images stand on an older base, want %d", s.stale, direct)
				}
				bases, err := m.Bases(t.Context())
				if err != nil || len(bases) != 3 || bases[1].Ref != debianRef || bases[1].Error != tt.error {
					t.Errorf("the bases are %+v, %v; want three, debian with error %q", bases, err, tt.error)
				}
			})
		})
	}
}

// A registry in trouble is asked one question, and nothing that it had is forgotten.
func TestWatchOfARegistryInTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, w := watching(t)
		s.has[debianRef] = "i2 m2"
		if err := w.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.asked = nil
		for _, ref := range []string{debianRef, alpineRef} {
			s.fails[ref] = jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "429 Too Many Requests")
		}
		if err := w.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.asked, []string{alpineRef}) {
			t.Errorf("%q were asked for, want one question", s.asked)
		}
		if names := stale(t, m); !slices.Equal(names, []string{"base", "left", "right", "app"}) {
			t.Errorf("%q are stale; want what was known before", names)
		}
	})
}

// A registry that says for how long it wants to be left alone is, by the watchers of all
// workers; the others are asked meanwhile.
func TestWatchLeavesARegistryAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, _ := watching(t)
		r := recipe("elsewhere", "registry.example/base:1")
		if _, err := m.Learn(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		s.has["registry.example/base:1"] = "b1"
		tooMany := jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "registry docker.io answered 429 Too Many Requests")
		tooMany.After = 40 * time.Minute
		s.fails[alpineRef] = tooMany
		look := func(what string, want ...string) {
			t.Helper()
			s.asked = nil
			if err := rebuild.NewWatcher(nil, m, m, s, rebuild.WatcherOptions{Every: time.Hour}).Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.asked, want) {
				t.Errorf("%s: %q were asked for, want %q", what, s.asked, want)
			}
		}
		look("it is asked", alpineRef, "registry.example/base:1")
		clear(s.fails)
		for range 2 {
			time.Sleep(15 * time.Minute)
			look("it has said when", "registry.example/base:1")
			bases, err := m.Bases(t.Context())
			if err != nil || bases[0].Ref != alpineRef || !strings.Contains(bases[0].Error, "wants to be left alone until 2000-01-01T00:40:") {
				t.Errorf("the bases are %+v, %v; want why alpine was not asked for", bases, err)
			}
		}
		time.Sleep(15 * time.Minute)
		look("the time is over", alpineRef, debianRef, toolsRef, "registry.example/base:1")
	})
}

// The watchers of a farm ask once together, and at once when an operator wants to know.
func TestWatchTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s, w := watching(t)
		ctx, end := context.WithCancel(t.Context())
		for range 3 {
			go w.Run(ctx)
		}
		time.Sleep(3*time.Hour + time.Minute)
		if n := s.questions(); n != 12 {
			t.Errorf("%d questions in three hours, want four times three", n)
		}
		if err := m.AskForBases(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rebuild.WatchPoll + time.Second)
		if n := s.questions(); n != 15 {
			t.Errorf("%d questions, want three more", n)
		}
		for _, name := range []string{"tools", "right", "app"} { // nothing stands on alpine and tools any more
			if err := m.RemoveRecipe(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		bases, err := m.Bases(ctx)
		if err != nil || len(bases) != 1 || bases[0].Ref != debianRef {
			t.Errorf("the bases are %+v, %v; want debian alone", bases, err)
		}
		end()
		synctest.Wait()
	})
}
