package jobstest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestBases checks a database for what users of bases are promised.
func TestBases(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"what is known of a base is kept", testKeepBase},
		{"a turn comes to one caller each time", testWatchTurn},
		{"a digest is kept for a minute", testDigests},
		{"a registry is left alone for a while", testLeaveAlone},
	})
}

func (f *farm) basesAre(want ...jobs.Base) {
	f.t.Helper()
	got, err := f.Bases.Bases(f.ctx)
	if diff := cmp.Diff(append([]jobs.Base{}, want...), got); err != nil || diff != "" {
		f.t.Errorf("Bases, %v (-want +got):\n%s", err, diff)
	}
}

func testKeepBase(f *farm) {
	f.basesAre()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	debian := jobs.Base{Ref: "docker.io/library/debian:12"}.Found("sha256:1", []string{"sha256:2"}, at)
	alpine := jobs.Base{Ref: "docker.io/library/alpine:3", Checked: at, Error: "no such image"}
	for _, b := range []jobs.Base{debian, alpine} {
		if err := f.Bases.KeepBase(f.ctx, b); err != nil {
			f.t.Fatalf("KeepBase: %v", err)
		}
	}
	f.basesAre(alpine, debian)
	debian = debian.Found("sha256:3", nil, at.Add(time.Hour))
	if err := f.Bases.KeepBase(f.ctx, debian); err != nil {
		f.t.Fatalf("KeepBase: %v", err)
	}
	for range 2 {
		if err := f.Bases.ForgetBase(f.ctx, alpine.Ref); err != nil {
			f.t.Errorf("ForgetBase: %v", err)
		}
	}
	f.basesAre(debian)
}

func testWatchTurn(f *farm) {
	turn := func(want bool) {
		f.t.Helper()
		if got, err := f.Bases.WatchTurn(f.ctx, time.Hour); err != nil || got != want {
			f.t.Errorf("WatchTurn = %t, %v; want %t", got, err, want)
		}
	}
	turn(true)
	turn(false)
	for range 2 { // the second has nothing to do
		if err := f.Bases.AskForBases(f.ctx); err != nil {
			f.t.Errorf("AskForBases: %v", err)
		}
	}
	turn(true)
	turn(false)
	if f.Advance != nil {
		f.Advance(time.Hour)
		turn(true)
	}
}

func testDigests(f *farm) {
	const ref = "docker.io/library/debian:12"
	is := func(want string) {
		f.t.Helper()
		if got, err := f.Digests.Digest(f.ctx, ref); err != nil || got != want {
			f.t.Errorf("Digest = %q, %v; want %q", got, err, want)
		}
	}
	keep := func(digest string, replace bool) {
		f.t.Helper()
		if err := f.Digests.KeepDigest(f.ctx, ref, digest, replace); err != nil {
			f.t.Errorf("KeepDigest: %v", err)
		}
	}
	is("")
	keep("sha256:1", false)
	keep("sha256:0", false) // what was asked for earlier, and told later
	is("sha256:1")
	keep("sha256:2", true)
	keep("sha256:1", false)
	is("sha256:2")
	if f.Advance != nil {
		f.Advance(jobs.DigestAge)
		is("")
		keep("sha256:3", false)
		is("sha256:3")
	}
}

func testLeaveAlone(f *farm) {
	left := func(registry string) time.Duration {
		f.t.Helper()
		d, err := f.Bases.LeftAlone(f.ctx, registry)
		if err != nil {
			f.t.Errorf("LeftAlone(%s): %v", registry, err)
		}
		return d
	}
	const one, other = "registry.example:5000", "docker.io"
	if d := left(one); d != 0 {
		f.t.Errorf("LeftAlone = %s before anything was said", d)
	}
	for _, d := range []time.Duration{time.Hour, f.lease()} { // the last word counts
		if err := f.Bases.LeaveAlone(f.ctx, one, d); err != nil {
			f.t.Fatalf("LeaveAlone: %v", err)
		}
		if got := left(one); got > d || got <= 0 && d == time.Hour { // a lease may be over by now
			f.t.Errorf("LeftAlone = %s, want at most %s", got, d)
		}
	}
	if d := left(other); d != 0 {
		f.t.Errorf("LeftAlone of another registry = %s", d)
	}
	f.outwait(f.lease())
	f.eventually("the registry may be asked again", func() bool { return left(one) == 0 })
}
