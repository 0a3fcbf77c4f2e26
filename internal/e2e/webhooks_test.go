//go:build integration

package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// hookServer is a receiver on a host's loopback.
type hookServer struct {
	t   *testing.T
	url string
	key []byte

	mu  sync.Mutex
	all []hookRequest
	// hold has it answer nothing; each request that comes meanwhile is told to held.
	hold bool
	held chan string
}

// hookRequest is a request that was answered with 204.
type hookRequest struct {
	id, path string
	event    struct {
		Type, Subject string
		Data          struct{ Name, State string }
	}
}

func newHookServer(t *testing.T, h *hosttest.Host) *hookServer {
	t.Helper()
	s := &hookServer{t: t, key: []byte(strings.Repeat("k", 32)), held: make(chan string, 100)}
	l, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *hookServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the worker was killed
	}
	got := hookRequest{id: r.Header.Get("webhook-id"), path: r.URL.Path}
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(got.id + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
		s.t.Errorf("the signature of %s is %q; want %q", got.id, r.Header.Get("webhook-signature"), want)
	}
	if err := json.Unmarshal(body, &got.event); err != nil {
		s.t.Errorf("the event is no JSON: %v", err)
	}
	s.mu.Lock()
	hold := s.hold
	if !hold {
		s.all = append(s.all, got)
	}
	s.mu.Unlock()
	if hold {
		s.held <- got.id
		<-r.Context().Done()
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *hookServer) holds(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = on
}

// of returns the requests about a job.
func (s *hookServer) of(job string) []hookRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.all), func(r hookRequest) bool { return r.event.Subject != job })
}

// secrets is the flag of a worker that has the secret of the receiver under a name in a folder.
func (s *hookServer) secrets(f *farm, names ...string) string {
	f.t.Helper()
	dir := filepath.Join(f.dir, "secrets")
	for _, name := range names {
		file := filepath.Join(dir, name)
		f.must(os.MkdirAll(filepath.Dir(file), 0o700))
		f.must(os.WriteFile(file, []byte("whsec_"+base64.StdEncoding.EncodeToString(s.key)), 0o600))
	}
	return "--secrets=" + dir
}

// Worker and Redis are killed between the end of a job and the answer of the receiver: the
// event comes, signed and with the same ID. What the policy does not open is not called.
func TestWebhook(t *testing.T) {
	t.Parallel()
	host := hosts.Take(t)
	f := newFarm(t)
	server := newHookServer(t, host)
	w := f.worker(host, "one", f.policy("webhooks: {schemes: [http], networks: [127.0.0.1/32]}\n"), server.secrets(f, "webhooks/ci", "notify/own"))
	for _, args := range [][]string{
		{"add", "ci", server.url + "/hook", "--secret", "ci", "--name", "app"},
		{"add", "inside", strings.Replace(server.url, "127.0.0.1", "127.0.0.2", 1)},
	} {
		if a := f.enqueue(append([]string{"webhooks"}, args...)...); a.code != 0 {
			t.Fatalf("webhooks %q: %d\n%s", args, a.code, a.stderr)
		}
	}
	if a := f.enqueue("webhooks", "test", "ci"); a.code != 0 || a.stdout != "ci: 204\n" {
		t.Errorf("test: %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	if a := f.enqueue("webhooks", "test", "inside"); a.code != jobs.ExitFailed || !strings.Contains(a.stderr, "does not allow the address") {
		t.Errorf("test of one that is not allowed: %d\n%s%s", a.code, a.stdout, a.stderr)
	}

	server.holds(true)
	other := f.submit("--name", "other", "--image", "busybox", "--", "true")
	id := f.submit("--name", "app", "--image", "busybox", "--notify", server.url+"/own,secret=own,state=failed", "--", "sh", "-c", "exit 3")
	f.ended(id)
	var held []string
	for range 2 { // it answers neither
		select {
		case one := <-server.held:
			held = append(held, one)
		case <-time.After(time.Minute):
			t.Fatal("the receiver was not called")
		}
	}
	w.Kill()
	f.must(f.redis.Kill())
	f.must(f.redis.Start())
	server.holds(false)
	w.start()
	f.eventually(2*time.Minute, "the event comes after the crash", func() bool { return len(server.of(id)) > 0 })
	f.eventually(2*time.Minute, "the event comes to both addresses", func() bool { return len(server.of(id)) > 1 })
	all := server.of(id)
	slices.SortFunc(all, func(a, b hookRequest) int { return strings.Compare(a.path, b.path) })
	got := all[0]
	if own := all[1]; own.path != "/own" || own.id == got.id {
		t.Errorf("the address of the job got %+v", own)
	}
	if e := got.event; !slices.Contains(held, got.id) || got.path != "/hook" || e.Type != "slipway.job.failed" || e.Data.Name != "app" || e.Data.State != "failed" {
		t.Errorf("after the calls %q it got %+v", held, got)
	}
	f.eventually(time.Minute, "the log says so", func() bool {
		return strings.Contains(f.enqueue("webhooks", "log", "ci", "-o", "template={{.job}} {{.state}}").stdout, id+" delivered\n")
	})
	f.ended(other)
	if n := len(server.of(other)); n != 0 {
		t.Errorf("%d events of a job that the filter does not let through", n)
	}
	log, err := os.ReadFile(filepath.Join(f.dir, "one.log"))
	f.must(err)
	if strings.Contains(string(log), "whsec_") || strings.Contains(string(log), "/hook") {
		t.Error("the log of the worker has a secret, or a path")
	}
}
