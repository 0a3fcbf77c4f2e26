//go:build integration

package bench_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
	"github.com/slipway-farm/slipway/internal/records"
)

var serveFor = flag.Duration("serve.for", time.Minute, "how long the HTTP API is read and followed")

const (
	serveFollowers = 200
	serveReads     = 500 // a second
	serveLines     = 10_000
	serveJobs      = 100 // at once
	serveUploads   = 6
)

// server is a real enqueue serve on a real Redis. No daemon is there: the workers are
// goroutines of this process that take jobs through queue and store.
type server struct {
	*farm
	store      string
	records    *records.DB
	cmd        *exec.Cmd
	url, token string
	client     *http.Client
}

// BenchmarkServe measures the HTTP API; run it with -benchtime 1x.
func BenchmarkServe(b *testing.B) {
	s := &server{farm: &farm{B: b, ctx: b.Context(), bins: b.TempDir(), dir: b.TempDir(), host: &hosttest.Host{}}}
	s.must(farmtest.Build(s.ctx, s.bins))
	s.redis = hosttest.StartRedis(b)
	s.rdb = s.open(s.redis)
	s.svc, s.records, s.store = service(s.rdb), records.New(s.rdb, records.Options{}), filepath.Join(s.dir, "store")
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	s.start()
	r := &report{}
	for _, m := range []struct {
		name    string
		measure func(*server, *report)
	}{
		{"followed", (*server).followed},
		{"uploads", (*server).uploads},
	} {
		b.Run(m.name, func(b *testing.B) {
			part, f := *s, *s.farm
			f.B, f.ctx, part.farm = b, b.Context(), &f
			for b.Loop() {
				m.measure(&part, r)
			}
			b.ReportMetric(0, "ns/op") // the length of the run says nothing
		})
	}
	fmt.Printf("\n%s", r)
}

func (s *server) program(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bins, "enqueue"), args...)
	cmd.Env = append(os.Environ(), "SLIPWAY_REDIS="+s.redis.SocketURL(), "SLIPWAY_STORE="+s.store, "TMPDIR="+s.dir)
	return cmd
}

// start runs the server until the end, and makes a token.
func (s *server) start() {
	s.Helper()
	text, err := s.program("tokens", "create", "bench").Output()
	s.must(err)
	s.token = strings.TrimSpace(string(text))
	s.cmd = s.program("serve", "--listen", "127.0.0.1:0", "--rate", "100000", "--no-limits")
	out, err := s.cmd.StderrPipe()
	s.must(err)
	s.must(s.cmd.Start())
	s.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for s.url == "" && lines.Scan() {
		_, s.url, _ = strings.Cut(lines.Text(), "serving the farm at ")
	}
	go func() {
		for lines.Scan() {
			fmt.Println("serve:", lines.Text())
		}
	}()
}

func (s *server) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	return s.client.Do(req)
}

// followed measures reads and jobs with and without followers of one log.
func (s *server) followed(r *report) {
	sample := jobs.Job{Spec: jobs.Spec{Run: &jobs.Run{Image: "a"}}.Normalize(), Worker: "w", Host: "h", Result: &jobs.Result{State: jobs.Succeeded}}
	id := s.submitted()
	s.load(*serveFor/10, id, sample) // what is needed once
	without, alone := s.load(*serveFor, id, sample)
	var came atomic.Int64
	var wg sync.WaitGroup
	followed := s.submitted()
	for range serveFollowers {
		wg.Go(func() { came.Add(s.follow(s.ctx, followed)) })
	}
	wg.Go(func() { s.write(s.ctx, followed, *serveFor) })
	with, beside := s.load(*serveFor, id, sample)
	wg.Wait() // the log has ended, and with it its followers
	if want := int64(serveFollowers * serveLines); came.Load() != want {
		s.Errorf("%d lines came to the followers, want %d", came.Load(), want)
	}
	r.latency(fmt.Sprintf("%d reads a second beside %d followers of 10,000 lines, p99", serveReads, serveFollowers), "without", 3, quantile(with, 0.99), quantile(without, 0.99))
	r.note("reads, p50: %s with followers, %s without", millis(quantile(with, 0.5)), millis(quantile(without, 0.5)))
	r.rate("jobs a second beside them", "without", 0.9, []float64{beside}, []float64{alone})
	r.atMost("peak memory of enqueue serve, bar in MB", "10,000 lines", "", 200, s.peakOf()/1e6, 1)
}

func (s *server) submitted() string {
	s.Helper()
	sub, err := s.svc.Submit(s.ctx, jobs.Spec{Queue: "bench-http", Run: &jobs.Run{Image: "a"}})
	s.must(err)
	return sub.ID
}

// load reads a job so often, and does jobs meanwhile.
func (s *server) load(d time.Duration, id string, sample jobs.Job) (waits []time.Duration, rate float64) {
	s.Helper()
	var mu sync.Mutex
	var g errgroup.Group
	g.Go(func() error {
		specs := make([]jobs.Spec, serveJobs)
		for i := range specs {
			specs[i] = sample.Spec
		}
		n, start := 0, time.Now()
		for time.Since(start) < d {
			if _, err := s.svc.SubmitBatch(s.ctx, specs); err != nil {
				return err
			}
			s.work(s.redis, s.records, sample, serveJobs)
			n += serveJobs
		}
		rate = float64(n) / time.Since(start).Seconds()
		return nil
	})
	tick := time.NewTicker(time.Second / serveReads)
	defer tick.Stop()
	for until := time.Now().Add(d); time.Now().Before(until); {
		<-tick.C
		g.Go(func() error {
			start := time.Now()
			resp, err := s.get(s.ctx, "/v1/jobs/"+id)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("a read: %s", resp.Status)
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, time.Since(start))
			return err
		})
	}
	s.must(g.Wait())
	return waits, rate
}

// follow reads the log of a job to its end, and returns how many lines came.
func (s *server) follow(ctx context.Context, id string) (n int64) {
	resp, err := s.get(ctx, "/v1/jobs/"+id+"/logs?follow")
	if err != nil {
		s.Error(err)
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		n++
	}
	return n
}

// write is the worker of the job that is followed.
func (s *server) write(ctx context.Context, id string, d time.Duration) {
	const nonce = "0123456789abcdef0123456789abcdef"
	job, err := s.records.Claim(ctx, jobs.Ticket{ID: id}, jobs.Owner{Worker: "w", Host: "h", Nonce: nonce, Lease: time.Hour})
	if err != nil {
		s.Error(err)
		return
	}
	offset := int64(0)
	tick := time.NewTicker(d * 8 / 10 / (serveLines / 100))
	defer tick.Stop()
	for i := 0; i < serveLines; {
		<-tick.C
		var raw []byte
		for range 100 {
			raw = jobs.AppendFrame(raw, jobs.Frame{Stream: jobs.Stdout, At: time.Now(), Data: fmt.Appendf(nil, "line %d of a log that many follow\n", i)})
			i++
		}
		if err := s.records.AppendLog(ctx, id, nonce, jobs.LogChunk{Attempt: job.Attempt, Offset: offset, Data: raw}); err != nil {
			s.Error(err)
			return
		}
		offset += int64(len(raw))
	}
	if err := s.records.Finish(ctx, id, nonce, jobs.Result{State: jobs.Succeeded, Attempt: job.Attempt}); err != nil {
		s.Error(err)
	}
}

// peakOf is the most memory that the server held, in bytes.
func (s *server) peakOf() float64 {
	s.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	s.must(err)
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	s.must(err)
	return kb * 1024
}

// settle lets what came before have no part in what is measured next: what was written goes to
// the disk, and a virtual machine may give memory that was freed back to its host, some seconds
// later, from where it is slower to get.
func settle() {
	syscall.Sync()
	time.Sleep(5 * time.Second)
}

// uploads stores a context of 1 GiB over HTTP, and as submit does, in turn.
func (s *server) uploads(r *report) {
	s.Helper()
	name := filepath.Join(s.dir, "context.tar")
	s.must(writeContext(name, "FROM scratch\nCOPY big /\n"))
	d, err := dirstore.New(s.store)
	s.must(err)
	blobs := artifacts.NewBlobs(d, s.dir)
	in, err := os.Open(name)
	s.must(err)
	defer in.Close() // only read
	info, err := in.Stat()
	s.must(err)
	length := info.Size()
	packed := func() {
		_, err := in.Seek(0, io.SeekStart)
		s.must(err)
		_, err = pack.UploadTar(s.ctx, blobs, in, pack.UploadOptions{TempDir: s.dir})
		s.must(err)
	}
	sent := func() {
		file, err := os.Open(name) // the client closes it
		s.must(err)
		req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.url+"/v1/contexts", file)
		s.must(err)
		req.ContentLength = length // as curl sends a file
		req.Header.Set("Authorization", "Bearer "+s.token)
		resp, err := s.client.Do(req)
		s.must(err)
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			s.Fatalf("upload: %s", resp.Status)
		}
	}
	timed := func(upload func()) float64 {
		settle()
		start := time.Now()
		upload()
		took := time.Since(start)
		for _, p := range []artifacts.Place{artifacts.Wholes, artifacts.Indexes, artifacts.Chunks} { // the next one finds nothing
			at := d.In(p)
			s.must(at.List(s.ctx, func(b artifacts.Stored) error { return at.Delete(s.ctx, b.Digest) }))
		}
		return contextBytes / 1e6 / took.Seconds()
	}
	var ours, theirs []float64
	for i := range serveUploads { // in turn, now one first and now the other
		if i%2 == 0 {
			theirs = append(theirs, timed(packed))
		}
		ours = append(ours, timed(sent))
		if i%2 == 1 {
			theirs = append(theirs, timed(packed))
		}
	}
	r.rate("upload of a 1 GiB context over HTTP in MB/s", "pack.UploadTar", 0.9, ours, theirs)
	r.note("uploads in MB/s, over HTTP %.0f, packing %.0f", ours, theirs)
	r.note("peak memory of enqueue serve after the uploads: %.0f MB", s.peakOf()/1e6)
}
