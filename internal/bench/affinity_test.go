//go:build integration

package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

// Affinity: builds that come at random times to a few hosts, which are busy for the greater
// part.
const (
	affineHosts   = 4
	affineSlots   = 2
	affineRecipes = 50
	affineBuilds  = 400
	affineTime    = time.Second
	affineLoad    = 0.7
	affinityWait  = 2 * time.Second
)

// affinity measures how often a build goes to a host that has built its recipe before, and
// what that costs, against hosts that leave nothing to each other. What hands out tickets
// is real, what builds is a pause, no longer on a host that is cold.
func (f *farm) affinity(r *report) {
	spread := affineTime.Seconds() / affineHosts / affineSlots / affineLoad
	without, with := f.affine(0, spread), f.affine(affinityWait, spread)
	r.atLeast(fmt.Sprintf("repeated builds of %d recipes on a warm host of %d, at %.0f %% load", affineRecipes, affineHosts, 100*affineLoad),
		"without affinity", " %", 90, 100*with.warm, 100*without.warm)
	r.rate("builds meanwhile", "without affinity", 0.95, []float64{with.rate}, []float64{without.rate})
	r.limit("longest time that a host had a slot free for a build that waited", "without affinity", affinityWait+affinityWait/20, with.free, without.free)
	backlog, affine := f.affine(0, 0), f.affine(affinityWait, 0)
	r.rate("builds that are all submitted at once", "without affinity", 0.95, []float64{affine.rate}, []float64{backlog.rate})
	r.note("builds that are all submitted at once: %.0f %% of the repeated ones on a warm host, %.0f %% without affinity", 100*affine.warm, 100*backlog.warm)
	r.note("wait of builds at %.0f %% load, mean: %s, without affinity %s", 100*affineLoad, millis(with.wait), millis(without.wait))
}

// affine is what became of some builds.
type affine struct {
	warm float64 // share of the repeated builds that were on a host that had built the recipe
	rate float64 // builds each second
	wait time.Duration
	free time.Duration
}

// span is a part of time.
type span struct{ from, to time.Time }

// affine runs builds that come so many seconds after one another on average.
func (f *farm) affine(wait time.Duration, spread float64) (a affine) {
	server := hosttest.StartRedis(f)
	q := queue.New(f.open(server))
	type build struct {
		host int
		span
	}
	var mu sync.Mutex // guards what follows
	done := map[string]build{}
	built := map[string]map[int]bool{} // the hosts that have built a recipe
	repeated, warm := 0, 0
	ended := make(chan struct{}, affineBuilds)
	var hosts []*queue.Intake
	for host := range affineHosts {
		in := queue.NewIntake(f.open(server), queue.IntakeOptions{
			Host: fmt.Sprint("host-", host), Queues: []string{jobs.DefaultQueue}, Slots: affineSlots, AffinityWait: wait,
		})
		var mine []string
		f.must(in.Start(func(ctx context.Context, d jobs.Delivery) error {
			began, recipe := time.Now(), d.Ticket.Recipe
			mu.Lock()
			if on := built[recipe]; len(on) > 0 {
				repeated++
				if on[host] {
					warm++
				}
			}
			mu.Unlock()
			<-time.After(affineTime)
			mu.Lock()
			done[d.Ticket.ID] = build{host, span{began, time.Now()}}
			if built[recipe] == nil {
				built[recipe] = map[int]bool{}
			}
			if !built[recipe][host] {
				built[recipe][host], mine = true, append(mine, recipe)
			}
			told := slices.Clone(mine)
			mu.Unlock()
			err := in.Warm(ctx, told)
			ended <- struct{}{}
			return err
		}, func(jobs.Needs) jobs.Fit { return jobs.FitsNow }))
		hosts = append(hosts, in)
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same for all
	pushed := map[string]time.Time{}
	for i := range affineBuilds {
		<-time.After(time.Duration(random.ExpFloat64() * spread * float64(time.Second)))
		recipe := fmt.Sprint("recipe-", random.IntN(affineRecipes))
		t := jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: jobs.DefaultQueue, Turn: recipe, Recipe: recipe}
		pushed[t.ID] = time.Now()
		f.must(q.Push(f.ctx, t))
	}
	for range affineBuilds {
		<-ended
	}
	for _, in := range hosts {
		in.StopTaking()
	}
	<-time.After(100 * time.Millisecond) // for the acknowledgements
	for _, in := range hosts {
		_ = in.Close() // its client is closed once more at the end
	}
	busy := make([][]span, affineHosts)
	var first, last time.Time
	for id, b := range done {
		busy[b.host] = append(busy[b.host], b.span)
		a.wait += b.from.Sub(pushed[id]) / affineBuilds
		if first.IsZero() || pushed[id].Before(first) {
			first = pushed[id]
		}
		if b.to.After(last) {
			last = b.to
		}
	}
	for id, b := range done {
		for _, on := range busy {
			a.free = max(a.free, longestFree(on, span{pushed[id], b.from}))
		}
	}
	a.warm, a.rate = float64(warm)/float64(repeated), affineBuilds/last.Sub(first).Seconds()
	return a
}

// longestFree is the longest part of a time in which a host had a slot free.
func longestFree(busy []span, in span) (longest time.Duration) {
	changes := []time.Time{in.from, in.to}
	for _, b := range busy {
		for _, at := range []time.Time{b.from, b.to} {
			if at.After(in.from) && at.Before(in.to) {
				changes = append(changes, at)
			}
		}
	}
	slices.SortFunc(changes, time.Time.Compare)
	since := in.from
	for i, at := range changes[:len(changes)-1] {
		until, taken := changes[i+1], 0
		for _, b := range busy {
			if !b.from.After(at) && b.to.After(at) {
				taken++
			}
		}
		if taken >= affineSlots {
			since = until
		}
		longest = max(longest, until.Sub(since))
	}
	return longest
}
