package jobstest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestBuilds checks a database for what users of keys of builds are promised.
func TestBuilds(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"one attempt builds what has a key", testKey},
		{"what came of a build is known", testBuilt},
		{"how a build failed is told to the next", testFailedBuild},
		{"a key of a dead attempt is free in a while", testKeyExpires},
	})
}

// buildOf is a build of an attempt, that is not done.
func buildOf(job string, attempt int) jobs.KeyedBuild {
	return jobs.KeyedBuild{By: jobs.BuiltBy{Job: job, Attempt: attempt, Host: "host-" + job}, Repositories: []string{"registry.example.com/app"}}
}

// begins checks whose the key is when a build asks for it.
func (f *farm) begins(key string, b, want jobs.KeyedBuild) {
	f.t.Helper()
	got, err := f.Builds.BeginBuild(f.ctx, key, b)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		f.t.Errorf("BeginBuild of %s-a%d, %v (-want +got):\n%s", b.By.Job, b.By.Attempt, err, diff)
	}
}

func (f *farm) holds(key string, b jobs.KeyedBuild, want bool) {
	f.t.Helper()
	if got, err := f.Builds.HoldBuild(f.ctx, key, b); err != nil || got != want {
		f.t.Errorf("HoldBuild of %s-a%d = %t, %v; want %t", b.By.Job, b.By.Attempt, got, err, want)
	}
}

func (f *farm) endsBuild(key string, b jobs.KeyedBuild) {
	f.t.Helper()
	if err := f.Builds.EndBuild(f.ctx, key, b); err != nil {
		f.t.Errorf("EndBuild: %v", err)
	}
}

func testKey(f *farm) {
	a, b := buildOf("a", 1), buildOf("b", 1)
	f.holds("k", a, false)
	f.begins("k", a, a)
	f.begins("k", a, a) // the answer was lost
	f.begins("k", b, a)
	f.begins("other", b, b)
	f.holds("k", a, true)
	f.holds("k", b, false)
	f.endsBuild("k", b) // has nothing to give up
	f.begins("k", b, a)
	again := buildOf("a", 2)
	f.begins("k", again, again)
	f.begins("k", a, again)
	f.holds("k", a, false)
	f.endsBuild("k", a)
	f.begins("k", b, again)
	f.endsBuild("k", again)
	f.begins("k", b, b)
}

func testBuilt(f *farm) {
	a, b := buildOf("a", 1), buildOf("b", 1)
	f.begins("k", a, a)
	done := a
	done.ImageID, done.RepoDigests = "sha256:1", []string{"registry.example.com/app@sha256:2"}
	done.Bases = []jobs.BaseImage{{Ref: "busybox:1", Role: jobs.RoleFrom, Digest: "sha256:3"}}
	done.By.Ended = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.endsBuild("k", done)
	f.begins("k", b, done)
	f.begins("k", buildOf("a", 2), done)
	f.holds("k", a, false)
	f.endsBuild("k", a) // gives nothing up any more
	f.begins("k", b, done)
	newer := b
	newer.ImageID = "sha256:4"
	f.endsBuild("k", newer)
	f.begins("k", a, newer)
	f.endsBuild("lost", done) // its key was lost
	f.begins("lost", b, done)
	if f.Advance != nil {
		f.Advance(jobs.BuildKept)
		f.begins("k", b, b)
	}
}

func testFailedBuild(f *farm) {
	a, b := buildOf("a", 1), buildOf("b", 1)
	told := func(b jobs.KeyedBuild, how *jobs.FailedBuild) jobs.KeyedBuild {
		b.Failed = how
		return b
	}
	how := &jobs.FailedBuild{Job: "a", Kind: jobs.KindBuildFailed, Message: "a step failed"}
	f.begins("k", a, a)
	f.endsBuild("k", told(b, how)) // is not its to end
	f.begins("k", b, a)
	f.endsBuild("k", told(a, how))
	f.begins("k", b, told(b, how))
	f.endsBuild("k", b) // by no fault of what goes into it
	f.begins("k", b, told(b, how))
	done := b
	done.ImageID = "sha256:1"
	f.endsBuild("k", done)
	f.begins("k", a, done)
	f.endsBuild("k", told(a, how)) // of an attempt that took no notice of the key
	f.begins("k", a, done)
	if f.Advance != nil {
		f.begins("other", a, a)
		f.endsBuild("other", told(a, how))
		f.Advance(jobs.BuildKept)
		f.begins("other", b, b)
	}
}

func testKeyExpires(f *farm) {
	if f.Advance == nil {
		f.t.Skip("the clock cannot be moved")
	}
	a, b := buildOf("a", 1), buildOf("b", 1)
	f.begins("k", a, a)
	f.Advance(jobs.BuildHold - time.Second)
	f.holds("k", a, true)
	f.Advance(jobs.BuildHold - time.Second)
	f.begins("k", b, a)
	f.Advance(time.Second)
	f.begins("k", b, b)
	f.holds("k", a, false)
	late := a
	late.ImageID = "sha256:1"
	f.endsBuild("k", late)
	f.begins("k", buildOf("d", 1), b)
}
