// Package pins finds out, before a build, which images the names in its Dockerfile stand
// for. Registries are asked, not the host: what it has under a name may be old, and another
// host may have another image.
//
// The worker's wiring makes one Pins on its engine.
package pins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/quiet"
)

// Engine is what Pins needs of the engine. Package engine/docker documents the promises.
type Engine interface {
	OnHost(ctx context.Context, ref string) (id, digest string, err error)
	Head(ctx context.Context, ref string) (digest string, err error)
	PlatformDigest(ctx context.Context, ref, digest, platform string) string
}

// Pins pins names of images to digests. All methods are safe for concurrent use.
type Pins struct {
	log     *slog.Logger
	engine  Engine
	digests jobs.Digests

	// alone are names that their registries are not asked again for, because they did not
	// tell. Not the registries: a job must not keep other jobs from newer images by naming
	// what a registry refuses.
	alone quiet.Names
}

// New makes a Pins. A nil logger is silent.
func New(lg *slog.Logger, eng Engine, digests jobs.Digests) *Pins {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return &Pins{log: lg, engine: eng, digests: digests}
}

// Pin returns the images of a build with a pin for each that a registry has, and the
// Dockerfile with the pins; nil when it has none. native is the platform of the daemon; notes
// takes lines for the job's log.
//
// With build.pull every registry is asked, and no image of the host counts. Else what another
// worker was told within the last minute does, an image that only the host has is no
// registry's, and where a registry does not answer, the host's image is pinned. An image
// without a pin is the engine's to look for; only a host that cannot be asked is an error.
func (p *Pins) Pin(ctx context.Context, d dockerfile.File, b jobs.Build, images []engine.Image, native string, notes io.Writer) ([]engine.Image, []byte, error) {
	pinned := make([]engine.Image, len(images))
	var mu sync.Mutex // guards notes
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(notes, format+"\n", args...)
	}
	errs := make([]error, len(images))
	free := make(chan struct{}, mostAtOnce)
	var asking sync.WaitGroup
	for i, img := range images {
		free <- struct{}{}
		asking.Go(func() {
			pinned[i], errs[i] = p.pin(ctx, img, native, b.Pull, say)
			<-free
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	written := map[string]bool{} // the pins that are in the text
	text, ok := dockerfile.Pin(d, b, native, func(img dockerfile.Image) string {
		for _, have := range pinned {
			if have.Ref == img.Ref && have.Platform == img.Platform && (have.Role == jobs.RoleSyntax) == (img.Role == jobs.RoleSyntax) {
				written[have.Pin] = true
				return have.Pin
			}
		}
		return ""
	})
	if !ok && dockerfile.NamesContexts(d, b, native) {
		return nil, nil, jobs.Fail(jobs.KindDockerfileInvalid, nil, "write the names without variables, one way to write each",
			"%s: it cannot be told which of its names the images of build.contexts stand for", d.Name)
	}
	if !ok {
		return images, nil, nil
	}
	for i := range pinned {
		if !written[pinned[i].Pin] {
			pinned[i] = images[i]
		}
	}
	return pinned, text.Content, nil
}

// mostAtOnce is how many names are looked at side by side.
const mostAtOnce = 8

func (p *Pins) pin(ctx context.Context, img engine.Image, native string, fresh bool, say func(string, ...any)) (engine.Image, error) {
	if strings.Contains(img.Ref, "@") {
		return img, nil // by the Dockerfile
	}
	digest, err := p.resolve(ctx, imagename.Full(img.Ref), fresh, say)
	if err != nil || digest == "" {
		return img, err
	}
	img.Digest, img.Pin = digest, img.Ref+"@"+digest
	if img.Platform == "" || img.Platform == native || img.Role == jobs.RoleSyntax {
		return img, nil
	}
	// The older image store has room for one platform under the digest of an index.
	if child := p.engine.PlatformDigest(ctx, imagename.Full(img.Ref), digest, img.Platform); child != "" {
		img.Pin = img.Ref + "@" + child
	}
	return img, nil
}

// resolve returns the digest behind a full name, "" when there is none to pin.
func (p *Pins) resolve(ctx context.Context, ref string, fresh bool, say func(string, ...any)) (string, error) {
	if fresh {
		digest, _ := p.engine.Head(ctx, ref)
		p.keep(ctx, ref, digest)
		return digest, ctx.Err() // the engine finds out more about whatever else is the matter
	}
	id, hosts, err := p.engine.OnHost(ctx, ref)
	if err != nil || id != "" && hosts == "" {
		return "", err
	}
	digest, err := p.digests.Digest(ctx, ref)
	p.warn(ctx, err)
	if digest != "" {
		return digest, nil
	}
	if p.alone.Has(ref) {
		return hosts, nil
	}
	digest, err = p.engine.Head(ctx, ref)
	if err == nil {
		p.keep(ctx, ref, digest)
		return digest, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	p.alone.Add(ref, jobs.DigestAge)
	if hosts != "" {
		say("the registry of %s did not tell what it has: the build uses what is on the host, %s", imagename.Familiar(ref), hosts)
	}
	return hosts, nil
}

// Pushed notes what a tag stands for now, so that the next build does not take what another
// worker was told before.
func (p *Pins) Pushed(ctx context.Context, tag, digest string) {
	p.warn(ctx, p.digests.KeepDigest(ctx, imagename.Full(tag), digest, true))
}

func (p *Pins) keep(ctx context.Context, ref, digest string) {
	if digest != "" {
		p.warn(ctx, p.digests.KeepDigest(ctx, ref, digest, false))
	}
}

func (p *Pins) warn(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "remembering what registries have failed", "err", err)
	}
}
