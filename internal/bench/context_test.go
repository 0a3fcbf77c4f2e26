//go:build integration

package bench_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	contextBytes  = 1 << 30
	contextRounds = 3
	// memoryBar is what worker and submit may take for a context of any size.
	memoryBar  = 80
	smallFiles = 100_000
)

// contexts takes a context of 1 GiB through the farm in each form it can have,
// against the docker command reading the same tar from stdin; and looks at
// memory, at hostile archives, and at packing.
func (f *farm) contexts(r *report) {
	dir := f.contextDir
	plain := filepath.Join(dir, "context.tar")
	f.must(writeContext(plain, "FROM "+f.base()+"\nCOPY Dockerfile /\n"))
	forms := []struct {
		name, ref string
		rounds    int
	}{
		{"zstd, from the store", "", contextRounds},
		{"plain, from a file", "file://" + plain, contextRounds},
		{"gzip, from a file", "file://" + f.gzipped(plain), 1},
	}
	forms[0].ref = f.uploaded(r, plain)
	ours := make([][]float64, len(forms))
	var theirs []float64
	f.resetPeak()
	for round := range contextRounds {
		f.prune()
		theirs = append(theirs, contextBytes/1e6/f.dockerBuild(plain).Seconds())
		for i, form := range forms {
			if round >= form.rounds {
				continue
			}
			f.prune()
			start := time.Now()
			job := f.submit(jobs.Spec{Context: &jobs.Context{Ref: form.ref}, Build: anew()}, jobs.Succeeded)
			took := time.Since(start)
			ours[i] = append(ours[i], contextBytes/1e6/took.Seconds())
			r.note("%s: %s, of which %v", form.name, took.Round(time.Millisecond), job.Result.Times)
		}
	}
	for i, form := range forms {
		r.rate("build of a 1 GiB context in MB/s: "+form.name, "docker build -", 0.90, ours[i], theirs[:len(ours[i])])
	}
	r.atMost("peak memory of the worker meanwhile, bar in MB", "context", "", memoryBar, f.peak()/1e6, contextBytes/1e6)
	f.hostile(r)
	f.packing(r)
}

// base publishes an image to build on and returns its name: a build that stands on nothing
// takes another way into the daemon.
func (f *farm) base() string {
	f.Helper()
	tag := hosttest.StartSharedRegistry(f.B, hosttest.RegistryOptions{}, f.host) + "/base:1"
	f.publish(tag, "FROM "+hosttest.BusyboxTag+"\nRUN true\n")
	return tag
}

// publish builds a Dockerfile and pushes the image.
func (f *farm) publish(tag, dockerfile string) {
	f.Helper()
	context := f.dockerfile("base.tar", dockerfile)
	f.submit(jobs.Spec{Context: &context, Build: &jobs.Build{Tags: []string{tag}, Push: true}}, jobs.Succeeded)
}

// writeContext writes a tar of 1 GiB that compresses to about half.
func writeContext(name, dockerfile string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	b := bufio.NewWriterSize(file, 1<<20)
	w := tar.NewWriter(b)
	noise := rand.NewChaCha8([32]byte{1})
	chunk := make([]byte, 64<<10)
	for _, entry := range []struct {
		name string
		size int64
	}{{"Dockerfile", int64(len(dockerfile))}, {"big", contextBytes}} {
		if err := w.WriteHeader(&tar.Header{Name: entry.name, Mode: 0o644, Size: entry.size}); err != nil {
			return err
		}
		if entry.size < contextBytes {
			if _, err := io.WriteString(w, dockerfile); err != nil {
				return err
			}
			continue
		}
		for range contextBytes / len(chunk) {
			_, _ = noise.Read(chunk[:len(chunk)*9/20])
			if _, err := w.Write(chunk); err != nil {
				return err
			}
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return b.Flush()
}

// gzipped is the file compressed with gzip.
func (f *farm) gzipped(name string) string {
	f.Helper()
	in, err := os.Open(name)
	f.must(err)
	defer in.Close()
	out, err := os.Create(name + ".gz")
	f.must(err)
	w, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	f.must(err)
	_, err = io.Copy(w, in)
	f.must(err)
	f.must(w.Close())
	f.must(out.Close())
	return name + ".gz"
}

// uploaded submits a directory with what is in the tar, looks how much memory
// that takes, and returns the reference of the context.
func (f *farm) uploaded(r *report, name string) string {
	f.Helper()
	dir := filepath.Join(f.dir, "upload")
	f.must(os.MkdirAll(dir, 0o750))
	f.must(f.run(exec.CommandContext(f.ctx, "tar", "-xf", name, "-C", dir)))
	cmd := f.enqueue("submit", "-d", "-q", "--queue", "unserved", dir)
	out, err := cmd.Output()
	f.must(err)
	r.atMost("peak memory of submit packing 1 GiB, bar in MB", "context", "", memoryBar, maxRSS(cmd)/1e6, contextBytes/1e6)
	f.must(os.RemoveAll(dir))
	job, err := f.svc.Get(f.ctx, string(bytes.TrimSpace(out)))
	f.must(err)
	return job.Spec.Context.Ref
}

// enqueue is the program on this farm.
func (f *farm) enqueue(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(f.ctx, filepath.Join(f.bins, "enqueue"), args...)
	cmd.Env = f.env(f.redis)
	cmd.Stderr = os.Stderr
	return cmd
}

func (f *farm) run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// maxRSS is the most memory that a program held, in bytes.
func maxRSS(cmd *exec.Cmd) float64 {
	return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1024
}

// dockerBuild is `docker build - <file`, with BuildKit.
func (f *farm) dockerBuild(name string) time.Duration {
	f.Helper()
	in, err := os.Open(name)
	f.must(err)
	defer in.Close()
	cmd := f.dockerCommand(f.host.DockerHost(), "build", "-q", "-")
	cmd.Stdin = in
	start := time.Now()
	f.must(f.run(cmd))
	return time.Since(start)
}

// dockerCommand is the docker command on a daemon, with BuildKit and settings of its own.
func (f *farm) dockerCommand(daemon string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(f.ctx, dockerCLI(), args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+daemon, "DOCKER_BUILDKIT=1", "DOCKER_CONFIG="+filepath.Join(f.dir, "docker"))
	return cmd
}

// dockerCLI prefers the distribution's docker, which can use BuildKit without a
// plugin.
func dockerCLI() string {
	const debian = "/usr/bin/docker"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "docker"
}

// anew is a build that no other was the same as.
func anew() *jobs.Build { return &jobs.Build{Args: map[string]string{"ANEW": uuid.NewString()}} }

// prune empties the build cache, so that no build is helped by one before.
func (f *farm) prune() {
	f.Helper()
	_, err := f.docker.BuildCachePrune(f.ctx, build.CachePruneOptions{All: true})
	f.must(err)
}

// resetPeak makes peak count from now on.
func (f *farm) resetPeak() {
	f.Helper()
	f.must(os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", f.worker.Pid()), []byte("5"), 0))
}

// hostile measures how soon a bomb is refused, and how much memory a million
// entries take.
func (f *farm) hostile(r *report) {
	bomb := filepath.Join(f.contextDir, "bomb.tar.gz")
	f.must(os.WriteFile(bomb, contextstest.Bomb(f), 0o600))
	start := time.Now()
	job := f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file://" + bomb}, Build: &jobs.Build{}}, jobs.Refused)
	took := time.Since(start)
	if got := job.Result.Failure.Kind; got != jobs.KindContextRatio {
		f.Errorf("the bomb is refused as %s", got)
	}
	start = time.Now()
	f.must(f.run(exec.CommandContext(f.ctx, "sh", "-c", "gzip -dc "+bomb+" 2>/dev/null | head -c 3221225472 >/dev/null")))
	r.limit("gzip bomb of 3 MB (3 GiB), submit to refusal", "gunzip", 2*time.Second, took, time.Since(start))

	many := filepath.Join(f.contextDir, "many.tar.zst")
	f.must(writeMany(f.ctx, many, 1_000_000))
	f.resetPeak()
	start = time.Now()
	job = f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file://" + many}, Build: &jobs.Build{}}, jobs.Refused)
	if got := job.Result.Failure.Kind; got != jobs.KindTooManyEntries {
		f.Errorf("a million entries are refused as %s", got)
	}
	r.note("a million entries: refused after %s", time.Since(start).Round(time.Millisecond))
	r.atMost("peak memory of the worker refusing a million entries, in MB", "archive", "", memoryBar, f.peak()/1e6, 512)
}

func writeMany(_ context.Context, name string, n int) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, contextstest.Entries(n)); err != nil {
		return err
	}
	return z.Close()
}

// packing compares submit packing very many small files with tar and zstd at
// the same level.
func (f *farm) packing(r *report) {
	dir := filepath.Join(f.dir, "small")
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range smallFiles {
		sub := filepath.Join(dir, strconv.Itoa(i%100), strconv.Itoa(i/100%20))
		if i < 2000 {
			f.must(os.MkdirAll(sub, 0o750))
		}
		content := bytes.Repeat([]byte(strconv.Itoa(noise.Int())), 50)
		f.must(os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), content, 0o600))
	}
	f.must(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600))
	var ours, theirs []float64
	for range contextRounds {
		start := time.Now()
		f.must(f.run(exec.CommandContext(f.ctx, "sh", "-c", "tar -cf - -C "+dir+" . | zstd -q -1 >"+filepath.Join(f.dir, "small.tar.zst"))))
		theirs = append(theirs, smallFiles/time.Since(start).Seconds())
		cmd := f.enqueue("submit", "--dry-run", "--no-cache-dir", dir)
		start = time.Now()
		f.must(cmd.Run())
		ours = append(ours, smallFiles/time.Since(start).Seconds())
	}
	r.rate("packing of 100,000 small files, files/s", "tar and zstd -1", 0.80, ours, theirs)
	f.must(os.RemoveAll(dir))
}
