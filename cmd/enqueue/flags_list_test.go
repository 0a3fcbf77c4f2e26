package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

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
