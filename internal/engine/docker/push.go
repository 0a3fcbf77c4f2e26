package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/jsonmessage"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Push implements engine.Engine. The API pushes what has a name when it is asked,
// so the image gets the name right before, while no other push of this engine
// may give it away, and what the registry then has is compared with the image.
func (e *Engine) Push(ctx context.Context, id, tag string, progress io.Writer) (repoDigest string, err error) {
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	named = reference.TagNameOnly(named)
	defer e.pushing.lock(named.String())()
	// A hopeless try takes the daemon a minute, and its word for it is no more
	// than "denied".
	switch r := e.askPush(ctx, tag); r.verdict() {
	case denied, missing, final:
		return "", r.refused(tag, errors.New(r.words))
	case passing:
		return "", r.unavailable(tag, errors.New(r.words))
	}
	before, err := e.ImageFacts(ctx, tag)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil { // the name must not stand for what the registry does not have
			e.restore(context.WithoutCancel(ctx), tag, before.ID)
		}
	}()
	for range pushTries {
		if err = e.Tag(ctx, id, tag); err != nil {
			return "", err
		}
		var digest string
		if digest, err = e.push(ctx, tag, progress); err != nil {
			return "", e.pushFailure(ctx, id, tag, err)
		}
		if digest, err = e.published(ctx, id, named, digest, progress); !errors.Is(err, errOtherImage) {
			return reference.FamiliarName(named) + "@" + digest, err
		}
	}
	return "", jobs.Fail(jobs.KindPush, err, hintOperator, "what registry %s has as %s is another image: something else gives the name away on the build host", registryOf(tag), tag)
}

// pushTries is how often an image is pushed when another process takes its name
// at the same moment.
const pushTries = 2

// push pushes what has the name, and returns the digest if the daemon tells it:
// engines with the containerd image store do not. The daemon reports a failure
// in the stream, after it has said 200.
func (e *Engine) push(ctx context.Context, tag string, progress io.Writer) (digest string, err error) {
	auth, err := e.header(tag)
	if err != nil {
		return "", err
	}
	stream, err := e.cli.ImagePush(ctx, tag, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", err
	}
	defer stream.Close()
	err = readMessages(stream, progress, func(m jsonmessage.JSONMessage) {
		var pushed struct{ Digest string }
		if json.Unmarshal(*m.Aux, &pushed) == nil && pushed.Digest != "" {
			digest = pushed.Digest
		}
	})
	return digest, err
}

// errOtherImage says that a name was pushed while another image had it.
var errOtherImage = errors.New("the registry has another image")

// published compares what the registry has with the image, and returns its
// digest. told is what the daemon said of it, "" when it said nothing.
func (e *Engine) published(ctx context.Context, id string, tag reference.Named, told string, progress io.Writer) (digest string, err error) {
	ours, err := e.digestsIn(ctx, id, tag)
	if err != nil {
		return "", err
	}
	if told != "" && !ours[told] {
		return "", errOtherImage
	}
	digest, err = e.registryDigest(ctx, tag.String())
	if err == nil && ours[digest] {
		return digest, nil
	}
	if err == nil {
		// The next push of the tag, maybe from another host, was quick: ours must
		// be there all the same.
		for own := range ours {
			if told != "" && own != told {
				continue
			}
			if there, err := e.registryDigest(ctx, tag.Name()+"@"+own); err == nil && there == own {
				_, _ = fmt.Fprintf(progress, "%s has another image by now; this one is there by its digest\n", reference.FamiliarString(tag))
				return own, nil
			}
		}
		return "", errOtherImage
	}
	if ctx.Err() != nil || isLost(err) {
		return "", failure(ctx, err, "ask the registry for the image")
	}
	r := e.refusalOf(ctx, tag.String(), err, e.askPull)
	if r.verdict() == denied && told != "" {
		// A login that may only push. The daemon's word has to do.
		_, _ = fmt.Fprintf(progress, "%s cannot be read back: %s\n", reference.FamiliarString(tag), public(r.words))
		return told, nil
	}
	return "", r.unavailable(tag.String(), err)
}

// digestsIn are the digests by which an image is known in the repository of a
// name. An engine with the containerd image store names the image itself so,
// whether or not a registry has it.
func (e *Engine) digestsIn(ctx context.Context, id string, tag reference.Named) (map[string]bool, error) {
	have, err := e.cli.ImageInspect(ctx, id)
	if err != nil {
		return nil, failure(ctx, err, "look at the image that was pushed")
	}
	digests := map[string]bool{}
	for _, d := range have.RepoDigests {
		named, err := reference.ParseNormalizedNamed(d)
		if digested, ok := named.(reference.Digested); err == nil && ok && named.Name() == tag.Name() {
			digests[digested.Digest().String()] = true
		}
	}
	return digests, nil
}

// pushFailure says why an image was not pushed.
func (e *Engine) pushFailure(ctx context.Context, id, tag string, err error) error {
	if ctx.Err() != nil || isLost(err) || isDiskFull(err.Error()) {
		return failure(ctx, err, "push "+tag)
	}
	if _, gone := e.cli.ImageInspect(ctx, id); errdefs.IsNotFound(gone) {
		return jobs.Fail(jobs.KindEngine, err, "keep clean-ups of the build host from images in use", "the image was removed from the host before it was pushed")
	}
	if refused := e.refused(ctx, tag); refused != nil {
		return refused
	}
	r := e.refusalOf(ctx, tag, err, e.askPush)
	switch v := r.verdict(); {
	case v == passing, v == unclear && passingPattern.MatchString(r.words):
		return r.unavailable(tag, err)
	default:
		return r.refused(tag, err)
	}
}

// restore gives a name back to the image that had it, or to none.
func (e *Engine) restore(ctx context.Context, tag, before string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var err error
	if before != "" {
		err = e.Tag(ctx, before, tag)
	} else {
		err = e.RemoveImage(ctx, tag)
	}
	if err != nil {
		e.lg.WarnContext(ctx, "restoring the name of an image that was not pushed failed", "image", tag, "err", err)
	}
}

// locks are locks by name. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int // guarded by locks.mu
}

// lock takes the lock of a name and returns how to give it back.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	one := l.held[name]
	if one == nil {
		one = &lock{}
		l.held[name] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, name)
		}
	}
}
