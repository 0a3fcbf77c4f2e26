//go:build integration

package e2e_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// rebuildDoc is what rebuild status prints for programs.
type rebuildDoc struct {
	jobs.Rebuild
	Images []jobs.RebuildImage `json:"images"`
}

// rebuilt reads the newest rebuild, and says what became of each image.
func (d *day) rebuilt() (doc rebuildDoc, states map[string]string) {
	d.t.Helper()
	id, _, _ := strings.Cut(d.enqueue("rebuild", "ls", "-o", "name").stdout, "\n")
	a := d.enqueue("rebuild", "status", id, "-o", "json")
	if err := json.Unmarshal([]byte(a.stdout), &doc); err != nil {
		d.t.Fatalf("rebuild status %s: %v\n%s%s", id, err, a.stdout, a.stderr)
	}
	states = map[string]string{}
	for _, img := range doc.Images {
		states[img.Name] = strings.TrimSuffix(string(img.State)+": "+img.Why, ": ")
	}
	return doc, states
}

// jobsOf counts the jobs that a rebuild has submitted, by the names of their images.
func (d *day) jobsOf(id string) map[string]int {
	d.t.Helper()
	n := map[string]int{}
	for line := range strings.Lines(d.enqueue("ls", "--limit", "200", "-o", "jsonl").stdout) {
		var job jobs.Job
		if err := json.Unmarshal([]byte(line), &job); err != nil {
			d.t.Fatalf("%v in %s", err, line)
		}
		if c := job.Spec.Cause; c != nil && c.Rebuild == id {
			n[job.Spec.Name]++
		}
	}
	return n
}

// moved are the images whose tags have another digest than before, by name.
func (d *day) moved(before map[string]string) (names []string) {
	d.t.Helper()
	for name, digest := range d.tags() {
		if digest != before[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// onAlpine writes a bake file of twelve images, all of which stand on alpine:3 in the end:
//
//	alpine:3 - os      - web    - site (and on api)
//	                   - cli    - docs
//	         - runtime - api    - admin
//	                   - worker - batch
//	         - builder - lint
//
// runtime and lint do not take every version of musl.
func (d *day) onAlpine() (dir string) {
	d.t.Helper()
	type target struct {
		Context    string   `json:"context"`
		Dockerfile string   `json:"dockerfile-inline"`
		Tags       []string `json:"tags"`
	}
	without := func(version string) string {
		return "\nRUN ! grep -q V:" + version + " /lib/apk/db/installed"
	}
	targets := map[string]target{}
	for name, rest := range map[string]string{
		"os": "alpine:3", "runtime": "alpine:3" + without("1.2.6-r0"), "builder": "alpine:3",
		"web": "os:1", "cli": "os:1", "api": "runtime:1", "worker": "runtime:1", "lint": "builder:1" + without("1.2.7-r0"),
		"site": "web:1\nCOPY --from=@/api:1 /api /from-api", "docs": "cli:1", "admin": "api:1", "batch": "worker:1",
	} {
		text := "FROM @/" + rest + "\nRUN echo " + name + " >/" + name + "\n"
		targets[name] = target{".", strings.ReplaceAll(text, "@", d.registry), []string{d.registry + "/" + name + ":1"}}
	}
	raw, err := json.Marshal(map[string]any{
		"group":  map[string]any{"default": map[string]any{"targets": slices.Sorted(maps.Keys(targets))}},
		"target": targets,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return contextDir(d.t, map[string]string{"bake.json": string(raw)})
}

// gate is a program that lets tags move until the file closed is in its folder, and keeps
// what it was asked, each time in a file: it judges several images at once.
func (d *day) gate() (program string) {
	d.t.Helper()
	dir := d.t.TempDir()
	program = filepath.Join(dir, "gate")
	text := "#!/bin/sh\ncd " + dir + "\ncat >\"$(mktemp asked.XXXXXX)\"\n[ ! -e closed ] || { echo no change on a Friday; exit 3; }\n"
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
		d.t.Fatal(err)
	}
	return program
}

// asked are the files of what the gate in a folder was asked; one question at least.
func (d *day) asked(dir string) []string {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "asked.*"))
	if err != nil || len(names) == 0 {
		d.t.Fatalf("the gate was asked nothing: %v", err)
	}
	return names
}

// part runs a subtest, without which the next ones make no sense.
func (d *day) part(name string, f func(d *day)) {
	if !d.t.Run(name, func(t *testing.T) {
		mine, its := *d, *d.farm
		mine.farm, its.t = &its, t
		f(&mine)
	}) {
		d.t.FailNow()
	}
}

// TestRebuildGoesWrong: of twelve images on two hosts one cannot be built on a new base; then
// a canary cannot; then a gate refuses what was built. Each time the registry has what it
// should, and no job is submitted for nothing.
func TestRebuildGoesWrong(t *testing.T) {
	t.Parallel()
	d := newDay(t, "e2e-wrong")
	gate := d.gate()
	d.worker(d.build, "one", "--rebuild-gate", gate)
	d.worker(d.other, "two", "--rebuild-gate", gate)
	base := d.registry + "/alpine:3"
	d.publish("alpine:3", "musl", "1.2.5-r0")
	d.cwd = d.onAlpine()
	d.bake()

	d.part("one of twelve images fails", func(d *day) {
		before := d.tags()
		d.publish("alpine:3", "musl", "1.2.6-r0")
		d.step(1, "Images: done: 6, failed: 1, blocked: 5$", "rebuild", "apply", "--base", base, "--watch")
		doc, states := d.rebuilt()
		good := []string{"builder", "cli", "docs", "lint", "os", "web"}
		for name, want := range map[string]string{
			"api": "blocked: it stands on runtime, which is failed", "worker": "blocked: it stands on runtime, which is failed",
			"admin": "blocked: it stands on api, which is blocked", "site": "blocked: it stands on api, which is blocked", "batch": "blocked: it stands on worker, which is blocked",
		} {
			if states[name] != want {
				d.t.Errorf("%s is %q, want %q", name, states[name], want)
			}
		}
		if !strings.HasPrefix(states["runtime"], "failed: build_failed: ") {
			d.t.Errorf("runtime is %q, want its build failed", states["runtime"])
		}
		if got := d.moved(before); !slices.Equal(got, good) {
			d.t.Errorf("the tags of %q were moved, want %q", got, good)
		}
		want := map[string]int{"runtime": 1}
		for _, name := range good {
			want[name] = 1
		}
		if got := d.jobsOf(doc.ID); !maps.Equal(got, want) {
			d.t.Errorf("the jobs are %v, want %v", got, want)
		}

		halfway := d.tags()
		d.publish("alpine:3", "musl", "1.2.6-r1")
		d.step(0, doc.ID, "rebuild", "retry", doc.ID)
		d.step(0, "Images: done: 12$", "rebuild", "watch", doc.ID)
		rest := []string{"admin", "api", "batch", "runtime", "site", "worker"}
		if got := d.moved(halfway); !slices.Equal(got, rest) {
			d.t.Errorf("the retry has moved the tags of %q, want %q", got, rest)
		}
		for _, name := range rest {
			want[name]++
		}
		if got := d.jobsOf(doc.ID); !maps.Equal(got, want) {
			d.t.Errorf("after the retry the jobs are %v, want %v", got, want)
		}
	})

	d.part("a canary fails", func(d *day) {
		before := d.tags()
		d.publish("alpine:3", "musl", "1.2.7-r0")
		d.step(1, "Images: done: 1, failed: 1, skipped: 10$", "rebuild", "apply", "--base", base, "--canary", "1", "--watch")
		doc, states := d.rebuilt()
		if got, want := d.jobsOf(doc.ID), (map[string]int{"builder": 1, "lint": 1}); !maps.Equal(got, want) {
			d.t.Errorf("the jobs are %v, want %v", got, want)
		}
		if want := "skipped: the canary lint is failed"; states["os"] != want || states["site"] != want {
			d.t.Errorf("os is %q, site is %q, want %q", states["os"], states["site"], want)
		}
		if got := d.moved(before); !slices.Equal(got, []string{"builder"}) {
			d.t.Errorf("the tags of %q were moved, want that of builder, on which the canary stands", got)
		}
	})

	d.part("a gate refuses", func(d *day) {
		before := d.tags()
		d.publish("alpine:3", "musl", "1.2.7-r1")
		dir := filepath.Dir(gate)
		for _, name := range d.asked(dir) {
			if err := os.Remove(name); err != nil {
				d.t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "closed"), nil, 0o600); err != nil {
			d.t.Fatal(err)
		}
		d.step(1, "Images: failed: 3, blocked: 9$", "rebuild", "apply", "--base", base, "--watch")
		doc, states := d.rebuilt()
		if got := d.tags(); !maps.Equal(got, before) {
			d.t.Errorf("the registry has %v, want %v as before", got, before)
		}
		first := map[string]int{"builder": 1, "os": 1, "runtime": 1}
		if got := d.jobsOf(doc.ID); !maps.Equal(got, first) {
			d.t.Errorf("the jobs are %v, want %v", got, first)
		}
		for name := range first {
			if want := "failed: the gate refused it: no change on a Friday"; states[name] != want {
				d.t.Errorf("%s is %q, want %q", name, states[name], want)
			}
		}
		asked := map[string]int{}
		for _, name := range d.asked(dir) {
			raw, err := os.ReadFile(name)
			if err != nil {
				d.t.Fatal(err)
			}
			var c rebuild.Candidate
			if err := json.Unmarshal(raw, &c); err != nil || len(c.Tags) != 1 || c.Tags[0].From != before[c.Name] || c.Tags[0].To == c.Tags[0].From {
				d.t.Errorf("the gate was asked %s (%v), want about a tag that has %s", raw, err, before[c.Name])
			}
			asked[c.Name]++
		}
		if !maps.Equal(asked, first) {
			d.t.Errorf("the gate was asked %v, want %v", asked, first)
		}
	})
}
