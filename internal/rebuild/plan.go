package rebuild

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Question is which images are to be built again. With them go all that stand on them.
type Question struct {
	// Bases are images that have changed, by any of their names.
	Bases []string `json:"bases,omitempty"`
	// Names are patterns of recipes, in which * stands for any characters.
	Names []string `json:"names,omitempty"`
	// Stale asks for the images that stand on bases which have changed, as far as the farm
	// has looked, and for those that are older than their recipes' max age.
	Stale bool `json:"stale,omitempty"`
	// All asks for every image.
	All bool `json:"all,omitempty"`
	// Auto asks for the stale images that the farm is to build by itself, on bases that have
	// not changed since Settled. No others go with them.
	Auto    bool      `json:"-"`
	Settled time.Time `json:"-"`
}

// Empty reports whether it asks for nothing.
func (q Question) Empty() bool {
	return len(q.Bases) == 0 && len(q.Names) == 0 && !q.Stale && !q.All && !q.Auto
}

// String is the question as the flags of enqueue rebuild plan.
func (q Question) String() string {
	var list []string
	for _, base := range q.Bases {
		list = append(list, "--base "+base)
	}
	for _, name := range q.Names {
		list = append(list, "--name "+name)
	}
	if q.Stale {
		list = append(list, "--stale")
	}
	if q.All {
		list = append(list, "--all")
	}
	return strings.Join(list, " ")
}

// Plan is what is built again, and in which order. Its images are sorted by wave, then by
// name.
type Plan struct {
	// Images are built in waves: all that an image stands on is in an earlier one.
	Images []Image `json:"images"`
	// LeftOut are images that the question is about and that are not built.
	LeftOut []LeftOut `json:"left_out"`
	// Unread are recipes that cannot be read: whether the question is about them is not known.
	Unread []LeftOut `json:"unread,omitempty"`
	Waves  int       `json:"waves"`
	// Work is how long the builds take one after the other, by their last durations, and
	// Longest the longest chain of them, which no number of workers makes shorter.
	Work    jobs.Duration `json:"work"`
	Longest jobs.Duration `json:"longest"`
	// Hash is the same for as long as the same images would be built from the same
	// sources, in the same order and for the same reasons. A newer job of an image makes
	// another one.
	Hash string `json:"hash"`
}

// Image is an image that is built again.
type Image struct {
	Name string `json:"name"`
	// Wave counts from 1.
	Wave    int      `json:"wave"`
	Reasons []Reason `json:"reasons"`
	// After are the images of the plan that it stands on.
	After []string `json:"after,omitempty"`
	// Unpushed are those of After that only a build host has: where another host builds
	// this image, the daemon would take whatever it has under that name.
	Unpushed []string `json:"unpushed,omitempty"`
	// Job is the one whose recipe is built again, Made when it had its image.
	Job  string    `json:"job"`
	Made time.Time `json:"made"`
	// Source is where the context is fetched from anew; nil is the same context again,
	// which has the digest Context and comes from Ref.
	Source  *jobs.Context `json:"source,omitempty"`
	Context string        `json:"context,omitempty"`
	Ref     string        `json:"ref,omitempty"`
	Tags    []string      `json:"tags,omitempty"`
	Took    jobs.Duration `json:"took,omitempty"`
}

// ReasonKind says why an image is built again.
type ReasonKind string

// The reasons.
const (
	BecauseBase   ReasonKind = "base"   // it stands on an image that has changed
	BecauseParent ReasonKind = "parent" // it stands on an image that is built again
	BecauseName   ReasonKind = "name"   // it was asked for
	BecauseAge    ReasonKind = "age"    // it is older than its recipe's max age
)

// Reason is why an image is built again.
type Reason struct {
	Kind ReasonKind `json:"kind"`
	// Ref is the changed base or the parent's tag, Digest what it was when the image was
	// built, and Now what the base is since Since, as far as the farm has looked.
	Ref    string    `json:"ref,omitempty"`
	Digest string    `json:"digest,omitempty"`
	Now    string    `json:"now,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Parent is the recipe that is built again.
	Parent string `json:"parent,omitempty"`
}

// LeftOut is an image that is not built, and why.
type LeftOut struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Plan answers a question at a time. It fails with a [*CycleError] or an
// [*UnknownError].
func (g *Graph) Plan(q Question, now time.Time) (Plan, error) {
	p := planner{graph: g, auto: q.Auto, reasons: map[string][]Reason{}, out: map[string]string{}}
	if err := p.seed(q, now); err != nil {
		return Plan{}, err
	}
	p.spread()
	order, err := p.order()
	if err != nil {
		return Plan{}, err
	}
	return p.plan(order), nil
}

// planner works out one plan.
type planner struct {
	graph *Graph
	auto  bool // only what the farm builds by itself
	// reasons are why an image is built, by its name.
	reasons map[string][]Reason
	// out is why an image is left out.
	out map[string]string
}

// because plans an image for a reason, unless its policy says that it is never built, and
// reports whether it was not planned before.
func (p *planner) because(n *node, r Reason) (first bool) {
	if n.Settings.Policy == jobs.RebuildNever {
		p.out[n.Name] = "its policy is never"
		return false
	}
	if p.auto && n.Settings.Policy != jobs.RebuildAuto {
		p.out[n.Name] = "its policy is not auto"
		return false
	}
	if newer := p.graph.replaced(n); newer != "" {
		p.out[n.Name] = "its tags are those of the newer recipe " + newer
		return false
	}
	have := p.reasons[n.Name]
	if !slices.Contains(have, r) {
		p.reasons[n.Name] = append(have, r)
	}
	return len(have) == 0
}

// seed plans what the question is about.
func (p *planner) seed(q Question, now time.Time) error {
	for _, base := range q.Bases {
		if err := p.base(base); err != nil {
			return err
		}
	}
	for _, pattern := range q.Names {
		found := false
		for _, name := range p.graph.names {
			if jobs.Wildcard(pattern, name) {
				found = true
				p.because(p.graph.recipes[name], Reason{Kind: BecauseName})
			}
		}
		if !found {
			return &UnknownError{What: "recipe", Name: pattern, Nearest: jobs.Nearest(pattern, p.graph.names)}
		}
	}
	for _, name := range p.graph.names {
		n := p.graph.recipes[name]
		if q.All {
			p.because(n, Reason{Kind: BecauseName})
		}
		if q.Stale {
			p.stale(n, now, now)
		}
		if q.Auto && n.Settings.Policy == jobs.RebuildAuto {
			p.stale(n, now, q.Settled)
		}
	}
	return nil
}

// stale plans an image whose bases have changed, and not since settled, or that is too old.
func (p *planner) stale(n *node, now, settled time.Time) {
	for _, e := range n.stands {
		if e.Now != "" && !e.Since.After(settled) {
			p.because(n, e.changed())
		}
	}
	if age := n.Settings.MaxAge.D(); age > 0 && now.Sub(n.Made) > age {
		p.because(n, Reason{Kind: BecauseAge})
	}
}

// changed is the reason to build what stands on a base that has changed.
func (e Edge) changed() Reason {
	return Reason{Kind: BecauseBase, Ref: e.Ref, Digest: e.Digest, Now: e.Now, Since: e.Since}
}

// base plans what stands on an image that has changed.
func (p *planner) base(base string) error {
	full, found := imagename.Full(base), false
	for _, name := range p.graph.names {
		n := p.graph.recipes[name]
		for _, e := range n.stands {
			switch {
			case !e.of(full):
				continue
			case e.Pinned:
				p.out[name] = namesDigest(full)
			default:
				p.because(n, e.changed())
			}
			found = true
		}
	}
	if !found && p.graph.made[full] == nil {
		return p.graph.unknownBase(full)
	}
	return nil
}

// spread plans what stands on images that are planned.
func (p *planner) spread() {
	queue := slices.Sorted(maps.Keys(p.reasons))
	for len(queue) > 0 {
		parent := queue[0]
		queue = queue[1:]
		for _, tag := range p.graph.recipes[parent].Tags {
			full := imagename.Full(tag)
			for _, n := range p.graph.pinned[imagename.Repository(full)] {
				if slices.ContainsFunc(n.stands, func(e Edge) bool { return e.Pinned && e.of(full) }) {
					p.out[n.Name] = namesDigest(full)
				}
			}
		}
		for _, child := range p.graph.recipes[parent].children {
			n := p.graph.recipes[child]
			for _, e := range n.stands {
				if e.Recipe == parent && p.because(n, Reason{Kind: BecauseParent, Ref: e.Ref, Digest: e.Digest, Parent: parent}) {
					queue = append(queue, child)
				}
			}
		}
	}
	for name := range p.reasons { // one reason is enough to be built
		delete(p.out, name)
	}
}

func namesDigest(full string) string {
	return "it names " + imagename.Familiar(full) + " by its digest"
}

// parents are the planned images that one stands on through such edges.
func (p *planner) parents(name string, such func(Edge) bool) []string {
	var list []string
	for _, e := range p.graph.recipes[name].stands {
		if e.Recipe != "" && such(e) && len(p.reasons[e.Recipe]) > 0 && !slices.Contains(list, e.Recipe) {
			list = append(list, e.Recipe)
		}
	}
	slices.Sort(list)
	return list
}

// order numbers the waves: each image comes one after the last of those that it stands
// on.
func (p *planner) order() (map[string]int, error) {
	waits, ready := map[string]int{}, []string{}
	for name := range p.reasons {
		if waits[name] = len(p.parents(name, Edge.any)); waits[name] == 0 {
			ready = append(ready, name)
		}
	}
	wave := map[string]int{}
	for n := 1; len(ready) > 0; n++ {
		var next []string
		for _, name := range ready {
			wave[name] = n
			delete(waits, name)
		}
		for _, name := range ready {
			for _, child := range p.graph.recipes[name].children {
				if _, waiting := waits[child]; !waiting {
					continue
				}
				if waits[child]--; waits[child] == 0 {
					next = append(next, child)
				}
			}
		}
		ready = next
	}
	if len(waits) > 0 {
		return nil, p.cycle(waits)
	}
	return wave, nil
}

// cycle finds images that stand on each other among those that wait for ever: each of
// them waits for another one.
func (p *planner) cycle(waits map[string]int) *CycleError {
	at := slices.Sorted(maps.Keys(waits))[0]
	var path []string
	for !slices.Contains(path, at) {
		path = append(path, at)
		for _, parent := range p.parents(at, Edge.any) {
			if _, ok := waits[parent]; ok {
				at = parent
				break
			}
		}
	}
	return &CycleError{Path: append(path[slices.Index(path, at):], at)}
}

func (p *planner) plan(wave map[string]int) Plan {
	plan := Plan{Images: []Image{}, LeftOut: []LeftOut{}, Unread: p.graph.unread}
	for name, n := range wave {
		r := p.graph.recipes[name]
		img := Image{
			Name: name, Wave: n, Reasons: sorted(p.reasons[name]), Job: r.Job, Made: r.Made,
			After: p.parents(name, Edge.any), Unpushed: p.parents(name, Edge.onHost),
			Tags: r.Tags, Took: r.Took, Source: r.Settings.Source,
		}
		if img.Source == nil {
			img.Context = r.Context
			if r.Spec.Context != nil {
				img.Ref = r.Spec.Context.Ref
			}
		}
		plan.Images = append(plan.Images, img)
		plan.Waves = max(plan.Waves, n)
		plan.Work += r.Took
	}
	slices.SortFunc(plan.Images, func(a, b Image) int {
		return cmp.Or(a.Wave-b.Wave, cmp.Compare(a.Name, b.Name))
	})
	done := map[string]jobs.Duration{}
	for _, img := range plan.Images {
		begins := jobs.Duration(0)
		for _, parent := range img.After {
			begins = max(begins, done[parent])
		}
		done[img.Name] = begins + img.Took
		plan.Longest = max(plan.Longest, done[img.Name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.out)) {
		plan.LeftOut = append(plan.LeftOut, LeftOut{name, p.out[name]})
	}
	plan.Hash = hashOf(plan)
	return plan
}

// Because lists the reasons in words.
func (img Image) Because() string {
	var list []string
	for _, r := range img.Reasons {
		switch r.Kind {
		case BecauseBase:
			list = append(list, imagename.Familiar(r.Ref)+" changed")
		case BecauseParent:
			list = append(list, "stands on "+r.Parent)
		case BecauseAge:
			list = append(list, "max age")
		case BecauseName:
			list = append(list, "asked for")
		}
	}
	return strings.Join(list, ", ")
}

// sorted puts reasons into an order that does not depend on that of the question.
func sorted(reasons []Reason) []Reason {
	slices.SortFunc(reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Parent, b.Parent))
	})
	return reasons
}

// hashOf is of what is built, in which order, why and from what. When it was built last,
// how long that took and when a base was found to have changed make no other plan.
func hashOf(p Plan) string {
	images := slices.Clone(p.Images)
	for i := range images {
		images[i].Took, images[i].Made = 0, time.Time{}
		images[i].Reasons = slices.Clone(images[i].Reasons)
		for j := range images[i].Reasons {
			images[i].Reasons[j].Since = time.Time{}
		}
	}
	raw, err := json.Marshal(images)
	if err != nil { // it holds nothing that has no JSON
		panic(fmt.Sprintf("encode a plan: %v", err))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:16]
}
