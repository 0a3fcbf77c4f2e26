package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
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
	return e.Pull(ctx, ref, progress)
}

// Pull implements engine.Engine.
func (e *Engine) Pull(ctx context.Context, ref string, progress io.Writer) (string, error) {
	if err := e.pull(ctx, ref, progress); err != nil {
		return "", err
	}
	have, err := e.cli.ImageInspect(ctx, ref)
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
	if err == nil {
		return nil
	}
	return e.pullFailure(ctx, jobs.KindImageMissing, "image "+ref, ref, err)
}

// pullFailure says why what is named ref did not come from its registry. what
// names it for people, kind is that of an image that does not exist.
func (e *Engine) pullFailure(ctx context.Context, kind jobs.Kind, what, ref string, err error) error {
	if ctx.Err() != nil {
		return e.hung(ctx, ref)
	}
	if isLost(err) || isDiskFull(err.Error()) {
		return failure(ctx, err, "pull "+what)
	}
	if refused := e.refused(ctx, ref); refused != nil {
		return refused
	}
	r := e.refusalOf(ctx, ref, err, e.askPull)
	if ctx.Err() != nil {
		return e.hung(ctx, ref)
	}
	return r.ofPull(kind, what, ref, err)
}

// ofPull is the failure of a pull that was refused.
func (r refusal) ofPull(kind jobs.Kind, what, ref string, err error) error {
	hidden := registryOf(ref) == dockerHub // it tells strangers of no name whether there is one
	switch v := r.verdict(); {
	case v == missing, (v == unclear || v == denied && hidden) && noneOrPrivate.MatchString(err.Error()):
		return jobs.Fail(kind, err, missingHint(err.Error()), "%s was not found", what).Said(public(r.words))
	case v == denied, v == final:
		return r.refused(ref, err)
	default:
		return r.unavailable(ref, err)
	}
}

// noneOrPrivate is what the daemon makes of Docker Hub's answer for any name that
// it does not have, which is that access is denied.
var noneOrPrivate = regexp.MustCompile(`(?i)repository does not exist`)

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

// Tag implements engine.Engine.
func (e *Engine) Tag(ctx context.Context, id, name string) error {
	return failure(ctx, e.cli.ImageTag(ctx, id, name), "name the image "+name)
}

// Images implements engine.Engine.
func (e *Engine) Images(ctx context.Context, repository string) ([]engine.Named, error) {
	all, err := e.cli.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository))})
	if err != nil {
		return nil, failure(ctx, err, "list the images")
	}
	var found []engine.Named
	for _, img := range all {
		for _, name := range img.RepoTags {
			if strings.HasPrefix(name, repository+":") {
				found = append(found, engine.Named{Name: name, ID: img.ID})
			}
		}
	}
	return found, nil
}

// Untagged implements engine.Engine. The containerd image store knows an image by
// its names only, so there are none.
func (e *Engine) Untagged(ctx context.Context) ([]string, error) {
	if named, err := e.containerdStore(ctx); err != nil || named {
		return nil, err
	}
	all, err := e.cli.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "true"))})
	if err != nil {
		return nil, failure(ctx, err, "list the images without a name")
	}
	var ids []string
	for _, img := range all {
		have, err := e.cli.ImageInspect(ctx, img.ID)
		switch {
		case errdefs.IsNotFound(err):
		case err != nil:
			return nil, failure(ctx, err, "look at an image without a name")
		case have.Metadata.LastTagTime.IsZero() && len(have.RepoTags) == 0:
			ids = append(ids, img.ID)
		}
	}
	return ids, nil
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
