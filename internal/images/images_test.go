package images_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestNamesThatJobsMayNotGive(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.rules = images.Rules{Frontends: []string{"docker/dockerfile:*", "docker/dockerfile@*"}, Replace: []string{"open/*"}}
	f.use("pulled:1")
	f.host.put("open/theirs:1", "sha256:open")
	if err := f.name(f.make(), engine.Naming{Name: "recipe:1", Job: "j1", Recipe: "api"}); err != nil {
		t.Fatal(err)
	}
	if err := f.name(f.make(), engine.Naming{Name: "free:1", Job: "j2"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, recipe, says string // says nothing where it is allowed
	}{
		{"theirs:1", "", "the operator of the build host put there"},
		{"docker.io/theirs:1", "", "the operator of the build host put there"},
		{"pulled:1", "", "came to the build host from a registry"},
		{"docker/dockerfile:1", "", "Dockerfile frontend"},
		{"docker.io/docker/dockerfile:1.7", "", "Dockerfile frontend"},
		{"slipway-job/default:another-a1", "", "the farm's own"},
		{"docker.io/slipway-job/x:y", "", "the farm's own"},
		{"slipway-doctor:x", "", "the farm's own"},
		{"recipe:1", "web", "another recipe, api"},
		{"recipe:1", "", "another recipe, api"},
		{"recipe:1", "api", ""},
		{"free:1", "web", ""},
		{"free:1", "web", ""},
		{"new:1", "", ""},
		{"open/theirs:1", "", ""},
	} {
		before := f.host.names[normal(tt.name)]
		id := f.make()
		err := f.name(id, engine.Naming{Name: tt.name, Job: "j9", Recipe: tt.recipe})
		now := f.host.names[normal(tt.name)]
		switch {
		case tt.says == "" && (err != nil || now != id):
			t.Errorf("%s by recipe %q = %v, it stands for %s; want %s", tt.name, tt.recipe, err, now, id)
		case tt.says != "" && (jobs.AsFailure(err).Kind != jobs.KindTagNotAllowed || !strings.Contains(err.Error(), tt.says) || now != before || f.host.images[id]):
			t.Errorf("%s by recipe %q = %v, it stands for %s; want %q and %s", tt.name, tt.recipe, err, now, tt.says, before)
		}
	}
	f.rules.Tag = []string{"team/*"}
	for name, ok := range map[string]bool{"team/app:1": true, "app:1": false} {
		if err := f.name(f.make(), engine.Naming{Name: name, Job: "j"}); (err == nil) != ok {
			t.Errorf("%s = %v where only team/* is allowed", name, err)
		}
	}
}

// A name that is given again and again leaves nothing of the images before; one
// that a container uses goes with it.
func TestRetaggingLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var last string
	for range 100 {
		last = f.make()
		if err := f.name(last, engine.Naming{Name: "app:1", Job: "j"}); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (all []string) {
		for id := range f.host.images {
			if id != "sha256:theirs" {
				all = append(all, id)
			}
		}
		return all
	}
	if got := left(); !slices.Equal(got, []string{last}) {
		t.Errorf("images = %q, want the last one", got)
	}
	f.wantEntries(1)
	f.host.used[last] = true
	next := f.make()
	if err := f.name(next, engine.Naming{Name: "app:1", Job: "j"}); err != nil {
		t.Fatal(err)
	}
	if err := f.images.Tidy(t.Context()); err != nil || len(left()) != 2 {
		t.Errorf("images = %q, %v; want the one in use kept", left(), err)
	}
	f.host.used[last] = false
	if err := f.images.Tidy(t.Context()); err != nil || !slices.Equal(left(), []string{next}) {
		t.Errorf("images = %q, %v; want the last one", left(), err)
	}
	f.wantEntries(1)
}

// What a job leaves under a name is not what others get where a registry has it.
func TestRegistriesComeBeforeJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		missing := jobs.Fail(jobs.KindImageMissing, nil, "", "there is none")
		away := jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "no answer")
		for name, err := range map[string]error{"has:1": nil, "lacks:1": missing, "away:1": away} {
			f.host.lacks[name] = err
			f.build("job", false, name)
			was := f.host.names[name]
			if got := f.use(name); (got == was) != (err != nil) {
				t.Errorf("%s is %s, the job's was %s; the registry says %v", name, got, was, err)
			}
			if f.host.images[was] != (err != nil) {
				t.Errorf("the job's image of %s is there: %v", name, f.host.images[was])
			}
		}
		pulls := f.host.pulls
		f.use("away:1")
		f.use("has:1")
		f.use("theirs:1")
		if f.host.pulls != pulls {
			t.Error("a registry that did not answer, or an image of its own, is asked for at once")
		}
		time.Sleep(2 * time.Minute)
		f.use("away:1")
		if f.host.pulls != pulls+1 {
			t.Error("a registry that did not answer is never asked again")
		}
		f.host.lacks["broken:1"] = jobs.Fail(jobs.KindDiskFull, nil, "", "the disk is full")
		f.build("job", false, "broken:1")
		if _, err := f.images.Use(t.Context(), "broken:1", nil); jobs.AsFailure(err).Kind != jobs.KindDiskFull {
			t.Errorf("a host that cannot pull: %v, want its failure", err)
		}
	})
}

func TestBuildsDoNotStandOnWhatJobsLeft(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.build("job", false, "base:1")
	f.build("job", false, "frontend:1")
	left := f.host.names["base:1"]
	if err := f.images.Refresh(t.Context(), []string{"theirs:1", "base:1", "nothing:1"}, "frontend:1", nil); err != nil {
		t.Fatal(err)
	}
	if f.host.names["base:1"] == left || f.host.pulls != 2 {
		t.Errorf("base:1 is the job's still, or there were %d pulls", f.host.pulls)
	}
	f.build("job", false, "evil:1")
	f.host.lacks["evil:1"] = jobs.Fail(jobs.KindFrontendMissing, nil, "", "there is none")
	if err := f.images.Refresh(t.Context(), nil, "evil:1", nil); err == nil {
		t.Error("a frontend that a job left is used")
	}
}

// A push that fails leaves the name and what is known of it as they were.
func TestPushThatFails(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.build("job", false, "app:1")
	was := f.host.names["app:1"]
	f.host.lacks["app:1"] = errors.New("denied")
	if _, err := f.images.Push(t.Context(), engine.Naming{Image: f.make(), Name: "app:1", Job: "other", Recipe: "api"}, nil); err == nil {
		t.Fatal("it was pushed")
	}
	if err := f.name(f.make(), engine.Naming{Name: "app:1", Job: "job"}); err != nil || f.host.names["app:1"] == was {
		t.Errorf("after it the name cannot be given: %v", err)
	}
	delete(f.host.lacks, "theirs:1")
	if _, err := f.images.Push(t.Context(), engine.Naming{Image: f.make(), Name: "theirs:1", Job: "job"}, nil); err != nil {
		t.Errorf("push of a name that the operator's image has here: %v", err)
	}
	if !f.host.images["sha256:theirs"] {
		t.Error("the operator's image is gone")
	}
}

// A worker that dies between its note and the name has not lost the name.
func TestKilledWhileNaming(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	if err := f.name(f.make(), engine.Naming{Name: "app:1", Job: "j"}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		dying := images.New(nil, dyingTag{f.host}, f.notes, func() images.Rules { return f.rules })
		_ = dying.Name(t.Context(), engine.Naming{Image: f.make(), Name: "app:1", Job: "j"})
	}()
	if err := f.name(f.make(), engine.Naming{Name: "app:1", Job: "j"}); err != nil {
		t.Errorf("the name is taken for the operator's: %v", err)
	}
}

type dyingTag struct{ *host }

func (dyingTag) Tag(context.Context, string, string) error { panic("killed") }
