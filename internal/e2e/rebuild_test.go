//go:build integration

package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// A base gets a new version: all that stands on it is built again on two hosts, in order
// and on the new base, and nothing else is.
func TestRebuild(t *testing.T) {
	t.Parallel()
	hostA, hostB := hosts.Take(t), hosttest.StartHost(t, "e2e-rebuild")
	hosttest.Busybox(t, hostB)
	registry := hosttest.StartSharedRegistry(t, hosttest.RegistryOptions{}, hostA, hostB)
	f := newFarm(t)
	f.worker(hostA, "one", "--watch-bases", "1h")
	f.worker(hostB, "two")
	publish := func(version string) (digest string) {
		dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo " + version + " >/version\n"})
		f.run("--push", "-t", registry+"/debian:12", dir)
		return remoteDigest(t, hostA, registry+"/debian:12", hosttest.Login{})
	}
	old := publish("old")
	images := []struct{ name, dockerfile string }{
		{"base", "FROM R/debian:12\nRUN cat /version >/of-base\n"},
		{"tools", "FROM busybox\nRUN echo tools >/tools\n"},
		{"left", "FROM R/base:1\nRUN cat /of-base >/of-left\n"},
		{"right", "ARG ON=base\nFROM R/${ON}:1\nCOPY --from=R/tools:1 /tools /tools\nRUN cat /of-base >/of-right\n"},
		{"app", "FROM R/left:1\nCOPY --from=R/right:1 /of-right /of-right\n"},
		{"fixed", "FROM R/debian:12@" + old + "\nRUN cat /version >/of-fixed\n"},
	}
	tag := func(name string) string { return registry + "/" + name + ":1" }
	for _, img := range images {
		dir := contextDir(t, map[string]string{"Dockerfile": strings.ReplaceAll(img.dockerfile, "R/", registry+"/")})
		// They come with a run, which is no business of a rebuild.
		if job, a := f.run("--name", img.name, "--push", "-t", tag(img.name), dir, "--", "true"); job.State != jobs.Succeeded {
			t.Fatalf("%s: %s\n%s", img.name, job.State, a.stderr)
		}
	}
	published := func() (digests []string) {
		for _, img := range images {
			digests = append(digests, remoteDigest(t, hostA, tag(img.name), hosttest.Login{}))
		}
		return digests
	}
	f.eventually(time.Minute, "the farm has learned the recipes", func() bool {
		return strings.Count(f.enqueue("recipes", "ls", "-o", "name").stdout, "\n") == len(images)
	})
	before := published()
	publish("new")

	a := f.enqueue("bases", "check")
	if a.code != 0 || !strings.Contains(a.stdout, "Bases: 1, changed: 0, not answered: 0. Images on an older base: 1\n") {
		t.Fatalf("bases check: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	if a = f.enqueue("stale", "-o", "name"); a.stdout != "base\nleft\nright\napp\n" {
		t.Errorf("%q are stale\n%s", a.stdout, a.stderr)
	}
	var plan rebuild.Plan
	a = f.enqueue("rebuild", "plan", "--stale", "-o", "json")
	if err := json.Unmarshal([]byte(a.stdout), &plan); err != nil {
		t.Fatalf("%v\n%s%s", err, a.stdout, a.stderr)
	}
	var waves []string
	for _, img := range plan.Images {
		waves = append(waves, fmt.Sprint(img.Wave, " ", img.Name))
	}
	if want := []string{"1 base", "2 left", "2 right", "3 app"}; !slices.Equal(waves, want) || plan.Images[0].Reasons[0].Digest != old {
		t.Fatalf("the plan is %q, %+v; want %q, because of the digest %s", waves, plan.Images[0], want, old)
	}
	a = f.enqueue("rebuild", "apply", "--watch", "--plan", plan.Hash, "--stale")
	if a.code != 0 || !strings.Contains(a.stdout, "Images: done: 4") {
		t.Fatalf("exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	for i, digest := range published() {
		if again := slices.Contains([]string{"base", "left", "right", "app"}, images[i].name); again == (digest == before[i]) {
			t.Errorf("the registry has %s of %s, and had %s; built again: %t", digest, images[i].name, before[i], again)
		}
	}
	app := registry + "/app@" + remoteDigest(t, hostA, tag("app"), hosttest.Login{})
	ran, a := f.run("--image", app, "--", "cat", "/version", "/of-base", "/of-left", "/of-right")
	if got := string(f.stored(ran).stdout); got != strings.Repeat("new\n", 4) {
		t.Errorf("the app stands on %q, want the new version four times\n%s", got, a.stderr)
	}
	a = f.enqueue("recipes", "show", "app", "-o", "json")
	var recipe jobs.Recipe
	if err := json.Unmarshal([]byte(a.stdout), &recipe); err != nil || recipe.Spec.Run == nil || recipe.Spec.Cause != nil {
		t.Errorf("the recipe is %s, %v; want the document that the job came with", a.stdout, err)
	}
	f.eventually(time.Minute, "nothing is stale", func() bool { return f.enqueue("stale", "-o", "name").stdout == "" })
	if a = f.enqueue("rebuild", "ls", "-o", "template={{.state}} {{.plan}}"); a.stdout != "done "+plan.Hash+"\n" {
		t.Errorf("the rebuilds are %q", a.stdout)
	}

	id := strings.TrimSpace(f.enqueue("rebuild", "ls", "-o", "name").stdout)
	if a = f.enqueue("rebuild", "rollback", id); a.code != 0 {
		t.Fatalf("rollback: exit code %d\n%s", a.code, a.stderr)
	}
	if a = f.enqueue("rebuild", "watch", id); a.code != 0 || !strings.Contains(a.stdout, "Images: rolled_back: 4") {
		t.Errorf("exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	if got := published(); !slices.Equal(got, before) {
		t.Errorf("the registry has %q after the rollback, want %q", got, before)
	}
	if a = f.enqueue("stale", "-o", "name"); a.stdout != "base\nleft\nright\napp\n" {
		t.Errorf("%q are stale after the rollback\n%s", a.stdout, a.stderr)
	}
}
