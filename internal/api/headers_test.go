package api

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
)

// A header that may come once is refused when it comes twice, whichever of the two would do: a
// proxy may have looked at the other.
func TestHeadersComeOnce(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	good := "Bearer " + f.tokens["submitter"]
	for name, header := range map[string]http.Header{
		"good and bad token":   {"Authorization": {good, "Bearer x"}},
		"bad and good token":   {"Authorization": {"Bearer x", good}},
		"empty and good token": {"Authorization": {"", good}},
		"two keys":             {"Authorization": {good}, "Idempotency-Key": {"a", "b"}},
		"the same key twice":   {"Authorization": {good}, "Idempotency-Key": {"a", "a"}},
		"two types":            {"Authorization": {good}, "Content-Type": {"application/json", "application/x-tar"}},
		"two offsets":          {"Authorization": {good}, "Upload-Offset": {"0", "1"}},
		"two ends":             {"Authorization": {good}, "Upload-Complete": {"?0", "?1"}},
		"two documents":        {"Authorization": {good}, "Slipway-Document": {"{}", "{}"}},
	} {
		r := f.send(request{method: "POST", path: "/v1/jobs?image=a", header: header})
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
	}
	if n := len(f.redis.Keys()); n > 12 && strings.Contains(strings.Join(f.redis.Keys(), " "), ":spec") {
		t.Errorf("a job was made: %q", f.redis.Keys())
	}
}

// Two lengths, or a length beside chunks, do not hide a second request in the first.
func TestNoRequestIsSmuggled(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	hidden := "DELETE /v1/tokens/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + f.tokens["admin"] + "\r\n\r\n"
	auth := "Host: x\r\nAuthorization: Bearer " + f.tokens["reader"] + "\r\n"
	for name, raw := range map[string]string{
		"two lengths":        "POST /v1/jobs HTTP/1.1\r\n" + auth + "Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		"chunks and length":  "POST /v1/jobs HTTP/1.1\r\n" + auth + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden),
		"odd chunks":         "POST /v1/jobs HTTP/1.1\r\n" + auth + "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + hidden,
		"space before colon": "POST /v1/jobs HTTP/1.1\r\n" + auth + "Content-Length : " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		"negative length":    "POST /v1/jobs HTTP/1.1\r\n" + auth + "Content-Length: -1\r\n\r\n" + hidden,
	} {
		t.Run(name, func(t *testing.T) {
			c := f.dial()
			if _, err := c.Write([]byte(raw)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(c)
			for i := 0; ; i++ {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				_ = resp.Body.Close()
				if i > 0 || resp.StatusCode < 400 {
					t.Errorf("answer %d is %s", i+1, resp.Status)
				}
				if resp.Close {
					break
				}
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
			}
			if deeds, err := f.db.Deeds(t.Context(), 10); err != nil || strings.Contains(fmt.Sprint(deeds), "DELETE") {
				t.Errorf("the hidden request was answered: %v (%v)", deeds, err)
			}
		})
	}
}

// HEAD is answered on every route that GET is, with the same status and without a body, and no
// answer lets a web page of strangers read it, or sets or heeds a cookie.
func TestHeadAndOrigins(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	for _, r := range routes() {
		path := concrete(r.path, map[string]string{
			"id": job.ID, "path": "x", "digest": "sha256:" + zeros, "upload": "none", "host": "none", "queue": "main", "name": "none", "rebuild": "none", "token": "none", "kind": "busy",
		})
		header := http.Header{"Origin": {"https://evil.example"}, "Cookie": {"token=" + f.tokens["admin"] + "; Authorization=Bearer " + f.tokens["admin"]}}
		safe := r.method == http.MethodGet
		if safe {
			get := f.send(request{method: "GET", path: path, as: "admin", header: header})
			head := f.send(request{method: "HEAD", path: path, as: "admin", header: header})
			if head.StatusCode != get.StatusCode || len(head.body) != 0 || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
				t.Errorf("HEAD %s: %d %s, GET: %d %s", path, head.StatusCode, head.Header, get.StatusCode, get.Header)
			}
		} else if status := f.send(request{method: "HEAD", path: path, as: "admin"}).StatusCode; status != http.StatusMethodNotAllowed && status != http.StatusOK && status != http.StatusNotFound {
			t.Errorf("HEAD %s, which GET is not for: %d", path, status)
		}
		for _, method := range []string{r.method, http.MethodOptions} {
			preflight := header.Clone()
			preflight.Set("Access-Control-Request-Method", r.method)
			preflight.Set("Access-Control-Request-Headers", "authorization")
			resp := f.send(request{method: method, path: path, header: preflight})
			for name := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
					t.Errorf("%s %s answers with %s", method, path, name)
				}
			}
			if r.scope != access.Scope("") && resp.StatusCode < 400 {
				t.Errorf("%s %s with a cookie and no token: %d", method, path, resp.StatusCode)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s %s may be shown as a page: %v", method, path, resp.Header)
			}
		}
	}
}
