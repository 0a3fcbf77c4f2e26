package hosttest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Faulty is a registry that fails as the name of a repository says:
// STEP-TROUBLE/..., such as publish-503/app, where STEP is one of
//
//	token              it hands out a token for what it is asked next
//	manifest, blob     a pull or a look at a manifest, a pull of a layer
//	check, upload, patch, commit
//	                   a push of a layer: is it there, begin, send, end
//	publish            a push of a manifest
//
// and TROUBLE a status such as 503 or a key of [troubles]. Whatever is pulled is
// what was pushed to seed/app. Other repositories work.
type Faulty struct {
	// Addr is 127.0.0.1:port in the host's network namespace.
	Addr string

	mu    sync.Mutex
	asked map[string]int // requests by step and repository
}

// troubles are answers besides a bare status, as servers give them.
func troubles() map[string]answer {
	return map[string]answer{
		"429":       {status: 429, code: "TOOMANYREQUESTS", text: "You have reached your pull rate limit."},
		"wait":      {status: 429, code: "TOOMANYREQUESTS", text: "slow down", after: "2"},
		"401":       {status: 401, code: "UNAUTHORIZED", text: "authentication required"},
		"403":       {status: 403, code: "DENIED", text: "requested access to the resource is denied"},
		"quota":     {status: 403, code: "DENIED", text: "adding 1.0 MiB of storage resource, which when updated to current usage of 10.0 GiB will exceed the configured upper limit of 10.0 GiB."},
		"404":       {status: 404, code: "MANIFEST_UNKNOWN", text: "manifest unknown"},
		"norepo":    {status: 404, code: "NAME_UNKNOWN", text: "The repository with name 'app' does not exist in the registry with id '123456789012'"},
		"immutable": {status: 400, code: "TAG_INVALID", text: "The image tag '1' already exists in the 'app' repository and cannot be overwritten because the tag is immutable."},
		"500":       {status: 500, code: "UNKNOWN", text: "internal"},
		"html":      {status: 200, html: "<html>please log in</html>"},
		"413":       {status: 413, html: "<html>413 Request Entity Too Large</html>"},
		"502":       {status: 502, html: "<html>502 Bad Gateway</html>"},
		"503":       {status: 503, html: "<html>503 Service Unavailable</html>"},
	}
}

type answer struct {
	status     int
	code, text string // of an error in the registry's own format
	html       string
	after      string // Retry-After
}

func (a answer) write(w http.ResponseWriter) {
	if a.after != "" {
		w.Header().Set("Retry-After", a.after)
	}
	body, kind := a.html, "text/html"
	if a.code != "" {
		body, kind = fmt.Sprintf(`{"errors":[{"code":%q,"message":%q,"detail":null}]}`, a.code, a.text), "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, body)
}

// StartFaulty starts a faulty registry that the host's daemon reaches, and only
// it.
func StartFaulty(t testing.TB, h *Host) *Faulty {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &Faulty{Addr: l.Addr().String(), asked: map[string]int{}}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: f.handler(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return f
}

// Asked is how often a step of a repository was asked for.
func (f *Faulty) Asked(step, repository string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[step+" "+repository]
}

var requestPattern = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/(.*)$`)

func (f *Faulty) handler(content http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			repository := strings.Split(r.URL.Query().Get("scope")+"::", ":")[1]
			if !f.fail(w, r, "token", repository) {
				_, _ = io.WriteString(w, `{"token":"t","access_token":"t","expires_in":300}`)
			}
			return
		}
		found := requestPattern.FindStringSubmatch(r.URL.Path)
		if found == nil {
			content.ServeHTTP(w, r)
			return
		}
		repository, step := found[1], stepOf(r.Method, found[2], found[3])
		if strings.HasPrefix(repository, "token-") && r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:%s:pull,push"`, f.Addr, repository))
			answer{status: 401, code: "UNAUTHORIZED", text: "authentication required"}.write(w)
			return
		}
		if f.fail(w, r, step, repository) {
			return
		}
		if step == "manifest" || step == "blob" {
			r.URL.Path = strings.Replace(r.URL.Path, "/"+repository+"/", "/seed/app/", 1)
		}
		content.ServeHTTP(w, r)
	})
}

// fail answers a request that is to fail.
func (f *Faulty) fail(w http.ResponseWriter, r *http.Request, step, repository string) bool {
	f.mu.Lock()
	f.asked[step+" "+repository]++
	n := f.asked[step+" "+repository]
	f.mu.Unlock()
	folder, _, _ := strings.Cut(repository, "/")
	trouble, ok := strings.CutPrefix(folder, step+"-")
	if !ok {
		return false
	}
	switch trouble {
	case "hang":
		<-r.Context().Done()
	case "reset":
		panic(http.ErrAbortHandler)
	case "twice503", "twice429":
		if n > 2 {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		troubles()[strings.TrimPrefix(trouble, "twice")].write(w)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		troubles()[trouble].write(w)
	}
	return true
}

// stepOf names what a request is about.
func stepOf(method, kind, rest string) string {
	switch {
	case kind == "manifests" && method == http.MethodPut:
		return "publish"
	case kind == "manifests":
		return "manifest"
	case method == http.MethodHead:
		return "check"
	case method == http.MethodGet && !strings.HasPrefix(rest, "uploads/"):
		return "blob"
	case method == http.MethodPost:
		return "upload"
	case method == http.MethodPut:
		return "commit"
	}
	return "patch"
}
