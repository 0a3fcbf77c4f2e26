//go:build integration

package bench_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	floodBytes  = 200 << 20
	floodRounds = 2
)

// flood lets a job print as fast as it can, against a client that only reads
// what an equal container prints, and looks how much memory the worker took.
func (f *farm) flood(r *report) {
	spec := jobs.Spec{Run: &jobs.Run{
		Image:   hosttest.BusyboxTag,
		Command: []string{"sh", "-c", fmt.Sprintf("yes 'a line of output, as programs print them' | head -c %d", floodBytes)},
	}}
	cfg, host := f.settings(spec)
	var ours, theirs []float64
	for range floodRounds {
		start := time.Now()
		f.drained(cfg, host)
		theirs = append(theirs, floodBytes/1e6/time.Since(start).Seconds())
		start = time.Now()
		job := f.submit(spec, jobs.Succeeded)
		ours = append(ours, floodBytes/1e6/time.Since(start).Seconds())
		if job.Result.Log.Complete() {
			f.Errorf("the log of %d bytes counts as complete; want it cut at the worker's limit", floodBytes)
		}
		f.quiet()
	}
	r.rate("log flood of 200 MiB in MB/s, submit to finished record", "attach", 0.90, ours, theirs)
	r.atMost("peak memory of the worker after the flood, bar in MB", "flood", "", 150, f.peak()/1e6, floodBytes/1e6)
}

// drained runs one container and reads its output to the end.
func (f *farm) drained(cfg *container.Config, host *container.HostConfig) {
	made, err := f.docker.ContainerCreate(f.ctx, cfg, host, nil, nil, "")
	f.must(err)
	out, err := f.docker.ContainerAttach(f.ctx, made.ID, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	f.must(err)
	f.must(f.docker.ContainerStart(f.ctx, made.ID, container.StartOptions{}))
	n, err := io.Copy(io.Discard, out.Reader)
	out.Close()
	f.must(err)
	if n < floodBytes {
		f.Fatalf("attach read %d bytes of %d", n, floodBytes)
	}
	f.must(f.docker.ContainerRemove(f.ctx, made.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
}

// peak is the most memory that the worker ever held, in bytes.
func (f *farm) peak() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.worker.Pid()))
	f.must(err)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 64)
			f.must(err)
			return n * 1024
		}
	}
	f.Fatal("no VmHWM in the worker's status")
	return 0
}
