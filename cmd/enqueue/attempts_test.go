package main

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// What became of earlier attempts is shown with the job, and their logs on request; a
// failure that printed nothing is told all the same.
func TestEarlierAttempts(t *testing.T) {
	withFeed(t, farmOptions{}, func(t *testing.T, f *feed) {
		run := func(args ...string) (int, string, string) {
			var out, errs buffer
			code := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}).run(t.Context(), append(args, "--store", f.dir))
			return code, out.String(), errs.String()
		}
		want := func(what, got string, words ...string) {
			t.Helper()
			for _, w := range words {
				if !strings.Contains(got, w) {
					t.Errorf("%s lacks %q:\n%s", what, w, got)
				}
			}
		}
		f.write(t, "of the first\n", false)
		failed := jobs.Fail(jobs.KindExitNonzero, nil, "see its output", "the container ended with exit code 3")
		failed.Stage, failed.Tail = jobs.StageRun, []string{"of the first"}
		past := jobs.Result{State: jobs.Failed, Attempt: 1, Worker: "w1", Failure: failed, Log: f.stored(t)}.Past()
		if _, err := f.mem.Release(t.Context(), f.id, "n", jobs.Release{Reason: failed.Message, Spend: jobs.SpendRetry, Past: past}); err != nil {
			t.Fatal(err)
		}
		_, out, _ := run("status", f.id)
		want("status of a job that waits", out, "attempt 1", "exit code 3 (exit_nonzero), on w1", "| of the first", "enqueue logs --attempt 1 "+f.id)

		f.claim(t)
		image := jobs.Fail(jobs.KindImageMissing, nil, "check the name", "image no:1 was not found")
		image.Stage = jobs.StageRun
		if err := f.mem.Finish(t.Context(), f.id, "n", jobs.Result{State: jobs.Failed, Attempt: 2, Failure: image}); err != nil {
			t.Fatal(err)
		}
		_, out, _ = run("status", f.id)
		want("status of a job that has ended", out, "image no:1 was not found", "attempt 1")
		code, out, errs := run("logs", f.id)
		if code != 0 || out != "" {
			t.Errorf("logs: exit code %d, %q", code, out)
		}
		want("logs of a job that printed nothing", errs, "image no:1 was not found (run, image_missing)", "check the name")
		code, out, errs = run("logs", "--attempt", "1", f.id)
		if code != 0 || out != "of the first\n" {
			t.Errorf("logs of attempt 1: exit code %d, %q", code, out)
		}
		want("logs of attempt 1", errs, "exit code 3")
		if code, _, errs = run("logs", "--attempt", "7", f.id); code != jobs.ExitUsage || !strings.Contains(errs, "no attempt 7 on record") {
			t.Errorf("logs of attempt 7: exit code %d, %q", code, errs)
		}
		if code, _, errs = run("logs", "--attempt", "1", "-f", f.id); code != jobs.ExitUsage {
			t.Errorf("logs of an attempt, followed: exit code %d, %q", code, errs)
		}
	})
}
