package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/jsonmessage"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Image implements engine.Engine.
func (e *Engine) Image(ctx context.Context, ref string, progress io.Writer) (string, error) {
	have, err := e.cli.ImageInspect(ctx, ref)
	if err == nil {
		return have.ID, nil
	}
	if !errdefs.IsNotFound(err) {
		return "", failure(ctx, err, "look for image "+ref)
	}
	if err := e.pull(ctx, ref, progress); err != nil {
		return "", err
	}
	have, err = e.cli.ImageInspect(ctx, ref)
	if err != nil {
		return "", failure(ctx, err, "look for image "+ref)
	}
	return have.ID, nil
}

func (e *Engine) pull(ctx context.Context, ref string, progress io.Writer) error {
	auth, err := e.header(ref)
	if err != nil {
		return err
	}
	stream, err := e.cli.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err == nil {
		defer stream.Close()
		err = readMessages(stream, progress, nil)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, isLost(err) && !isUnreachable(err.Error()), isDiskFull(err.Error()):
		return failure(ctx, err, "pull image "+ref)
	case isDenied(err.Error()):
		return deniedBy(ref, err)
	default:
		return jobs.Fail(jobs.KindImageMissing, err, missingHint(err.Error()), "image %s was not found", ref)
	}
}

// RemoveImage implements engine.Engine.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	var err error
	if jobs.IsDigest(ref) {
		var have image.InspectResponse
		if have, err = e.cli.ImageInspect(ctx, ref); err == nil && len(have.RepoTags) > 0 {
			return nil
		}
	}
	if err == nil {
		_, err = e.cli.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	}
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) { // gone, or in use
		return nil
	}
	return failure(ctx, err, "remove the image")
}

// Images implements engine.Engine.
func (e *Engine) Images(ctx context.Context, labels map[string]string) ([]engine.Listed, error) {
	all, err := e.cli.ImageList(ctx, image.ListOptions{Filters: byLabels(labels)})
	if err != nil {
		return nil, failure(ctx, err, "list the images")
	}
	var found []engine.Listed
	for _, img := range all {
		l := engine.Listed{ID: img.ID, Labels: img.Labels, Created: time.Unix(img.Created, 0)}
		for _, l.Name = range names(img.RepoTags) {
			found = append(found, l)
		}
	}
	return found, nil
}

// names is the tags, or nothing for an image that has none; engine 20.10 calls that
// <none>.
func names(tags []string) []string {
	if len(tags) == 0 || tags[0] == "<none>:<none>" {
		return []string{""}
	}
	return tags
}

// Push implements engine.Engine. The daemon reports a failed push in the
// stream, after it has said 200.
func (e *Engine) Push(ctx context.Context, tag string, progress io.Writer) (string, error) {
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	auth, err := e.header(tag)
	if err != nil {
		return "", err
	}
	if err := e.login(ctx, tag); err != nil {
		return "", err
	}
	var digest string
	stream, err := e.cli.ImagePush(ctx, tag, image.PushOptions{RegistryAuth: auth})
	if err == nil {
		defer stream.Close()
		err = readMessages(stream, progress, func(m jsonmessage.JSONMessage) {
			var pushed struct{ Digest string }
			if json.Unmarshal(*m.Aux, &pushed) == nil && pushed.Digest != "" {
				digest = pushed.Digest
			}
		})
	}
	switch {
	case err == nil && digest == "":
		return "", jobs.Fail(jobs.KindPush, nil, hintRetry, "the push of %s ended without a digest", tag)
	case err == nil:
		return reference.FamiliarName(named) + "@" + digest, nil
	case ctx.Err() != nil, isLost(err) && !isUnreachable(err.Error()), isDiskFull(err.Error()):
		return "", failure(ctx, err, "push "+tag)
	case errdefs.IsNotFound(err), strings.Contains(err.Error(), "image does not exist locally"):
		return "", jobs.Fail(jobs.KindImageMissing, err, "build it with this tag first", "image %s is not on the build host", tag)
	case isDenied(err.Error()):
		return "", deniedBy(tag, err)
	default:
		return "", jobs.Fail(jobs.KindPush, err, hintRetry, "registry %s did not take %s", registryOf(tag), tag)
	}
}

// login asks the registry whether it takes our login, when we have one: a push
// with a wrong one fails only after the daemon has tried for a minute. Any other
// answer than a no is left to the push.
func (e *Engine) login(ctx context.Context, ref string) error {
	all, err := readLogins(e.authFile)
	if err != nil {
		return err
	}
	auth := all.lookup(registryOf(ref))
	if auth.Password == "" {
		return nil
	}
	_, err = e.cli.RegistryLogin(ctx, auth)
	if err != nil && (errdefs.IsUnauthorized(err) || isDenied(err.Error())) {
		return deniedBy(ref, err)
	}
	return nil
}

// readMessages reads the stream of a pull or push to its end. Words go to
// progress, progress bars do not. aux, when not nil, gets what is for programs.
func readMessages(stream io.Reader, progress io.Writer, aux func(jsonmessage.JSONMessage)) error {
	dec := json.NewDecoder(stream)
	for {
		var m jsonmessage.JSONMessage
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != nil:
			return m.Error
		case m.Aux != nil:
			if aux != nil {
				aux(m)
			}
		case progress != nil && m.Status != "" && m.Progress == nil:
			line := m.Status + "\n"
			if m.ID != "" {
				line = m.ID + ": " + line
			}
			_, _ = io.WriteString(progress, line) // a full log does not stop a pull
		}
	}
}
