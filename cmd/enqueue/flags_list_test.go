package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestTimeFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want time.Time // zero where ago says it
		ago  time.Duration
	}{
		{"90s", time.Time{}, 90 * time.Second},
		{"7d", time.Time{}, 7 * 24 * time.Hour},
		{"2026-01-31", time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local), 0},
		{"2026-01-31 15:04:05", time.Date(2026, 1, 31, 15, 4, 5, 0, time.Local), 0},
		{"2026-01-31T15:04:05.5+02:00", time.Date(2026, 1, 31, 13, 4, 5, 5e8, time.UTC), 0},
	} {
		var got time.Time
		if err := timeVar(&got).Set(tt.text); err != nil {
			t.Errorf("Set(%q): %v", tt.text, err)
			continue
		}
		if tt.want.IsZero() {
			if off := time.Since(got) - tt.ago; off < 0 || off > time.Minute {
				t.Errorf("Set(%q) = %s; want %s ago", tt.text, got, tt.ago)
			}
		} else if !got.Equal(tt.want) {
			t.Errorf("Set(%q) = %s; want %s", tt.text, got, tt.want)
		}
	}
	for _, text := range []string{"", "-2h", "2", "yesterday", "2026-02-30", "15:04"} {
		if err := timeVar(new(time.Time)).Set(text); err == nil {
			t.Errorf("Set(%q) took it", text)
		}
	}
}

// The list goes on where one look at the records had few of the jobs, or none.
func TestListOfTheRare(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	digest := "sha256:" + strings.Repeat("1", 64)
	job := jobs.NewJob("built", jobs.Spec{Name: "app"}.Normalize())
	if _, err := f.mem.Create(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.mem.Claim(t.Context(), job.Ticket(), jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	built := jobs.Result{State: jobs.Succeeded, Bases: []jobs.BaseImage{{Ref: "debian:12", Role: jobs.RoleFrom, Digest: digest}}}
	if err := f.mem.Finish(t.Context(), job.ID, "n", built); err != nil {
		t.Fatal(err)
	}
	var others []jobs.Job
	for range 6_000 {
		others = append(others, jobs.NewJob(newID(), jobs.Spec{Name: "other"}.Normalize()))
	}
	if _, err := f.mem.Create(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	for base, want := range map[string]string{
		"debian:12": "built\n", "docker.io/library/debian:12": "built\n", digest: "built\n", "debian@" + digest: "built\n",
		"debian": "", "debian@": "", "debian:13": "",
	} {
		var stdout, stderr strings.Builder
		code := f.app(process{getenv: func(string) string { return "" }, stdout: &stdout, stderr: &stderr}).
			run(context.Background(), []string{"ls", "--base", base, "-o", "name"})
		if code != 0 || stdout.String() != want {
			t.Errorf("ls --base %s ended with %d: %q; want %q\n%s", base, code, stdout.String(), want, stderr.String())
		}
	}
}
