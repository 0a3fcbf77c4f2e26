package rebuild

import (
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// verify holds a new image to what it was built for, and notes the tags that are to be moved
// to it. An error says why they must not be.
func (s *step) verify(img *jobs.RebuildImage, job jobs.Job) error {
	for _, name := range img.After {
		for _, move := range s.images[s.at[name]].Moves {
			if err := standsOn(job.Result.Bases, move); err != nil {
				return err
			}
		}
	}
	for _, base := range img.Changed {
		for _, b := range job.Result.Bases {
			if !b.Pinned && b.Digest != "" && b.Digest == base.From && imagename.Full(b.Ref) == base.Ref {
				return fmt.Errorf("it was built on %s as %s, which is %s by now", imagename.Familiar(base.Ref), b.Digest, base.To)
			}
		}
	}
	if job.Spec.Cause == nil {
		return errors.New("its job is not that of a rebuild")
	}
	img.Moves = nil
	for _, tag := range job.Spec.Cause.Tags {
		digest := digestIn(job.Result.RepoDigests, tag)
		if digest == "" {
			return fmt.Errorf("its job pushed nothing to the repository of %s", imagename.Familiar(tag))
		}
		img.Moves = append(img.Moves, jobs.TagMove{Tag: tag, To: digest})
	}
	return nil
}

// digestIn is the digest that was pushed to the repository of a tag, "" for none.
func digestIn(pushed []string, tag string) string {
	repo := imagename.Repository(imagename.Full(tag))
	for _, p := range pushed {
		if name, digest, _ := strings.Cut(p, "@"); imagename.Repository(name) == repo {
			return digest
		}
	}
	return ""
}

// standsOn fails when a build used what a tag stood for before it was moved. One that did
// not use the tag at all has another Dockerfile by now.
func standsOn(used []jobs.BaseImage, move jobs.TagMove) error {
	full := imagename.Full(move.Tag)
	for _, b := range used {
		if b.Pinned || imagename.Full(b.Ref) != full || b.Digest == move.To || b.PlatformDigest == move.To {
			continue
		}
		if b.Digest == "" {
			return fmt.Errorf("which %s it was built on could not be found out; want the new image, %s", imagename.Familiar(full), move.To)
		}
		return fmt.Errorf("it was built on %s as %s, and not on the new image, %s", imagename.Familiar(full), b.Digest, move.To)
	}
	return nil
}
