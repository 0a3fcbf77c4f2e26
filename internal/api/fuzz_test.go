package api

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The flags are for runs by hand: go test ./internal/api -run TestContractFuzz -v -api.fuzz 5m
// -api.seed N.
var (
	fuzzFor  = flag.Duration("api.fuzz", fuzzDefault, "how long requests are drawn")
	fuzzSeed = flag.Uint64("api.seed", 1, "seed of the requests that are drawn")
)

// planted is in the environment of the server, and theirs in all that the tenant blue has: no
// answer to another may have it.
const (
	planted = "planted-5eea0c4f"
	theirs  = "blue-only-83c1d6"
)

// TestContractFuzz draws requests over all routes: valid ones, almost valid ones and hostile ones.
// Each answer is held to openapi.yaml, and none is an error of the server, tells a secret, or
// shows a tenant what is another's. It is not parallel: the environment is that of the process.
func TestContractFuzz(t *testing.T) {
	t.Setenv("SLIPWAY_PLANTED", planted)
	leaks := goleak.IgnoreCurrent()
	temps := temporary(t)
	t.Run("requests", func(t *testing.T) {
		var log lockedBuffer
		f := newFarm(t, func(o *Options) {
			o.Patience, o.Limits.Compressed, o.TempDir = 2*time.Second, 1<<20, t.TempDir()
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		d := newDrawing(f, *fuzzSeed)
		statuses := map[int]int{}
		n := 0
		for until := time.Now().Add(*fuzzFor); time.Now().Before(until) && n < 1_000_000; n++ {
			statuses[d.round(n)]++
		}
		t.Logf("seed %d: %d requests, by status: %v", *fuzzSeed, n, statuses)
		if text := log.String(); strings.Contains(text, "panicked") || strings.Contains(text, "level=ERROR") {
			t.Errorf("the server logged: %s", text[:min(len(text), 4000)])
		}
		if text := log.String(); d.secret(text) != "" {
			t.Errorf("the log of the server has a secret: %s", d.secret(text))
		}
		// What requests left behind ends by itself.
		if left, err := os.ReadDir(f.server.TempDir); err != nil || len(left) != 0 {
			t.Errorf("temporary files are left: %v (%v)", left, err)
		}
	})
	// A follower that went may leave a read of Redis that ends after a while.
	if err := goleak.Find(leaks, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")); err != nil {
		t.Error(err)
	}
	if now := temporary(t); len(now) > len(temps) {
		t.Errorf("files are left beside the tests': %v", now)
	}
}

// temporary lists what contexts that come leave in the system's directory.
func temporary(t *testing.T) []string {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "slipway-context-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// drawing draws requests to a farm that has something to find.
type drawing struct {
	*farm
	*rand.Rand
	hashes  []string
	secrets []string
	ids     []string // of jobs, in several states
	digests []string
	uploads []string
}

func newDrawing(f *farm, seed uint64) *drawing {
	d := &drawing{farm: f, Rand: rand.New(rand.NewPCG(seed, 1))}
	for _, text := range f.tokens {
		id, secret, _ := access.Split(text)
		kept, err := f.db.Token(f.t.Context(), id)
		if err != nil {
			f.t.Fatal(err)
		}
		d.hashes, d.secrets = append(d.hashes, kept.Hash), append(d.secrets, secret)
	}
	for _, as := range []string{"submitter", "blue", "green"} {
		mark := as
		if as == "blue" {
			mark = theirs
		}
		body := fmt.Sprintf(`{"name":"%s","labels":{"mark":"%s"},"run":{"image":"a","env":{"MARK":"%s"}}}`, mark, mark, mark)
		submit := func() *worker {
			job := into[jobs.Job](f.t, f.send(request{method: "POST", path: "/v1/jobs", as: as, body: strings.NewReader(body)}).want(f.t, http.StatusAccepted))
			d.ids = append(d.ids, job.ID)
			return &worker{farm: f, job: job}
		}
		submit() // waits
		run := f.claim(submit().job.ID)
		run.write(jobs.Stdout, mark+"\n")
		for _, r := range []jobs.Result{
			{State: jobs.Succeeded}, {State: jobs.Failed, Failure: &jobs.Failure{Kind: jobs.KindExitNonzero, Stage: jobs.StageRun, Message: mark, Tail: []string{mark}}},
		} {
			w := f.claim(submit().job.ID)
			w.write(jobs.BuildStatus, `{"vertexes":[{"digest":"sha256:a","name":"`+mark+`","started":"2026-01-01T00:00:00Z"}]}`)
			w.write(jobs.Stdout, mark+" \x1b]0;title\x07<script>\u202e\n")
			w.write(jobs.Stderr, "\xff\xfe\x00")
			blob, err := f.blobs.Write(f.t.Context(), archive(f.t, map[string]string{"out/a": mark, "out/b/c": strings.Repeat("x", 5000)}))
			if err != nil {
				f.t.Fatal(err)
			}
			r.Outputs = []jobs.Output{{Path: "/srv/out", Digest: blob.Digest, Size: blob.Size, Entries: 2}}
			w.finish(r)
			if as != "blue" {
				d.digests = append(d.digests, blob.Digest)
			}
		}
	}
	return d
}

// secret is what in a text must be in no answer.
func (d *drawing) secret(text string) string {
	for _, s := range append(append([]string{planted, d.storeDir, d.server.UploadDir, d.server.TempDir}, d.hashes...), d.secrets...) {
		if strings.Contains(text, s) {
			return s
		}
	}
	return ""
}

// round sends a request, and holds its answer to all that is wanted of one.
func (d *drawing) round(n int) int {
	raw, as, upsets := d.request()
	d.t.Helper()
	complain := func(format string, args ...any) {
		d.t.Errorf("request %d of seed %d, as %q: %s\n%.3000q", n, *fuzzSeed, as, fmt.Sprintf(format, args...), raw)
	}
	c, err := (&net.Dialer{}).DialContext(d.t.Context(), "tcp", d.http.Listener.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	_, _ = c.Write(raw) // the server may refuse it before its end
	req, unreadable := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if upsets || unreadable != nil {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, req)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, req)
	}
	// A connection with more than the server reads of it ends with a reset, and of what is no
	// request it reads nothing more.
	upsets = upsets || len(raw) > 64<<10 || unreadable != nil
	if err != nil {
		if unreadable == nil && !upsets {
			complain("no answer: %v", err)
		}
		return 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !upsets {
		complain("%d, and the body ends with %v", resp.StatusCode, err)
	}
	if err != nil {
		return resp.StatusCode
	}
	d.judge(complain, req, unreadable, as, resp, body)
	return resp.StatusCode
}

func (d *drawing) judge(complain func(string, ...any), req *http.Request, unreadable error, as string, resp *http.Response, body []byte) {
	head := fmt.Sprint(resp.Header)
	switch s := d.secret(string(body) + head); {
	case s != "":
		complain("%d tells the secret %s: %s", resp.StatusCode, s, body)
	case (as == "green" || as == "" || as == "old" || as == "revoked") && strings.Contains(string(body)+head, theirs):
		complain("%d shows what is another tenant's: %s", resp.StatusCode, body)
	case resp.StatusCode >= 500 && !busy(body):
		complain("%d %s", resp.StatusCode, body)
	}
	if media := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && media != problemMedia && !ofTheLibrary(resp, unreadable) {
		complain("%d is no problem but %s: %s", resp.StatusCode, media, body)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified {
		complain("%d leads to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if unreadable != nil || ofTheLibrary(resp, unreadable) {
		return
	}
	req.RequestURI = ""
	if err := d.server.keepsContract(d.t.Context(), req, resp, body); err != nil {
		complain("%d %s: %v", resp.StatusCode, body, err)
	}
}

// busy reports whether a problem says that the server does enough already.
func busy(body []byte) bool { return bytes.Contains(body, []byte(`"/problems/busy"`)) }

// ofTheLibrary are answers of net/http itself, to what is no request of HTTP.
func ofTheLibrary(resp *http.Response, unreadable error) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge, http.StatusHTTPVersionNotSupported, http.StatusExpectationFailed, http.StatusNotImplemented:
		return unreadable != nil || resp.Header.Get("Content-Type") != problemMedia && resp.Close
	}
	return false
}
