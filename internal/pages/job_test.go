package pages

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// Markup in what strangers wrote stays text.
func TestMarkup(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.host(jobs.Host{Name: "h1", Worker: "red" + evil, Slots: 1, State: jobs.HostUnfit, Reason: evil, Labels: map[string]string{"a": evil}})
	job := f.submit(jobs.Spec{
		Name: "app", Labels: map[string]string{"k": evil},
		Context: &jobs.Context{Ref: "https://a.example/" + evil},
		Build:   &jobs.Build{Tags: []string{"app:1"}, Args: map[string]string{"A": evil, "B": "javascript:alert(3)"}},
		Run:     &jobs.Run{Command: []string{evil}},
	})
	w := f.claim(job.ID)
	w.stage(jobs.StageRun)
	w.write(jobs.Stdout, evil+"\n\x1b]8;;javascript:alert(4)\x07link\x1b]8;;\x07\x1b[31mred"+evil+"\x1b[0m\u202egpj.exe\n")
	w.finish(jobs.Result{
		State: jobs.Failed, Failure: &jobs.Failure{Stage: jobs.StageRun, Kind: jobs.KindExitNonzero, Message: evil, Cause: evil, Hint: evil},
		Tags: []string{evil}, Bases: []jobs.BaseImage{{Ref: evil, Digest: evil}}, Outputs: []jobs.Output{{Path: "/" + evil, Digest: evil}}, Addresses: []string{evil},
	})
	b := f.visit("admin")
	for _, path := range []string{"/jobs", "/jobs?view=failures", "/jobs/" + job.ID, "/jobs/" + job.ID + "?q=" + url.QueryEscape(evil), "/jobs/" + job.ID + "/retry", "/hosts", "/jobs?state=" + url.QueryEscape(evil), "/jobs?name=" + url.QueryEscape(evil), "/login?next=" + url.QueryEscape(evil), "/jobs/" + url.PathEscape(evil)} {
		b.get(path).lacks(t, "<script>", "<img", `href="javascript`, "\u202e", "\x1b")
	}
	b.get("/jobs/"+job.ID).want(t, http.StatusOK, "&lt;script&gt;", `<span class="f1">red`)
}

// A job that failed says in a sentence why, whose fault it is and what to do, and shows the
// last output of what failed, each line with its place in the log.
func TestFailedJob(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	w.stage(jobs.StageRun)
	for i := range 30 {
		w.write(jobs.Stdout, fmt.Sprintf("step %d\n", i+1))
	}
	w.write(jobs.Stderr, "error: no such table\n")
	w.fail(jobs.KindExitNonzero, jobs.StageRun, "the container ended with exit code 3")
	b := f.visit("reader")
	a := b.get("/jobs/"+job.ID).want(t, http.StatusOK, "It failed in the stage run: the container ended with exit code 3.", "the job&#39;s own fault", "What to do: look at the log",
		"the engine said so", "first error (line 31)", `id="L31"`, "in the queue")
	tail, _, _ := strings.Cut(a.body[strings.Index(a.body, "last output"):], "</section>")
	if n := strings.Count(tail, `class="no"`); n != tailLines || !strings.Contains(tail, `href="/jobs/`+job.ID+`?line=31#L31"`) || strings.Contains(tail, "step 11<") {
		t.Errorf("the last output has %d lines: %s", n, tail)
	}
	b.get("/jobs").want(t, http.StatusOK, "the container ended with exit code 3 (run, exit_nonzero)", "the job&#39;s own fault")
}

// A job that waits says why, and what is nearest to letting it run on each host.
func TestWaitingJob(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.host(jobs.Host{Name: "h1", Worker: "red", Slots: 2, Running: 2, State: jobs.HostReady})
	f.host(jobs.Host{Name: "h2", Worker: "arm", Slots: 2, State: jobs.HostReady, Queues: []string{"other"}})
	job := f.submit(jobs.Spec{Name: "app"})
	b := f.visit("reader")
	b.get("/jobs/"+job.ID).want(t, http.StatusOK, "It waits: ", "red", "<code>turn</code>", "arm", "<code>queue</code>", "it serves other")
	b.get("/jobs").want(t, http.StatusOK, "is about to take it")
}

// Attempts that ended without the job being at fault say so.
func TestAttempts(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	w.stage(jobs.StageBuild)
	lost := jobs.Fail(jobs.KindDaemonLost, nil, "", "the Docker daemon went away")
	if _, err := f.db.Release(t.Context(), job.ID, nonce, jobs.Release{Reason: "lost", Spend: jobs.SpendLoss, Past: &jobs.PastAttempt{Attempt: 1, Worker: "red", Failure: lost}}); err != nil {
		t.Fatal(err)
	}
	f.claim(job.ID).finish(jobs.Result{State: jobs.Succeeded})
	f.visit("reader").get("/jobs/"+job.ID).want(t, http.StatusOK, "Attempts", "the Docker daemon went away (daemon_lost)", "the farm&#39;s fault, not yours", "attempt 1", "It succeeded in")
}

// A search is over the whole log, with a true count; matches and lines have addresses.
func TestLogPages(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	var text strings.Builder
	for i := range 3500 {
		word := "even"
		if i%7 == 0 {
			word = "\x1b[1mNeedle\x1b[0m"
		}
		fmt.Fprintf(&text, "line %d %s\n", i+1, word)
	}
	for rest := text.String(); rest != ""; {
		n := min(len(rest), 9999) // pieces end anywhere
		w.write(jobs.Stdout, rest[:n])
		rest = rest[n:]
	}
	w.finish(jobs.Result{State: jobs.Succeeded})
	b := f.visit("reader")
	path := "/jobs/" + job.ID
	b.get(path).want(t, http.StatusOK, "lines 3001–3500 of <span class=\"total\">3500", `id="L3500"`).lacks(t, `id="L3000"`)
	b.get(path+"?line=1").want(t, http.StatusOK, "lines 1–1000 of", `id="L1000"`, "line 1 <span").lacks(t, `id="L1001"`)
	a := b.get(path+"?line=1500-1502").want(t, http.StatusOK, "lines 1001–2000 of")
	if n := strings.Count(a.body, "chosen"); n != 3 {
		t.Errorf("%d lines are chosen", n)
	}
	a = b.get(path+"?q=nEEDLE").want(t, http.StatusOK, "match 1 of 500 lines", `id="found">line 1 `, "<mark>Needle</mark>", `m=2&amp;q=nEEDLE#found`).lacks(t, `id="prev-match"`)
	if strings.Count(a.body, `id="found"`) != 1 {
		t.Error("more than one place is found")
	}
	b.get(path+"?q=needle&m=300").want(t, http.StatusOK, "match 300 of 500", "lines 2001–3000", `id="found">line 2094 `, "m=299", "m=301")
	b.get(path+"?q=needle&m=500").want(t, http.StatusOK, "match 500 of 500").lacks(t, `id="next-match"`)
	b.get(path+"?q=nothing").want(t, http.StatusOK, "no line has it")
	b.get(path+"?q=1+even").want(t, http.StatusOK, "lines") // spaces count
	raw := b.get(path+"/raw").want(t, http.StatusOK)
	if raw.body != text.String() || !strings.HasPrefix(raw.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("raw: %d bytes, %v", len(raw.body), raw.Header)
	}
}

// What waits, runs and has ended is shown while it happens; the live part says where to go on.
func TestRunningJob(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app", Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("0", 64)}, Build: &jobs.Build{Tags: []string{"app:1"}}})
	w := f.claim(job.ID)
	w.stage(jobs.StageBuild)
	now := time.Now()
	w.build(map[string]any{"vertexes": []map[string]any{
		{"digest": "sha256:1", "name": "[1/2] FROM alpine:3", "started": now, "completed": now, "cached": true},
		{"digest": "sha256:2", "name": "[2/2] RUN make", "started": now},
	}})
	a := f.visit("builder").get("/jobs/"+job.ID).want(t, http.StatusOK, "It runs on red, in the stage build.", "[2/2] RUN make", "so far", "cached", `hx-sse:connect="/jobs/`+job.ID+"/live?after=1%3A", "#1 CACHED", "Cancel…")
	a.lacks(t, "Retry…")
}

// A part of a log that is missing is a line that says so.
func TestGap(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	w.write(jobs.Stdout, "before\n")
	w.offset += 100
	w.write(jobs.Stdout, "after\n")
	f.visit("reader").get("/jobs/"+job.ID).want(t, http.StatusOK, `s-gap" id="L2"`, "100 bytes of the log are missing", `id="L3"`)
}

// The log of an attempt that was not the last has an address of its own.
func TestPastLog(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	f.claim(job.ID)
	blob, err := f.blobs.Write(t.Context(), bytes.NewReader(jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Now(), Data: []byte("the first try\n")})))
	if err != nil {
		t.Fatal(err)
	}
	past := &jobs.PastAttempt{Attempt: 1, Worker: "red", Log: jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}}
	if _, err := f.db.Release(t.Context(), job.ID, nonce, jobs.Release{Reason: "handed back", Past: past}); err != nil {
		t.Fatal(err)
	}
	w := f.claim(job.ID)
	w.write(jobs.Stdout, "the second try\n")
	w.finish(jobs.Result{State: jobs.Succeeded})
	b := f.visit("reader")
	b.get("/jobs/"+job.ID).want(t, http.StatusOK, "?attempt=1#log", "handed back, not your fault", "the second try")
	b.get("/jobs/"+job.ID+"?attempt=1").want(t, http.StatusOK, "Log of attempt 1", "the first try", "raw?attempt=1").lacks(t, "the second try")
	b.get("/jobs/"+job.ID+"?attempt=7").want(t, http.StatusOK, "No log of this attempt is kept")
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	blob, err := f.blobs.Write(t.Context(), strings.NewReader("not read as a tar"))
	if err != nil {
		t.Fatal(err)
	}
	job := f.submit(jobs.Spec{Name: "app"})
	f.claim(job.ID).finish(jobs.Result{State: jobs.Succeeded, Outputs: []jobs.Output{{Path: "/out", Digest: blob.Digest, Size: blob.Size}}})
	b := f.visit("reader")
	b.get("/jobs/"+job.ID).want(t, http.StatusOK, `href="/jobs/`+job.ID+`/outputs/out?tar"`)
	if got := b.get("/jobs/"+job.ID+"/outputs/out?tar").want(t, http.StatusOK).body; got != "not read as a tar" {
		t.Errorf("the output is %q", got)
	}
}
