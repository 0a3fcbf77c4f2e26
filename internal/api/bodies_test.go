package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// dial opens a connection to the server, which ends with the test.
func (f *farm) dial() net.Conn {
	f.t.Helper()
	c, err := (&net.Dialer{}).DialContext(f.t.Context(), "tcp", f.http.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// A request that waits for a job waits longer than the patience with its body, which has come.
func TestWaitOutlastsTheBody(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Patience = 500 * time.Millisecond })
	for name, r := range map[string]request{
		"a document": {method: "POST", path: "/v1/jobs?wait=1s", as: "submitter", body: strings.NewReader(`{"run":{"image":"a"}}`)},
		"a context":  {method: "POST", path: "/v1/build?wait=1s&run", as: "submitter", body: hello(t)},
		"no body":    {method: "POST", path: "/v1/jobs?wait=1s&image=a", as: "submitter"},
	} {
		start := time.Now()
		job := into[jobs.Job](t, f.send(r).want(t, http.StatusAccepted))
		if took := time.Since(start); took < time.Second || job.State != jobs.Queued {
			t.Errorf("%s: after %s the job is %s", name, took, job.State)
		}
	}
}

// Nor does a log that is followed while nothing comes end with it.
func TestFollowOutlastsThePatience(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Patience = time.Second }) // a busy machine sends a request within it
	w := f.claim(f.submit("submitter").ID)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.write(jobs.Stdout, "first\n")
		time.Sleep(3 * time.Second)
		w.write(jobs.Stdout, "last\n")
		w.finish(jobs.Result{State: jobs.Succeeded})
	}()
	r := f.send(request{method: "GET", path: "/v1/jobs/" + w.job.ID + "/logs?follow", as: "reader"}).want(t, http.StatusOK)
	<-done
	if string(r.body) != "first\nlast\n" {
		t.Errorf("followed %q", r.body)
	}
}

// A body that nothing reads and that does not come keeps no request for longer than the
// patience, whether or not its sender has a token.
func TestUnreadBodiesEnd(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Patience = time.Second }) // a busy machine answers within it
	for name, head := range map[string]string{
		"no token":        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n",
		"no token, chunk": "POST /v1/build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
		"no route":        "POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n",
		"another path":    "POST //v1/../jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n",
		"open to all":     "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n",
		"takes none":      "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer " + f.tokens["reader"] + "\r\n",
		"looks at none":   "POST /v1/jobs/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer " + f.tokens["submitter"] + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := f.dial()
			fmt.Fprintf(c, "%s\r\n", head)
			start := time.Now()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("answered with %d after %s", resp.StatusCode, took)
			}
		})
	}
}
