package jobs_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A build has used index i1 with manifest m1, or manifest m1 by itself.
func TestBaseReplaces(t *testing.T) {
	t.Parallel()
	index := jobs.BaseImage{Digest: "i1", PlatformDigest: "m1"}
	single := jobs.BaseImage{Digest: "m1"}
	for _, tt := range []struct {
		name string
		base jobs.Base
		used jobs.BaseImage
		want bool
	}{
		{"the same index", jobs.Base{Digest: "i1", Manifests: []string{"m1", "arm1"}}, index, false},
		{"another index, another manifest", jobs.Base{Digest: "i2", Manifests: []string{"m2", "arm1"}}, index, true},
		{"only the other platform is new", jobs.Base{Digest: "i2", Manifests: []string{"m1", "arm2"}}, index, false},
		{"the index got attestations", jobs.Base{Digest: "i2", Manifests: []string{"m1", "arm1", "a1"}}, index, false},
		{"the manifest has no index any more", jobs.Base{Digest: "m1"}, index, false},
		{"another manifest without an index", jobs.Base{Digest: "m2"}, index, true},
		{"an index whose manifests are not known", jobs.Base{Digest: "i2"}, index, true},
		{"the same manifest", jobs.Base{Digest: "m1"}, single, false},
		{"the same manifest, in an index now", jobs.Base{Digest: "i2", Manifests: []string{"m1"}}, single, false},
		{"the registry has not told", jobs.Base{}, index, false},
		{"what the build used is not known", jobs.Base{Digest: "i2"}, jobs.BaseImage{}, false},
		{"pinned", jobs.Base{Digest: "i2"}, jobs.BaseImage{Digest: "i1", Pinned: true}, false},
		{"only on its host", jobs.Base{Digest: "i2"}, jobs.BaseImage{Digest: "i1", Local: true}, false},
	} {
		if got := tt.base.Replaces(tt.used); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestBaseFound(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	b := jobs.Base{Ref: "docker.io/library/debian:12"}.Found("i1", []string{"m1"}, at(1)).Found("i1", nil, at(2)).Found("i2", nil, at(3)).Found("i1", nil, at(4))
	want := jobs.Base{
		Ref: "docker.io/library/debian:12", Digest: "i1", Since: at(4), Checked: at(4),
		Was: []jobs.BaseVersion{{Digest: "i2", Since: at(3)}, {Digest: "i1", Since: at(1)}},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 50 {
		b = b.Found(string(rune('a'+i)), nil, at(5))
	}
	if len(b.Was) != 20 {
		t.Errorf("%d versions are kept, want 20", len(b.Was))
	}
}
