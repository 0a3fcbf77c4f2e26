//go:build integration

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/client"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// story is for make demo-rebuild: what is done, and what it prints.
var story = flag.Bool("story", false, "print the steps of TestRebuild")

// tell prints a part of the story.
func tell(format string, args ...any) {
	if *story {
		fmt.Printf(format+"\n", args...)
	}
}

// day is the farm of a day on which a base gets a new version.
type day struct {
	*farm
	registry string
	build    *hosttest.Host // the registry is there, too
	other    *hosttest.Host
}

// newDay makes a farm with two build hosts and a registry; workers are the test's to start.
func newDay(t *testing.T, name string) *day {
	t.Helper()
	d := &day{farm: newFarm(t), build: hosts.Take(t), other: hosttest.StartHost(t, name)}
	hosttest.Busybox(t, d.other)
	d.registry = hosttest.StartDistribution(t, d.build)
	bridge(t, d.other, d.build, d.registry)
	d.at = d.build // the report reads from the registry
	return d
}

// step runs a command, and fails the test unless it ends with code and prints what want
// matches.
func (d *day) step(code int, want string, args ...string) answer {
	d.t.Helper()
	a := d.enqueue(args...)
	tell("$ enqueue %s\n%s%s", strings.Join(args, " "), a.stdout, a.stderr)
	if a.code != code || !regexp.MustCompile("(?m)"+want).MatchString(a.stdout+a.stderr) {
		d.t.Fatalf("enqueue %q: exit code %d, want %d and %q\n%s%s", args, a.code, code, want, a.stdout, a.stderr)
	}
	return a
}

// publish pushes a base from outside of the farm's recipes, and returns its digest.
func (d *day) publish(tag, pkg, version string) string {
	d.t.Helper()
	dir := contextDir(d.t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY installed /lib/apk/db/installed\n",
		"installed":  fmt.Sprintf("P:%s\nV:%s\nA:x86_64\n\n", pkg, version),
	})
	if job, a := d.run("--push", "-t", d.registry+"/"+tag, dir); job.State != jobs.Succeeded {
		d.t.Fatalf("%s: %s\n%s", tag, job.State, a.stderr)
	}
	return remoteDigest(d.t, d.build, d.registry+"/"+tag, hosttest.Login{})
}

// bake has the twelve images of bake.json built, and waits for their recipes.
func (d *day) bake() {
	d.t.Helper()
	d.step(0, "^12 jobs submitted$", "submit", "--bake", "bake.json", "--push", "--in-order")
	d.eventually(time.Minute, "the farm has learned the recipes", func() bool {
		return strings.Count(d.enqueue("recipes", "ls", "-o", "name").stdout, "\n") == 12
	})
}

// tags are what the registry has of the images of the farm.
func (d *day) tags() map[string]string {
	d.t.Helper()
	all := map[string]string{}
	for name := range strings.FieldsSeq(d.enqueue("recipes", "ls", "-o", "name").stdout) {
		all[name] = remoteDigest(d.t, d.build, d.registry+"/"+name+":1", hosttest.Login{})
	}
	return all
}

// bridge lets a host reach what listens at an address of another one, under the same
// address: the registry is at a loopback address for both, as daemons take it without TLS.
func bridge(t *testing.T, from, to *hosttest.Host, addr string) {
	t.Helper()
	l, err := from.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	ctx := t.Context() // its end ends what is open
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := to.Dial(ctx, "tcp", addr)
			if err != nil {
				_ = near.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { _ = errors.Join(near.Close(), far.Close()) })
			all.Go(func() {
				_, _ = io.Copy(far, near)
				_ = far.(*net.TCPConn).CloseWrite()
			})
			all.Go(func() {
				defer stop()
				_, _ = io.Copy(near, far)
				_ = errors.Join(near.Close(), far.Close())
			})
		}
	})
}

// TestRebuild: twelve images come from a bake file, on two hosts with a daemon each and
// with a registry. Their base gets a new version: what stands on it is built again in order,
// the tags move, the report names the package, a second rebuild has nothing to do, and a
// rollback brings back every digest.
func TestRebuild(t *testing.T) {
	t.Parallel()
	d := newDay(t, "e2e-rebuild")
	d.worker(d.build, "one", "--watch-bases", "1h", "--provenance")
	d.worker(d.other, "two", "--provenance")

	tell("== Two bases in the registry %s, and twelve images from a bake file", d.registry)
	old := d.publish("alpine:3", "musl", "1.2.5-r0")
	d.publish("tools:1", "make", "4.4.1-r2")
	raw, err := os.ReadFile(filepath.FromSlash("../../examples/rebuild/bake.json"))
	if err != nil {
		t.Fatal(err)
	}
	file := strings.NewReplacer("registry.example", d.registry, "sha256:"+strings.Repeat("0", 64), old).Replace(string(raw))
	d.cwd = contextDir(t, map[string]string{"bake.json": file})
	d.bake()
	d.step(0, "^site .*web:1 and 1 more", "recipes", "ls")
	before := d.tags()
	d.step(0, "^0 recipes learned", "recipes", "import", "--history")
	d.step(0, "Images on an older base: 0$", "bases", "check")

	tell("== alpine:3 gets a new version: musl 1.2.5-r1")
	d.publish("alpine:3", "musl", "1.2.5-r1")
	d.step(0, "^Bases: 2, changed: 1, not answered: 0. Images on an older base: 2$", "bases", "check")
	d.step(0, "^site +.*stands on api, stands on web", "stale")
	plan := d.plan()
	d.step(0, "^Paused: the canaries are done", "rebuild", "apply", "--stale", "--plan", plan.Hash, "--canary", "1", "--watch")
	id := strings.TrimSpace(d.enqueue("rebuild", "ls", "-o", "name").stdout)
	d.step(0, `images +done: 2, waiting: 7$`, "rebuild", "status", id)
	d.step(0, id, "rebuild", "resume", id)
	d.step(0, "Images: done: 9$", "rebuild", "watch", id)
	rebuilt := []string{"os", "runtime", "web", "api", "worker", "cli", "site", "admin", "docs"}
	for name, digest := range d.tags() {
		if moved := digest != before[name]; moved != slices.Contains(rebuilt, name) {
			t.Errorf("the registry has %s of %s, and had %s", digest, name, before[name])
		}
	}
	ran, a := d.run("--image", d.registry+"/site@"+d.tags()["site"], "--", "cat", "/lib/apk/db/installed", "/os", "/web", "/api")
	if got := string(d.stored(ran).stdout); !strings.Contains(got, "V:1.2.5-r1") || !strings.HasSuffix(got, "os\nweb\nbuilder\n") {
		t.Errorf("the site has %q\n%s", got, a.stderr)
	}

	tell("== What has changed")
	report := d.step(0, `^\| musl \| 1.2.5-r0 \| 1.2.5-r1 \|$`, "rebuild", "report", id)
	if n := strings.Count(report.stdout, "| musl | 1.2.5-r0 | 1.2.5-r1 |"); n != len(rebuilt) || strings.Contains(report.stdout, "Not read") {
		t.Errorf("the report names the package %d times", n)
	}
	d.step(0, "^context +cas:sha256:", "provenance", d.registry+"/site:1")
	d.step(0, "^Nothing to build.$", "rebuild", "apply", "--stale")

	tell("== And back")
	d.step(0, id, "rebuild", "rollback", id)
	d.step(0, "Images: rolled_back: 9$", "rebuild", "watch", id)
	if got := d.tags(); !maps.Equal(got, before) {
		t.Errorf("the registry has %v after the rollback, want %v", got, before)
	}
	if n := strings.Count(d.enqueue("stale", "-o", "name").stdout, "\n"); n != len(rebuilt) {
		t.Errorf("%d images are stale after the rollback", n)
	}
	tell("== Every tag has the digest of this morning")
	d.byProgram(plan.Hash, before)
}

// byProgram has a program that sees the farm's server alone do the same once more.
func (d *day) byProgram(hash string, before map[string]string) {
	d.t.Helper()
	ctx, s := d.t.Context(), d.serve()
	c := client.New(s.url, s.token)
	q := client.RebuildQuestion{Stale: true}
	plan, err := c.PlanRebuild(ctx, q)
	if err != nil || plan.Hash != hash {
		d.t.Fatalf("the plan is %+v (%v), want that of before: %s", plan, err, hash)
	}
	r, err := c.BeginRebuild(ctx, client.RebuildRequest{RebuildQuestion: q, Plan: hash})
	if err == nil {
		r, err = c.WaitRebuild(ctx, r.ID)
	}
	if err != nil || r.State != client.RebuildDone || maps.Equal(d.tags(), before) {
		d.t.Fatalf("the rebuild is %+v (%v), and the registry has %v", r, err, d.tags())
	}
	if r, err = c.ChangeRebuild(ctx, r.ID, client.RollBackRebuild); err == nil {
		r, err = c.WaitRebuild(ctx, r.ID)
	}
	if got := d.tags(); err != nil || r.State != client.RebuildRolledBack || !maps.Equal(got, before) {
		d.t.Errorf("the rebuild is %+v (%v), and the registry has %v, want %v", r, err, got, before)
	}
}

// plan checks that the plan has the right images in the right waves.
func (d *day) plan() rebuild.Plan {
	d.t.Helper()
	d.step(0, "^Left out: pinned, because it names .*alpine:3 by its digest$", "rebuild", "plan", "--stale", "--base", d.registry+"/alpine:3")
	var plan rebuild.Plan
	a := d.enqueue("rebuild", "plan", "--stale", "-o", "json")
	if err := json.Unmarshal([]byte(a.stdout), &plan); err != nil {
		d.t.Fatalf("%v\n%s%s", err, a.stdout, a.stderr)
	}
	var waves []string
	for _, img := range plan.Images {
		waves = append(waves, fmt.Sprint(img.Wave, " ", img.Name, ": ", strings.ReplaceAll(img.Because(), d.registry+"/", "")))
	}
	want := []string{
		"1 os: alpine:3 changed", "1 runtime: alpine:3 changed",
		"2 api: stands on runtime", "2 cli: stands on runtime", "2 web: stands on os", "2 worker: stands on runtime",
		"3 admin: stands on api", "3 docs: stands on cli", "3 site: stands on api, stands on web",
	}
	if !slices.Equal(waves, want) {
		d.t.Fatalf("the plan is %q, want %q", waves, want)
	}
	return plan
}
