package webhooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// secrets are those of the worker; the one named damaged is a password.
func secrets(name string) ([]byte, error) {
	values := map[string]string{"webhooks/ci": secretOf('c') + "\n", "webhooks/next": secretOf('n'), "webhooks/damaged": "hunter2", "notify/own": secretOf('o')}
	v, ok := values[name]
	if !ok {
		return nil, fmt.Errorf("the worker has no secret named %q", name)
	}
	return []byte(v), nil
}

func secretOf(r byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(r), 32)))
}

// got is a request that a receiver got.
type got struct {
	id, url string
	at      time.Time
	event   map[string]any
	// answered is the status that it answered with.
	answered int
}

// receiver is a server outside the farm. It checks the signature of each request as the
// documentation of Standard Webhooks says, with code of its own.
type receiver struct {
	t *testing.T
	// keys are the secrets that it knows; nil takes requests without a signature.
	keys []string
	// answer decides about the nth request from 1 on; nil accepts all.
	answer func(n int, g got) *http.Response

	mu  sync.Mutex
	all []got
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	g := got{id: req.Header.Get("webhook-id"), url: req.URL.String(), at: time.Now()}
	if err := json.Unmarshal(body, &g.event); err != nil {
		r.t.Errorf("the body is no JSON: %v", err)
	}
	r.check(req, g, body)
	r.all = append(r.all, g)
	n, resp := len(r.all), answer(http.StatusNoContent, "")
	r.mu.Unlock()
	if r.answer != nil { // outside the lock: it may take its time
		resp = r.answer(n, g)
	}
	if resp == nil {
		return nil, errors.New("the connection broke")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[n-1].answered = resp.StatusCode
	return resp, nil
}

// check fails the test unless the request is a CloudEvent that is signed.
func (r *receiver) check(req *http.Request, g got, body []byte) {
	if req.Method != http.MethodPost || req.Header.Get("content-type") != "application/cloudevents+json" || len(body) >= 20_000 {
		r.t.Errorf("%s with %q and %d bytes", req.Method, req.Header.Get("content-type"), len(body))
	}
	for key, want := range map[string]string{"specversion": "1.0", "id": g.id, "datacontenttype": "application/json"} {
		if g.event[key] != want {
			r.t.Errorf("the event has %s %q; want %q", key, g.event[key], want)
		}
	}
	for _, key := range []string{"source", "type", "subject"} {
		if text, _ := g.event[key].(string); text == "" {
			r.t.Errorf("the event has no %s: %s", key, body)
		}
	}
	if signed := req.Header.Get("webhook-signature"); (signed == "") != (r.keys == nil) || signed != "" && !verified(req.Header, body, r.keys) {
		r.t.Errorf("the signature %q of %s does not hold", signed, g.id)
	}
}

// verified reports whether one of the signatures was made with one of the secrets within
// five minutes of now.
func verified(h http.Header, body []byte, keys []string) bool {
	sent, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	for _, signature := range strings.Split(h.Get("webhook-signature"), " ") {
		version, value, _ := strings.Cut(signature, ",")
		for _, key := range keys {
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
			mac := hmac.New(sha256.New, raw)
			mac.Write([]byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "." + string(body)))
			if version == "v1" && value == base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
				return true
			}
		}
	}
	return false
}

func answer(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// requests are those that the receiver got so far.
func (r *receiver) requests() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]got{}, r.all...)
}

// farm is a farm in memory whose webhooks lead to one receiver.
type farm struct {
	*jobstest.Memory
	*receiver
	t *testing.T
	n int // callers so far
}

func newFarm(t *testing.T, hooks ...jobs.Webhook) *farm {
	t.Helper()
	f := &farm{
		Memory: jobstest.NewMemory(jobstest.Options{Now: time.Now}), receiver: &receiver{t: t, keys: []string{secretOf('c')}}, t: t,
	}
	for _, w := range hooks {
		if err := f.AddWebhook(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func ci() jobs.Webhook {
	return jobs.Webhook{Name: "ci", URL: "https://ci.example.com/hook?token=s3cret", Secrets: []string{"ci"}}
}

// end has a worker end a job.
func (f *farm) end(id string, s jobs.Spec, r jobs.Result) {
	f.t.Helper()
	endJob(f.t, f.Memory, f.Memory, id, s, r)
}

func endJob(t *testing.T, records jobs.Records, claims jobs.Claims, id string, s jobs.Spec, r jobs.Result) {
	t.Helper()
	if s.Run == nil && s.Build == nil {
		s.Run = &jobs.Run{Image: "busybox"}
	}
	job := jobs.NewJob(id, s.Normalize())
	if _, err := records.Create(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	if _, err := claims.Claim(t.Context(), job.Ticket(), jobs.Owner{Worker: "w", Host: "h", Nonce: "n-" + id, Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := claims.Finish(t.Context(), id, "n-"+id, r); err != nil {
		t.Fatal(err)
	}
}

func failed() jobs.Result {
	code := 3
	f := jobs.Fail(jobs.KindExitNonzero, nil, "look at the log", "the container ended with exit code 3")
	f.Stage = jobs.StageRun
	return jobs.Result{State: jobs.Failed, Failure: f, ExitCode: &code, Attempt: 1}
}

func succeeded() jobs.Result { return jobs.Result{State: jobs.Succeeded, Attempt: 1} }

// sender leads to the receiver.
func (f *farm) sender() *webhooks.Sender { return senderTo(f.receiver) }

func senderTo(to http.RoundTripper) *webhooks.Sender {
	return webhooks.NewSender(func() webhooks.Rules { return webhooks.Rules{Schemes: []string{"https"}, Guard: netguard.Guard{}} }, secrets, webhooks.SenderOptions{Transport: to})
}

// run starts a caller; stop ends it in order, and waits for it.
func (f *farm) run(change ...func(*webhooks.Deps, *webhooks.Options)) (stop func()) {
	f.t.Helper()
	f.n++
	d := webhooks.Deps{Endings: f.Memory, Webhooks: f.Memory, Calls: f.Memory, Sender: f.sender()}
	o := webhooks.Options{Nonce: fmt.Sprint("caller ", f.n), Farm: "one", Every: time.Second, Rand: func() float64 { return 0.5 }}
	for _, c := range change {
		c(&d, &o)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	var done sync.WaitGroup
	done.Go(func() { webhooks.New(nil, d, o).Run(ctx) })
	return func() { cancel(); done.Wait() }
}

// log returns the calls of the log, those to which something happened last first.
func (f *farm) log() []jobs.HookCall {
	f.t.Helper()
	calls, err := f.Calls(f.t.Context(), "", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	return calls
}

// hook returns a webhook.
func (f *farm) hook(name string) jobs.Webhook {
	f.t.Helper()
	list, err := f.Webhooks(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, w := range list {
		if w.Name == name {
			return w
		}
	}
	f.t.Fatalf("there is no webhook %s: %v", name, fs.ErrNotExist)
	return jobs.Webhook{}
}

// inBubble runs a test on a clock that jumps.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}
