package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

const (
	password = "correct horse battery"
	stars    = "*********************"
)

// holding gives a worker the secret db-password, and containers a place in memory for it.
func (f *farm) holding() (o func(*worker.Options), runtime string) {
	f.t.Helper()
	runtime, err := os.MkdirTemp("/dev/shm", "slipway-test")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	secrets := f.t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "db-password"), []byte(password+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return func(o *worker.Options) { o.SecretsDir, o.RuntimeDir = secrets, runtime }, runtime
}

// withSecret is a run that has it as /run/secrets/db.
func withSecret(script string) jobs.Spec {
	spec := shell(script)
	spec.Run.Secrets = []jobs.Secret{{ID: "db", Name: "db-password"}}
	return spec
}

// noSecrets waits until no container has a place for secrets any more.
func (f *farm) noSecrets(runtime string) {
	f.t.Helper()
	f.eventually("the secrets of containers are gone", func() bool {
		left, err := os.ReadDir(filepath.Join(runtime, "host-1"))
		return err == nil && len(left) == 0
	})
}

// A container has its secrets as files, which no log has, and which go with it.
func TestRunSecrets(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	held, runtime := f.holding()
	f.start(held)
	spec := withSecret("cat /run/secrets/db; echo -n correct; echo ' horse battery'; cat /run/secrets/db >&2; exit 3")
	job := f.ended(f.submit(spec))
	if job.State != jobs.Failed || job.Result.Failure.Kind != jobs.KindExitNonzero {
		t.Fatalf("the job is %s, %+v", job.State, job.Result.Failure)
	}
	log := f.log(job)
	if want := stars + "\n" + stars + "\n"; log[jobs.Stdout] != want || log[jobs.Stderr] != stars+"\n" {
		t.Errorf("the log is %q; want %q", log, want)
	}
	if tail := strings.Join(job.Result.Failure.Tail, "\n"); !strings.Contains(tail, stars) || strings.Contains(tail, password) {
		t.Errorf("the failure quotes %q; want stars", tail)
	}
	f.noSecrets(runtime)
}

// What the worker does not hold is found before a build that takes long.
func TestRunSecretIsMissing(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	held, _ := f.holding()
	f.start(held)
	f.files["Dockerfile"] = "FROM busybox\nCMD [\"true\"]\n"
	job := f.ended(f.submit(jobs.Spec{
		Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{},
		Run: &jobs.Run{Secrets: []jobs.Secret{{ID: "db", Name: "db-password"}, {ID: "x", Name: "db-user"}}},
	}))
	wantFailure(t, job, jobs.Refused, jobs.StageRun, jobs.KindSecretNotFound, "db-user")
	if job.Result.ImageID != "" {
		t.Errorf("%s was built", job.Result.ImageID)
	}
}

// A worker that has no place in memory is at fault, not the job. Its host does all else well.
func TestNoPlaceForSecrets(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	held, _ := f.holding()
	w := f.start(held, func(o *worker.Options) { o.RuntimeDir = t.TempDir() })
	for range 5 {
		id := f.submit(withSecret("cat /run/secrets/db"))
		f.eventually("the first attempt is over", func() bool { return f.job(id).State == jobs.Waiting || f.job(id).State.Terminal() })
		if past := f.job(id).Past[0]; past.Failure.Kind != jobs.KindSecretsFailed || !strings.Contains(past.Failure.Hint, "--runtime-dir") {
			t.Errorf("the attempt failed with %+v", past.Failure)
		}
	}
	if job := f.ended(f.submit(shell("true"))); job.State != jobs.Succeeded || w.Unfit() != nil {
		t.Errorf("a job without secrets is %s, and the host %v; want it well", job.State, w.Unfit())
	}
}

// The next worker of the host covers what the container prints from then on, and removes
// the secrets that no container has.
func TestSecretsOutliveTheirWorker(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	held, runtime := f.holding()
	w := f.start(held)
	id := f.submit(withSecret("cat /run/secrets/db; echo -n correct; sleep 1; echo ' horse battery'; cat /run/secrets/db"))
	f.containerRuns(id)
	f.eventually("it has printed", func() bool { return strings.Contains(f.tail(id), stars) })
	w.Drain(worker.DrainAdopt)
	w.end(t)
	stray := filepath.Join(runtime, "host-1", "slipway-of-another-time")
	if err := os.Mkdir(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stray, "db"), []byte(password), 0o400); err != nil {
		t.Fatal(err)
	}
	f.start(held, func(o *worker.Options) { o.SecretsDir = t.TempDir() }) // the operator has taken it away
	job := f.ended(id)
	if want := stars + "\n" + stars + "\n" + stars + "\n"; job.State != jobs.Succeeded || f.log(job)[jobs.Stdout] != want {
		t.Errorf("the job is %s (%+v) with the log %q; want %q", job.State, job.Result.Failure, f.log(job)[jobs.Stdout], want)
	}
	f.noSecrets(runtime)
}

// A kept service has its secrets for as long as it is up.
func TestServiceSecrets(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	held, runtime := f.holding()
	f.start(held)
	spec := withSecret("cat /run/secrets/db; sleep 1; cat /run/secrets/db; sleep 600")
	spec.Run.Keep = jobs.Duration(time.Hour)
	id := f.submit(spec)
	f.ended(id)
	f.eventually("it reads its secret again", func() bool { return strings.Count(f.tail(id), stars) == 2 })
	if strings.Contains(f.tail(id), password) {
		t.Errorf("the live log has the secret: %q", f.tail(id))
	}
	if _, err := f.svc.Cancel(t.Context(), id, "the test"); err != nil {
		t.Fatal(err)
	}
	f.noSecrets(runtime)
}
