//go:build integration && chaos

package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// operator rebuilds a batch while the monkey is at work, with the commands that people use.
type operator struct {
	*monkey
	batch *batch
	// spared is closed when the monkey is done.
	spared chan struct{}
	// id is the rebuild that the farm took, epoch that of the database then, and missed since
	// when the farm does not know it any more.
	id     string
	epoch  int
	missed time.Time
	// before and during are how many faults of each kind there were when the rebuild began and
	// when it had ended, did what the operator had to do, for the report.
	before, during map[string]int
	did            []string
}

// stock gives the monkey's farm a batch, and an operator.
func (m *monkey) stock(t *testing.T) *operator {
	t.Helper()
	m.registry = startRegistry(t, m.hosts...)
	b := stock(t, m.farm, m.registry, "", waves, func(task task) string {
		m.tasks[task.Key] = task
		if err := m.place(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		return m.Jobs()[task.Key]
	})
	return &operator{monkey: m, batch: b, spared: make(chan struct{})}
}

// work begins the rebuild, and looks after it until the monkey is done and it has ended with
// every image; patience is how long it may take then.
func (o *operator) work(ctx context.Context, patience time.Duration) {
	spared := o.spared
	var deadline <-chan time.Time
	for {
		done := o.look(ctx)
		if done && o.during == nil {
			o.during = o.Faults()
		}
		if done && deadline != nil || ctx.Err() != nil {
			return
		}
		select {
		case <-spared:
			spared, deadline = nil, time.After(patience)
		case <-deadline:
			head, images, err := o.records.Rebuild(ctx, o.id)
			o.Violation("I12 rebuild %s is %s %s after the last fault (%v): %s", o.id, head.State, patience, err, states(images))
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// look does what there is to do for an operator, and reports whether every image is done. A
// command that fails because of Redis is tried again.
func (o *operator) look(ctx context.Context) (done bool) {
	list, err := o.records.Rebuilds(ctx)
	switch {
	case err != nil:
		return false
	case len(list) == 0:
		o.begin(ctx)
		return false
	case len(list) > 1:
		o.Violation("I12 there are %d rebuilds, and one was asked for", len(list))
	}
	o.id, o.missed = list[0].ID, time.Time{} // the answer may have been lost
	if list[0].State == jobs.RebuildFailed {
		o.retry(ctx)
	}
	return list[0].State == jobs.RebuildDone
}

// begin has the farm begin the rebuild, and once more when the database forgot it.
func (o *operator) begin(ctx context.Context) {
	if o.id != "" && o.epoch == o.Epoch() { // the monkey may be about to say that it forgot
		if o.missed.IsZero() {
			o.missed = time.Now()
		}
		if time.Since(o.missed) < 10*time.Second {
			return
		}
		o.Violation("I12 rebuild %s vanished", o.id)
	}
	if o.before == nil {
		o.before = o.Faults()
	}
	o.epoch = o.Epoch()
	id, err := o.command(ctx, "rebuild", "apply", "--base", o.batch.baseTag(), "--priority", "high", "-o", "name")
	if err == nil {
		o.id = id
		o.note("applied")
	}
}

// report says what became of the rebuild.
func (o *operator) report(t *testing.T, seed uint64, built map[string][]jobs.Job) {
	t.Helper()
	var text strings.Builder
	for _, line := range o.did {
		fmt.Fprintf(&text, "\n\t%s", line)
	}
	var kinds []string
	for kind, n := range o.during {
		if n > o.before[kind] {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	fmt.Fprintf(&text, "\n\tmeanwhile: %s", strings.Join(kinds, ", "))
	for _, wave := range o.batch.waves {
		for _, img := range wave {
			for _, job := range built[img.name] {
				fmt.Fprintf(&text, "\n\t%s: submitted %s, %s %s in %d attempts", img.name, job.Created.Format(clock), job.State, job.Finished.Format(clock), job.Attempt)
			}
			for _, put := range o.batch.under(o.batch.images[img.name].tags[0], o.batch.changed) {
				fmt.Fprintf(&text, ", moved %s", put.at.UTC().Format(clock))
			}
		}
	}
	t.Logf("seed %d: the rebuild:%s", seed, text.String())
}

// clock is how the report has times.
const clock = "15:04:05.000"

func (o *operator) note(format string, args ...any) {
	o.did = append(o.did, time.Now().UTC().Format(clock)+" "+fmt.Sprintf(format, args...))
}

// retry has the images built again that are not done. There has to be a reason why they are
// not: their jobs ended badly, which the oracle judges as it does with all jobs.
func (o *operator) retry(ctx context.Context) {
	head, images, err := o.records.Rebuild(ctx, o.id)
	if err != nil || head.State != jobs.RebuildFailed {
		return
	}
	for _, img := range images {
		if img.State != jobs.ImageFailed {
			continue
		}
		if job, err := o.records.Get(ctx, img.Job); err != nil || job.State == jobs.Succeeded {
			o.Violation("I12 rebuild %s, %s failed (%s), and its job %s is %s (%v)", o.id, img.Name, img.Why, img.Job, job.State, err)
		}
	}
	if _, err := o.command(ctx, "rebuild", "retry", o.id); err == nil {
		o.note("retried, because it ended with %s", states(images))
	}
}

func states(images []jobs.RebuildImage) string {
	var list []string
	for _, img := range images {
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%s %s: %s", img.Name, img.State, img.Why), ": "))
	}
	return strings.Join(list, ", ")
}

// acknowledge lets the oracle judge the jobs of the rebuild as it judges all others, and
// returns them by the names of their images, the first one first.
func (o *operator) acknowledge(ctx context.Context) map[string][]jobs.Job {
	of := map[string][]jobs.Job{}
	for q := (jobs.Query{Limit: 200}); ; {
		page, err := o.records.List(ctx, q)
		o.check("list the jobs", err)
		for _, job := range page.Jobs {
			if job.Spec.Cause == nil {
				continue
			}
			t := task{Task: oracle.Task{Key: job.Spec.IdempotencyKey, Does: "builds the image " + job.Spec.Name + " again", State: jobs.Succeeded}}
			o.tasks[t.Key] = t
			o.Acknowledged(job.ID, t.Task, job.Created, o.Epoch())
			of[job.Spec.Name] = append(of[job.Spec.Name], job)
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			break
		}
	}
	for _, list := range of {
		slices.SortFunc(list, func(a, b jobs.Job) int { return a.Created.Compare(b.Created) })
	}
	return of
}

// audit checks that each image was built once, or as often as the operator said, on what it
// stands on as that is now, and promoted once.
func (o *operator) audit(ctx context.Context, built map[string][]jobs.Job) {
	_, images, err := o.records.Rebuild(ctx, o.id)
	o.check("read the rebuild", err)
	if len(images) != len(o.batch.images) {
		o.Violation("I12 rebuild %s has %d images, want %d", o.id, len(images), len(o.batch.images))
	}
	for _, img := range images {
		of := built[img.Name]
		if img.State != jobs.ImageDone || len(of) != img.Try || len(of) == 0 {
			o.Violation("I12 rebuild %s, %s is %s (%s), was begun %d times and has %d jobs", o.id, img.Name, img.State, img.Why, img.Try, len(of))
			continue
		}
		if last := of[len(of)-1]; last.ID != img.Job || last.State != jobs.Succeeded {
			o.Violation("I12 rebuild %s, %s has job %s, and the last one is %s, %s", o.id, img.Name, img.Job, last.ID, last.State)
		}
		o.auditTags(img)
		o.auditBases(ctx, img, of)
		if r, err := o.records.Recipe(ctx, img.Name); err != nil || r.Job != img.Job {
			o.Violation("I11 the recipe %s is of job %s (%v), want %s", img.Name, r.Job, err, img.Job)
		}
	}
}

// auditTags checks that each tag of an image was moved to one image, by what the registry was
// told.
func (o *operator) auditTags(img jobs.RebuildImage) {
	var moved []string
	for _, move := range img.Moves {
		moved = append(moved, move.Tag)
		puts := o.batch.under(move.Tag, o.batch.changed)
		if len(puts) == 0 || slices.ContainsFunc(puts, func(p put) bool { return p.digest != move.To }) || move.To == move.From || move.From != o.batch.before[move.Tag] {
			o.Violation("I12 %s was moved to %+v, want once from %s to %s; it was moved from %s", move.Tag, puts, o.batch.before[move.Tag], move.To, move.From)
		}
		if len(puts) > 1 {
			o.note("%s was moved %d times to the same image", move.Tag, len(puts))
		}
	}
	if want := o.batch.images[img.Name].tags; !slices.Equal(slices.Sorted(slices.Values(moved)), slices.Sorted(slices.Values(want))) {
		o.Violation("I12 rebuild %s, %s has moved %q, want %q", o.id, img.Name, moved, want)
	}
}

// auditBases checks that an image stands on the new images: by its record, by its layers,
// and because its jobs began after the tags had been moved.
func (o *operator) auditBases(ctx context.Context, img jobs.RebuildImage, of []jobs.Job) {
	b := o.batch
	below, err := layersOf(b.base)
	o.check("read the base", err)
	digest, err := b.base.Digest()
	o.check("read the base", err)
	want := map[string]string{b.baseTag(): digest.String()}
	if on := b.images[img.Name].on; len(on) > 0 {
		want = map[string]string{}
		for _, name := range on {
			tag := b.images[name].tags[0]
			puts := b.under(tag, b.changed)
			if len(puts) == 0 {
				return // there is a violation already
			}
			want[tag] = puts[0].digest
			if first := of[0].Created; first.Before(puts[0].at) {
				o.Violation("I12 rebuild %s, %s was begun at %s, before %s was moved at %s", o.id, img.Name, first, tag, puts[0].at)
			}
		}
		below, err = b.layers(ctx, b.images[on[0]].tags[0])
		o.check("read what an image stands on", err)
	}
	used := map[string]string{}
	for _, base := range of[len(of)-1].Result.Bases {
		used[base.Ref] = base.Digest
	}
	for tag, digest := range want {
		if used[tag] != digest {
			o.Violation("I12 rebuild %s, %s was built on %q, want %q", o.id, img.Name, used, want)
		}
	}
	layers, err := b.layers(ctx, b.images[img.Name].tags[0])
	o.check("read an image", err)
	if !standsOn(layers, below) {
		o.Violation("I12 rebuild %s, %s has the layers %s, and stands on those of its new base: %s", o.id, img.Name, layers, below)
	}
}
