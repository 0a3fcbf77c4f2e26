package rebuild

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// step is one change of a rebuild in the making.
type step struct {
	head, next jobs.Rebuild
	images     []jobs.RebuildImage // as they are to be
	at         map[string]int      // in images
	changes    map[int]bool        // in images
	read       map[string]bool     // jobs that were looked at
}

func newStep(head jobs.Rebuild, images []jobs.RebuildImage) *step {
	s := &step{head: head, next: head, images: images, at: map[string]int{}, changes: map[int]bool{}, read: map[string]bool{}}
	for i, img := range images {
		s.at[img.Name] = i
	}
	return s
}

// set changes one of the images. What follows counts on that.
func (s *step) set(img *jobs.RebuildImage, change func(*jobs.RebuildImage)) {
	change(img)
	if img.State.Terminal() {
		img.Spec = nil
	}
	s.changes[s.at[img.Name]] = true
}

func (s *step) changed() bool { return len(s.changes) > 0 || s.next != s.head }

// keep begins the next step where this one was kept: what was written over what was seen
// is what there is, until another writes.
func (s *step) keep() {
	s.next.Rev = s.head.Rev + 1
	s.head = s.next
	clear(s.changes)
}

// list are the changed images, in their order.
func (s *step) list() []jobs.RebuildImage {
	var all []jobs.RebuildImage
	for _, i := range slices.Sorted(maps.Keys(s.changes)) {
		all = append(all, s.images[i])
	}
	return all
}

// names are those of the changed images.
func (s *step) names() []string {
	var all []string
	for _, img := range s.list() {
		all = append(all, img.Name)
	}
	return all
}

// underWay are the names of the images whose tags are being moved.
func (s *step) underWay() []string {
	var all []string
	for i := range s.images {
		if underWay(&s.images[i]) {
			all = append(all, s.images[i].Name)
		}
	}
	return all
}

// in are the images in a state.
func (s *step) in(state jobs.ImageState) []*jobs.RebuildImage {
	var all []*jobs.RebuildImage
	for i := range s.images {
		if s.images[i].State == state {
			all = append(all, &s.images[i])
		}
	}
	return all
}

// any reports whether there is an image like that.
func (s *step) any(like func(*jobs.RebuildImage) bool) bool {
	for i := range s.images {
		if like(&s.images[i]) {
			return true
		}
	}
	return false
}

// revertAll has all tags that were moved go back.
func (s *step) revertAll(why string) {
	for _, img := range s.in(jobs.ImageDone) {
		if len(img.Moves) > 0 {
			s.set(img, func(next *jobs.RebuildImage) {
				next.State, next.Then, next.Why = jobs.ImageReverting, jobs.ImageRolledBack, why
			})
		}
	}
}

// settle notes how the job of an image ended.
func (s *step) settle(img *jobs.RebuildImage, job jobs.Job) {
	switch res := job.Result; {
	case job.Damaged != "" || res == nil:
		img.State, img.Why = jobs.ImageFailed, "the record of its job cannot be read"
	case job.State == jobs.Succeeded:
		img.State, img.Is = jobs.ImageDone, res.ImageID
		if err := s.verify(img, job); err != nil {
			img.State, img.Why, img.Moves = jobs.ImageFailed, err.Error(), nil
		} else if len(img.Moves) > 0 {
			img.State = jobs.ImagePromoting
		}
	case job.State == jobs.Cancelled && givenUp(s.next) != "":
		img.State, img.Why = jobs.ImageSkipped, givenUp(s.next)
	case job.State == jobs.Cancelled:
		img.State, img.Why = jobs.ImageFailed, "its job was cancelled"
		if job.CancelBy != "" {
			img.Why += " by " + job.CancelBy
		}
	case res.Failure != nil:
		img.State, img.Why = jobs.ImageFailed, fmt.Sprintf("%s: %s", res.Failure.Kind, res.Failure.Message)
	default:
		img.State, img.Why = jobs.ImageFailed, "its job is "+string(job.State)
	}
}
