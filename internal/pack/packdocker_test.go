package pack_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

// dockerNames lists what docker build sends of dir: BuildKit's client filters a
// directory with this very code.
func dockerNames(t testing.TB, dir, ignore string) ([]string, error) {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(ignore))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = fsutil.Walk(t.Context(), dir, &fsutil.FilterOpt{ExcludePatterns: patterns}, func(p string, info fs.FileInfo, err error) error {
		if err == nil && info.IsDir() {
			p += "/"
		}
		names = append(names, p)
		return err
	})
	return names, err
}

// TestPackSeesWhatDockerSees compares random ignore files over random trees.
// Only a hidden Dockerfile may be sent besides.
func TestPackSeesWhatDockerSees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		word := func() string { return []string{"a", "b", "c", "ab", "a.x", "b.x", "[d]"}[rnd.IntN(7)] }
		files := map[string]string{"zz/Dockerfile": "FROM scratch\n"}
		for range 1 + rnd.IntN(25) {
			parts := make([]string, 1+rnd.IntN(4))
			for i := range parts {
				parts[i] = fmt.Sprint(word(), i) // no name is both file and directory
			}
			files[strings.Join(parts, "/")+[]string{"f", "f", "/"}[rnd.IntN(3)]] = ""
		}
		var lines []string
		for range rnd.IntN(7) {
			parts := make([]string, 1+rnd.IntN(4))
			for i := range parts {
				parts[i] = []string{fmt.Sprint(word(), i), fmt.Sprint(word(), i), fmt.Sprint(word(), i, "f"), "*", "**", "a*", "?0", "*.x*", "**f", "[a-c]*", `\a0`}[rnd.IntN(11)]
			}
			lines = append(lines, []string{"", "", "!", "/", "!/"}[rnd.IntN(5)]+strings.Join(parts, "/")+[]string{"", "", "/", "/**", "/*"}[rnd.IntN(5)])
		}
		ignore := strings.Join(lines, "\n") + "\n"
		dir := tree(t, files)
		if err := os.WriteFile(filepath.Join(dir, "zz", "Dockerfile.dockerignore"), []byte(ignore), 0o600); err != nil {
			t.Fatal(err)
		}
		want, wantErr := dockerNames(t, dir, ignore)
		b, _, err := packed(t, dir, pack.Options{Dockerfile: "zz/Dockerfile"})
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("seed %d: ignore file %q: got %v, docker %v", seed, ignore, err, wantErr)
		}
		if err != nil {
			continue
		}
		got := slices.DeleteFunc(contextstest.Names(t, b), func(n string) bool { return strings.HasPrefix(n, contexts.HiddenPrefix) })
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
			t.Fatalf("seed %d: ignore file %q differs (-docker +got):\n%s", seed, ignore, diff)
		}
	}
}
