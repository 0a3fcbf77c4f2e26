package enginetest

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Build implements engine.Engine: it reads the tar to its end, then walks
// through the Dockerfile. FROM needs an image of the host or the registry, RUN
// runs the commands of shell.go, CMD and ENTRYPOINT count, the rest is read and
// ignored.
func (f *Fake) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	if err := f.enter(ctx, "build", b.Spec.Dockerfile); err != nil {
		return engine.Built{}, err
	}
	for _, s := range b.Spec.Secrets {
		if _, err := b.Secret(s.SecretName()); err != nil {
			return engine.Built{}, jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator to add it", "the worker has no secret %q", s.SecretName())
		}
	}
	for _, s := range b.Spec.SSH {
		if _, err := b.SSHKey(s.SecretName()); err != nil {
			return engine.Built{}, err
		}
	}
	for _, tar := range b.Contexts {
		if _, err := io.Copy(io.Discard, tar); err != nil {
			return engine.Built{}, err
		}
	}
	dockerfile, err := readDockerfile(b)
	if err != nil {
		return engine.Built{}, err
	}
	w := &walk{fake: f, b: b, img: &image{}, text: string(dockerfile)}
	for i, line := range strings.Split(string(dockerfile), "\n") {
		if err := w.instruction(ctx, i+1, strings.TrimSpace(line)); err != nil {
			return engine.Built{}, err
		}
	}
	return w.finish()
}

// SetContexts tells whether builds may have named contexts, from now on.
func (f *Fake) SetContexts(has bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info.Contexts = has
}

// readDockerfile reads the context to its end and returns the Dockerfile.
func readDockerfile(b engine.Build) ([]byte, error) {
	name := path.Clean(b.Spec.Dockerfile)
	if b.Spec.Dockerfile == "" {
		name = jobs.DefaultDockerfile
	}
	var content []byte
	found := false
	tr := tar.NewReader(b.Context)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(h.Name) == name {
			if content, err = io.ReadAll(tr); err != nil {
				return nil, err
			}
			found = true
		}
	}
	if _, err := io.Copy(io.Discard, b.Context); err != nil {
		return nil, err
	}
	if b.Dockerfile != nil {
		return b.Dockerfile, nil
	}
	if !found {
		return nil, jobs.Fail(jobs.KindDockerfileMissing, nil, "name it with build.dockerfile", "the context has no %s", name)
	}
	return content, nil
}

// walk is the state of one build.
type walk struct {
	fake  *Fake
	b     engine.Build
	img   *image
	bases []jobs.BaseImage
	from  bool
	text  string // of the Dockerfile
}

func (w *walk) instruction(ctx context.Context, line int, text string) error {
	if text == "" || text[0] == '#' {
		return nil
	}
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToUpper(word) {
	case "FROM":
		return w.base(rest)
	case "RUN":
		return w.step(ctx, text, rest)
	case "CMD":
		w.img.command = words(rest)
	case "ENTRYPOINT":
		w.img.entrypoint = words(rest)
	case "COPY", "ADD", "ENV", "ARG", "LABEL", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL", "VOLUME", "HEALTHCHECK", "SHELL":
	default:
		return jobs.Fail(jobs.KindDockerfileInvalid, nil, "correct the Dockerfile", "Dockerfile line %d: unknown instruction: %s", line, word)
	}
	return nil
}

func (w *walk) base(ref string) error {
	ref, _, _ = strings.Cut(ref, " ")
	w.from = true
	if _, named := w.b.Contexts[ref]; ref == "scratch" || named {
		return nil
	}
	f := w.fake
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(w.b.Images, func(img engine.Image) bool { return img.Pin == ref })
	if i >= 0 {
		ref = w.b.Images[i].Ref
	}
	img := f.lookup(ref)
	if img == nil && !f.remote[normal(ref)] || i >= 0 && w.b.Images[i].Digest != fakeDigest("manifest", normal(ref)) {
		return jobs.Fail(jobs.KindBaseMissing, nil, "check the name and the tag", "base image %s was not found", ref)
	}
	if img == nil || i >= 0 {
		w.bases = append(w.bases, jobs.BaseImage{Ref: ref, Role: jobs.RoleFrom, Digest: fakeDigest("manifest", normal(ref))})
		w.img.command = []string{"sh"}
		return nil
	}
	w.img.command, w.img.entrypoint = img.command, img.entrypoint
	w.bases = append(w.bases, jobs.BaseImage{Ref: ref, Role: jobs.RoleFrom, Digest: img.id, Local: true})
	return nil
}

// clippedMark is what BuildKit prints where it leaves out output of a step.
const clippedMark = "[output clipped, log limit "

func (w *walk) step(ctx context.Context, name, command string) error {
	var tail []string
	name = w.b.Mask.Text(name)
	w.status(name, nil)
	covered := w.b.Mask.Stream()
	show := func(data []byte) {
		if len(data) == 0 {
			return
		}
		tail = append(tail, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
		w.status(name, data)
		if w.b.Clipped != nil && strings.Contains(string(data), clippedMark) {
			w.b.Clipped()
		}
	}
	sh := &shell{ctx: ctx, build: func(_ jobs.Stream, data []byte) { show(covered.Next(data)) }}
	code := sh.run([]string{"sh", "-c", command})
	show(covered.Rest())
	if err := ctx.Err(); err != nil {
		return err
	}
	if code != 0 {
		fail := jobs.Fail(jobs.KindBuildFailed, nil, "read the step's output", "step %q ended with exit code %d", name, code)
		fail.Tail = tail[max(0, len(tail)-20):]
		return fail
	}
	return nil
}

// status sends a message of the shape of a BuildKit SolveStatus.
func (w *walk) status(step string, log []byte) {
	if w.b.Status == nil {
		return
	}
	type vertex struct {
		Digest string `json:"digest"`
		Name   string `json:"name"`
	}
	type vertexLog struct {
		Vertex    string    `json:"vertex"`
		Stream    int       `json:"stream"`
		Data      []byte    `json:"data"`
		Timestamp time.Time `json:"timestamp"`
	}
	digest := fakeDigest("vertex", step)
	var msg struct {
		Vertexes []vertex    `json:"vertexes,omitempty"`
		Logs     []vertexLog `json:"logs,omitempty"`
	}
	if log == nil {
		msg.Vertexes = []vertex{{digest, step}}
	} else {
		msg.Logs = []vertexLog{{digest, 1, log, time.Now()}}
	}
	raw, err := json.Marshal(msg)
	if err != nil {
		panic(fmt.Sprintf("marshal status: %v", err)) // every field can be marshalled
	}
	w.b.Status(raw)
}

func (w *walk) finish() (engine.Built, error) {
	if !w.from {
		return engine.Built{}, jobs.Fail(jobs.KindDockerfileInvalid, nil, "start it with FROM", "the Dockerfile has no FROM")
	}
	f := w.fake
	f.mu.Lock()
	defer f.mu.Unlock()
	// The same Dockerfile makes the same image, as where every step is cached.
	w.img.id = fakeDigest("built", fmt.Sprint(w.text, w.b.Spec.Labels, w.b.Spec.Args))
	if w.b.Spec.NoCache {
		w.img.id = f.newID("image")
	}
	if f.images[w.img.id] == nil {
		f.images[w.img.id] = w.img
	}
	f.cached = append(f.cached[max(0, len(f.cached)-maxCached+1):], time.Now())
	if w.b.Name != "" {
		f.tags[normal(w.b.Name)], f.images[w.img.id].tagged = w.img.id, true
	}
	return engine.Built{ImageID: w.img.id, Bases: slices.Clip(w.bases)}, nil
}

// words reads the argument of CMD in exec form, or in shell form.
func words(rest string) []string {
	var argv []string
	if json.Unmarshal([]byte(rest), &argv) == nil {
		return argv
	}
	return []string{"/bin/sh", "-c", rest}
}
