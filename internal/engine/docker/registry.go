package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// askTime bounds a question to a registry that only explains, or saves time: the
// daemon gets its answer in the end.
const askTime = 10 * time.Second

// maxManifest bounds what is read of a manifest; the specification has no bound,
// registries take 4 MiB.
const maxManifest = 4 << 20

// maxAsked is how many layers of an image are asked for one by one.
const maxAsked = 64

// A registry is asked by this process, too, because the daemon hands on less than
// the registry said: version 20.10 calls a token server in trouble
// "unauthorized", version 29 hands on the registry's words without their status.
// What is learned so explains a failure of the daemon or spares it a hopeless
// try. It is never what a job stands on: the daemon may have a mirror, a proxy or
// certificates of its own.
type registryClient struct {
	repo   name.Repository
	target string // a tag or a digest
	client *http.Client
	wait   *waitTransport
	// login makes what adds the login to requests; it asks which one is wanted.
	login func(context.Context, http.RoundTripper) (http.RoundTripper, error)
	// challenged is set once the repository was asked which login it wants.
	challenged bool
	close      func() // gives back its connections
}

// askPull asks a registry for all that a pull of ref needs. A registry that this
// process does not reach says nothing.
func (e *Engine) askPull(ctx context.Context, ref string) refusal {
	c, r := e.dial(ctx, ref, transport.PullScope)
	if c == nil {
		return r
	}
	defer c.close()
	raw, kind, err := c.manifest(ctx, c.target)
	if err == nil && kind.IsIndex() {
		var index v1.IndexManifest
		if err = json.Unmarshal(raw, &index); err == nil && len(index.Manifests) > 0 {
			raw, _, err = c.manifest(ctx, index.Manifests[0].Digest.String())
		}
	}
	var m v1.Manifest
	if err == nil && json.Unmarshal(raw, &m) != nil {
		return refusal{broken: true, words: "the manifest cannot be read"}
	}
	for i, layer := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err != nil || i == maxAsked || layer.Digest.Hex == "" {
			break
		}
		// As a pull does: some answer HEAD where what they send GET on to is in trouble.
		err = c.do(ctx, http.MethodGet, "blobs/"+layer.Digest.String(), nil, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	}
	return c.refusal(ctx, err)
}

// askPush asks a registry whether it would take ref: it begins an upload and
// gives it up.
func (e *Engine) askPush(ctx context.Context, ref string) refusal {
	c, r := e.dial(ctx, ref, transport.PushScope)
	if c == nil {
		return r
	}
	defer c.close()
	var upload string
	err := c.do(ctx, http.MethodPost, "blobs/uploads/", func(resp *http.Response) error {
		upload = resp.Header.Get("Location")
		return nil
	}, http.StatusAccepted, http.StatusCreated)
	if err == nil && upload != "" {
		c.giveUp(ctx, upload)
	}
	r = c.refusal(ctx, err)
	r.done = false // more than this is asked of it
	return r
}

// PlatformDigest is that of the manifest which the index with this digest has for a platform
// in the registry of ref, "" when digest is no index or the registry does not tell. The
// answer for a digest is the same for ever.
func (e *Engine) PlatformDigest(ctx context.Context, ref, digest, platform string) string {
	repo := imagename.Repository(ref)
	found, _ := e.known.get(repo+"@"+digest+" "+platform, func() (string, bool) {
		manifests, told := e.index(ctx, repo, digest)
		want, err := v1.ParsePlatform(platform)
		if err != nil {
			return "", told
		}
		for _, m := range manifests {
			if m.Platform != nil && m.Platform.Satisfies(*want) {
				return m.Digest.String(), true
			}
		}
		return "", told
	})
	return found
}

// index asks the registry for the manifests in an index, none when digest is that of a
// manifest. told is false when the registry did not say.
func (e *Engine) index(ctx context.Context, repo, digest string) (manifests []v1.Descriptor, told bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, _ := e.dial(ctx, repo+"@"+digest, transport.PullScope)
	if c == nil {
		return nil, false
	}
	defer c.close()
	raw, kind, err := c.manifest(ctx, digest)
	if err != nil || !kind.IsIndex() {
		return nil, err == nil
	}
	var index v1.IndexManifest
	if json.Unmarshal(raw, &index) != nil {
		return nil, true
	}
	return index.Manifests, true
}

// Published asks the registry, through the daemon, what it has under a name: the digest of
// the manifest, or of an index, and then the digests of the manifests in it as far as the
// registry tells this process. KindBaseMissing when the registry has no such image.
func (e *Engine) Published(ctx context.Context, ref string) (digest string, manifests []string, err error) {
	if digest, err = e.registryDigest(ctx, ref); err != nil {
		return "", nil, e.unpublished(ctx, ref, err)
	}
	repo := imagename.Repository(ref)
	found, _ := e.known.get(repo+"@"+digest+" manifests", func() (string, bool) {
		in, told := e.index(ctx, repo, digest)
		var list []string
		for _, m := range in {
			list = append(list, m.Digest.String())
		}
		return strings.Join(list, " "), told
	})
	return digest, strings.Fields(found), nil
}

// unpublished says why a registry did not tell what it has under a name, by what the daemon
// says of it: a registry in trouble is asked nothing more. One that has enough of questions
// is asked once, for how long: the daemon does not hand that on.
func (e *Engine) unpublished(ctx context.Context, ref string, err error) error {
	var f *jobs.Failure
	if ctx.Err() != nil || isLost(err) || errors.As(err, &f) {
		return failure(ctx, err, "ask a registry")
	}
	r := e.refusalOf(ctx, ref, err, func(context.Context, string) refusal { return refusal{} })
	failed := r.ofPull(jobs.KindBaseMissing, "image "+familiar(ref), ref, err)
	if errors.As(failed, &f) && f.Kind == jobs.KindRegistryUnavailable && !r.broken {
		f.After = e.askQuiet(ctx, ref)
	}
	return failed
}

// askQuiet asks a registry for how long it wants to be left alone.
func (e *Engine) askQuiet(ctx context.Context, ref string) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, r := e.dial(ctx, ref, transport.PullScope)
	if c != nil {
		defer c.close()
		_, _, err := c.manifest(ctx, c.target)
		r = c.refusal(ctx, err)
	}
	return r.after
}

// hasDigest asks the registry of ref, through the daemon, whether it has a digest
// there.
func (e *Engine) hasDigest(ctx context.Context, ref, digest string) bool {
	at := imagename.Repository(ref) + "@" + digest
	_, has := e.known.get(at, func() (string, bool) {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		_, err := e.registryDigest(ctx, at)
		return "", err == nil
	})
	return has
}

// lookTime bounds a look that a build waits for, and that a result can do without.
const lookTime = 3 * time.Second

// dial logs in at the registry of ref. A nil client with a zero refusal is a
// registry of which this process can say nothing.
func (e *Engine) dial(ctx context.Context, ref, scope string) (*registryClient, refusal) {
	c, err := e.connect(ctx, ref, scope)
	if err != nil && c != nil {
		return nil, c.refusal(ctx, err)
	}
	return c, refusal{}
}

// connect logs in at the registry of ref. With an error and a client the registry refused
// the login, or did not answer; without a client it was not asked.
func (e *Engine) connect(ctx context.Context, ref, scope string) (*registryClient, error) {
	if !e.local() {
		return nil, errors.New("the Docker daemon is on another host, with another view of the network")
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	target, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	all, err := readLogins(e.authFile)
	if err != nil {
		return nil, err
	}
	login := all.lookup(registryOf(ref))
	auth := authn.FromConfig(authn.AuthConfig{Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken})
	if login.Username == "" && login.IdentityToken == "" {
		auth = authn.Anonymous
	}
	next, done, err := e.transportTo(ctx, ref)
	if err != nil {
		return nil, err
	}
	wait := &waitTransport{next: next}
	c := &registryClient{repo: target.Context(), target: target.Identifier(), wait: wait, close: done}
	c.login = func(ctx context.Context, via http.RoundTripper) (http.RoundTripper, error) {
		return transport.NewWithContext(ctx, c.repo.Registry, auth, via, []string{c.repo.Scope(scope)})
	}
	t, err := c.login(ctx, wait)
	if err != nil {
		done()
		return c, err
	}
	c.client = &http.Client{Transport: t, Timeout: askTime}
	return c, nil
}

// manifest fetches the manifest of a tag or digest, or an index of them.
func (c *registryClient) manifest(ctx context.Context, target string) (raw []byte, kind types.MediaType, err error) {
	err = c.do(ctx, http.MethodGet, "manifests/"+target, func(resp *http.Response) (err error) {
		kind = types.MediaType(resp.Header.Get("Content-Type"))
		raw, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest))
		return err
	}, http.StatusOK)
	return raw, kind, err
}

// do makes one request below the repository. An answer of another status is an
// error of type *transport.Error.
func (c *registryClient) do(ctx context.Context, method, path string, read func(*http.Response) error, want ...int) error {
	return c.send(ctx, func(ctx context.Context, url string) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(path, "blobs/") && method == http.MethodGet {
			req.Header.Set("Range", "bytes=0-0") // whether it comes is the question
		}
		if strings.HasPrefix(path, "manifests/") {
			for _, kind := range []types.MediaType{types.OCIImageIndex, types.DockerManifestList, types.OCIManifestSchema1, types.DockerManifestSchema2} {
				req.Header.Add("Accept", string(kind))
			}
		}
		return req, nil
	}, path, read, want...)
}

// send sends a request that is made for the URL of a path below the repository, and once
// more with a login when the registry asks for one.
func (c *registryClient) send(ctx context.Context, made func(ctx context.Context, url string) (*http.Request, error), path string, read func(*http.Response) error, want ...int) error {
	req, err := made(ctx, c.repo.Registry.Scheme()+"://"+c.repo.RegistryStr()+"/v2/"+c.repo.RepositoryStr()+"/"+path)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode == http.StatusUnauthorized && challenge != "" && !c.challenged {
		c.challenged = true
		through, err := c.login(ctx, challengedTransport{c.wait, challenge})
		if err != nil {
			return err
		}
		c.client.Transport = through
		return c.send(ctx, made, path, read, want...)
	}
	if err := transport.CheckError(resp, want...); err != nil {
		return err
	}
	if read == nil {
		return nil
	}
	return read(resp)
}

// challengedTransport answers which login a registry wants with what it said when it
// was asked for a repository: some show /v2/ to every client.
type challengedTransport struct {
	next      http.RoundTripper
	challenge string
}

// RoundTrip implements http.RoundTripper.
func (t challengedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusOK && req.URL.Path == "/v2/" {
		resp.StatusCode = http.StatusUnauthorized
		resp.Header.Set("WWW-Authenticate", t.challenge)
	}
	return resp, err
}

// giveUp ends an upload; one that stays is the registry's to clean up.
func (c *registryClient) giveUp(ctx context.Context, location string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, location, nil)
	if err != nil || req.URL.Host == "" {
		return
	}
	if resp, err := c.client.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// refusal is what an error of this client says; one of the network says nothing, but
// that there was no answer: the daemon's view of it counts.
func (c *registryClient) refusal(ctx context.Context, err error) refusal {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		var network net.Error
		late := errors.As(err, &network) && network.Timeout() || errors.Is(ctx.Err(), context.DeadlineExceeded)
		return refusal{done: err == nil, hangs: err != nil && late}
	}
	r := refusal{status: answer.StatusCode, after: c.wait.after}
	if len(answer.Errors) > 0 {
		first := answer.Errors[0]
		r.code, r.words = string(first.Code), first.Message
		if r.words == "" {
			r.words = string(first.Code)
		}
	}
	if r.status < 400 { // a token that was none, or the like
		return refusal{}
	}
	return r
}

// waitTransport notes for how long a registry wants to be left alone.
type waitTransport struct {
	next  http.RoundTripper
	after time.Duration
}

// RoundTrip implements http.RoundTripper.
func (w *waitTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		w.after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		w.after = time.Until(at)
	}
	w.after = min(max(w.after, 0), maxQuiet)
	return resp, nil
}

// The longest that a registry is taken at its word: by a job, and by those who only look for
// new images. Docker Hub counts the questions of six hours.
const (
	maxAfter = 10 * time.Minute
	maxQuiet = 6 * time.Hour
)

// newRegistryTransport is for questions to registries: quick to give up.
func newRegistryTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: askTime,
		IdleConnTimeout:       time.Minute,
	}
}

// answers remembers what registries said of digests, which is true for ever, and
// for a while that they did not say it. The zero value is ready.
type answers struct {
	mu  sync.Mutex
	all map[string]registryAnswer
}

type registryAnswer struct {
	text string
	ok   bool
	at   time.Time
}

const (
	maxAnswers = 1000
	// askAgain is how long a registry that did not say is left alone.
	askAgain = time.Minute
)

// get returns the answer to a question, asking when it is not known.
func (a *answers) get(question string, ask func() (string, bool)) (text string, ok bool) {
	a.mu.Lock()
	known, have := a.all[question]
	a.mu.Unlock()
	if have && (known.ok || time.Since(known.at) < askAgain) {
		return known.text, known.ok
	}
	text, ok = ask()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= maxAnswers {
		a.all = map[string]registryAnswer{}
	}
	a.all[question] = registryAnswer{text, ok, time.Now()}
	return text, ok
}
