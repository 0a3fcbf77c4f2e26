package rebuild

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Order says how a plan is carried out.
type Order struct {
	// ID is that of the new rebuild, By who asked, and Question what for, in words.
	ID       string `json:"id,omitempty"`
	By       string `json:"-"`
	Question string `json:"-"`
	// Plan is the hash of the plan that was looked at, "" for whichever there is.
	Plan         string        `json:"plan,omitempty"`
	Priority     jobs.Priority `json:"priority,omitempty"`
	MaxParallel  int           `json:"max_parallel,omitempty"`
	FailFast     bool          `json:"fail_fast,omitempty"`
	AllOrNothing bool          `json:"all_or_nothing,omitempty"`
	// Canaries is how many images are built before the others, with what they stand on.
	Canaries int `json:"canaries,omitempty"`
}

// Begin makes a rebuild of a plan. It fails with an [*UnpushedError].
func (p Plan) Begin(o Order, at time.Time) (jobs.Rebuild, []jobs.RebuildImage, error) {
	var unpushed *UnpushedError
	images := make([]jobs.RebuildImage, 0, len(p.Images))
	canaries := p.canaries(o.Canaries)
	for _, img := range p.Images {
		switch {
		case len(img.Unpushed) == 0:
		case unpushed == nil:
			unpushed = &UnpushedError{Name: img.Name, On: img.Unpushed[0]}
		default:
			unpushed.More++
		}
		images = append(images, jobs.RebuildImage{
			Name: img.Name, Wave: img.Wave, Because: img.Because(), After: img.After, State: jobs.ImageWaiting,
			NoCache:   slices.ContainsFunc(img.Reasons, func(r Reason) bool { return r.Kind == BecauseAge }),
			Inherited: !slices.ContainsFunc(img.Reasons, func(r Reason) bool { return r.Kind != BecauseParent }),
			Changed:   img.changed(),
			Canary:    canaries[img.Name],
		})
	}
	if unpushed != nil {
		return jobs.Rebuild{}, nil, unpushed
	}
	return jobs.Rebuild{
		ID: o.ID, Plan: p.Hash, Question: o.Question, By: o.By, Priority: o.Priority, MaxParallel: o.MaxParallel,
		FailFast: o.FailFast, AllOrNothing: o.AllOrNothing, State: jobs.RebuildRunning, Created: at.UTC().Truncate(time.Microsecond),
	}, images, nil
}

// changed are the bases because of which an image is built, where the farm knows what they
// are now.
func (img Image) changed() (moves []jobs.BaseMove) {
	for _, r := range img.Reasons {
		if r.Kind == BecauseBase && r.Now != "" {
			moves = append(moves, jobs.BaseMove{Ref: r.Ref, From: r.Digest, To: r.Now})
		}
	}
	return moves
}

// canaries chooses n images on which no other image of the plan stands, those that stand on
// the fewest first, with all that they stand on: what they show is seen soonest.
func (p Plan) canaries(n int) map[string]bool {
	below := map[string]map[string]bool{} // what an image stands on, with itself
	leaves := map[string]bool{}
	for _, img := range p.Images { // parents come first
		on := map[string]bool{img.Name: true}
		for _, name := range img.After {
			maps.Copy(on, below[name])
			delete(leaves, name)
		}
		below[img.Name], leaves[img.Name] = on, true
	}
	chosen := map[string]bool{}
	order := slices.SortedFunc(maps.Keys(leaves), func(a, b string) int {
		return cmp.Or(len(below[a])-len(below[b]), cmp.Compare(a, b))
	})
	for _, leaf := range order[:min(n, len(order))] {
		maps.Copy(chosen, below[leaf])
	}
	return chosen
}
