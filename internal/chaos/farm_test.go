//go:build integration && chaos

package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// farm is a Redis, an artifact store and some workers.
type farm struct {
	t *testing.T
	// name keeps it apart from other farms on the same daemons.
	name, dir string
	// memory is where running containers have their secrets.
	memory string
	// url is how its programs reach Redis; the test itself goes there straight.
	url     string
	rdb     redis.UniversalClient
	records *records.DB
	workers []*worker
}

// newFarm starts a farm with a Redis of its own.
func newFarm(t *testing.T, name string) *farm {
	t.Helper()
	url := startRedis(t).SocketURL()
	return farmOn(t, name, url, url)
}

// farmOn starts a farm whose programs reach Redis by one way, and the test by
// another.
func farmOn(t *testing.T, name, url, straight string) *farm {
	t.Helper()
	rdb, err := redisconn.Open(t.Context(), straight)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	dir, err := os.MkdirTemp("", "slipway-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() { // the workers' logs are in it
			err = os.RemoveAll(dir)
		}
		if err != nil {
			t.Error(err)
		}
	})
	memory, err := os.MkdirTemp("/dev/shm", "slipway-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	f := &farm{t: t, name: name, dir: dir, memory: memory, url: url, rdb: rdb, records: records.New(rdb, records.Options{})}
	if err := errors.Join(os.Mkdir(f.secretsDir(), 0o700), os.WriteFile(filepath.Join(f.secretsDir(), "token"), []byte(token+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return f
}

// startRedis starts one that persists as the documentation advises.
func startRedis(t *testing.T, options ...string) *hosttest.Redis {
	t.Helper()
	return hosttest.StartRedis(t, append([]string{"--appendonly", "yes", "--appendfsync", "everysec"}, options...)...)
}

// token is the value of a secret that jobs print.
const token = "tok-4711-of-chaos"

func (f *farm) secretsDir() string { return filepath.Join(f.dir, "secrets") }

func (f *farm) storeDir() string { return filepath.Join(f.dir, "store") }

// env is the environment of the farm's programs. Whom a driver can hold at a
// step is in the directory faults.
func (f *farm) env(faults string) []string {
	env := append(os.Environ(), "SLIPWAY_REDIS="+f.url, "SLIPWAY_STORE="+f.storeDir(), "XDG_CACHE_HOME="+filepath.Join(f.dir, "cache"), "CI=true")
	if faults != "" {
		env = append(env, "SLIPWAY_FAULTS="+faults)
	}
	return env
}

// enqueue prepares a run of the command line.
func (f *farm) enqueue(ctx context.Context, faults string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bins, "enqueue"), args...)
	cmd.Env = f.env(faults)
	return cmd
}

// submit submits a job and returns its ID, if the farm acknowledged it.
func (f *farm) submit(ctx context.Context, args ...string) (string, error) {
	return f.command(ctx, append([]string{"submit", "-d", "-q"}, args...)...)
}

// command runs the command line and returns what it printed.
func (f *farm) command(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := f.enqueue(ctx, "", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("enqueue %q: %w: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (f *farm) blobs() (*artifacts.Blobs, error) {
	s, err := dirstore.New(f.storeDir())
	if err != nil {
		return nil, err
	}
	return artifacts.NewBlobs(s, f.dir), nil
}

// ended waits for the end of a job.
func (f *farm) ended(id string, limit time.Duration) jobs.Job {
	f.t.Helper()
	var job jobs.Job
	farmtest.Eventually(f.t, limit, "the end of job "+id, func() (err error) {
		if job, err = f.records.Get(f.t.Context(), id); err == nil && !job.State.Terminal() {
			err = fmt.Errorf("it is %s in stage %q, attempt %d", job.State, job.Stage, job.Attempt)
		}
		return err
	})
	return job
}

// left lists what workers keep about attempts: nothing, when all jobs ended.
// Folders that except names do not count.
func (f *farm) left(except ...string) error {
	var errs []error
	for _, w := range f.workers {
		files, err := oracle.Leftovers(w.state())
		errs = append(errs, err)
		for _, file := range files {
			if folder, _, _ := strings.Cut(file, "/"); !slices.Contains(except, folder) {
				errs = append(errs, fmt.Errorf("worker %s keeps %s", w.Name, file))
			}
		}
	}
	secrets, err := filepath.Glob(filepath.Join(f.memory, "*", "*"))
	errs = append(errs, err)
	for _, dir := range secrets {
		errs = append(errs, fmt.Errorf("a container that is gone has its secrets in %s", dir))
	}
	return errors.Join(errs...)
}

// told lists the files of the farm that have the secret which jobs print.
func (f *farm) told() error {
	var errs []error
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Dir(path) == f.secretsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(token)) {
			errs = append(errs, fmt.Errorf("%s has the secret", path))
		}
		return err
	})
	return errors.Join(append(errs, err)...)
}
