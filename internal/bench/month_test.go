//go:build integration

package bench_test

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/records"
)

// month replays what happens to the bases of some images in a month, and counts the builds
// that were not needed: of all that stands on a changed base, which is what tools without a
// memory build again.
func (f *farm) month(r *report) {
	m := &month{farm: f, registry: hosttest.StartSharedRegistry(f.B, hosttest.RegistryOptions{}, f.host), db: records.New(f.rdb, records.Options{})}
	m.runner = rebuild.NewRunner(nil, m.db, m.db, f.svc, nil)
	for _, base := range []string{"debian", "alpine"} {
		m.push(base, "1", false)
	}
	var specs []jobs.Spec
	for i := range monthImages {
		specs = append(specs, m.image(i))
	}
	for wave := range monthLevels {
		f.batch(specs[wave*monthWave:][:monthWave])
	}
	m.event("a fix in debian", func() { m.push("debian", "2", false) }, "debian")
	m.event("alpine, built anew with the same content", func() { m.push("alpine", "1", true) }, "alpine")
	m.event("all, once a week", func() {}, "")
	m.event("debian is taken back", func() { m.push("debian", "1", false) }, "debian")
	m.event("debian, built anew with the same content", func() { m.push("debian", "1", true) }, "debian")
	m.event("all, once a week", func() {}, "")
	m.event("a fix in alpine", func() { m.push("alpine", "2", false) }, "alpine")
	saved := func(n int) float64 { return 100 * float64(n) / float64(m.asked) }
	r.atLeast(fmt.Sprintf("builds saved in a month of base updates, of %d", m.asked), "by unchanged images alone", " %", 50, saved(m.asked-m.built), saved(m.skipped))
}

const (
	monthLevels = 3
	monthWave   = 4 // images of each level
	monthImages = monthLevels * monthWave
)

type month struct {
	*farm
	registry string
	db       *records.DB
	runner   *rebuild.Runner
	// asked is how many images stood on what had changed; skipped are those of them that had
	// no job, and built those whose job built.
	asked, skipped, built int
}

// push publishes a base with some content. anew has its layers made again.
func (m *month) push(base, content string, anew bool) {
	m.Helper()
	context := m.dockerfile("month-"+base+".tar", "FROM "+hosttest.BusyboxTag+"\nARG C\nRUN echo $C >/etc/"+base+"\n")
	m.submit(jobs.Spec{Context: &context, Build: &jobs.Build{Tags: []string{m.tag(base)}, Push: true, NoCache: anew, Args: map[string]string{"C": content}}}, jobs.Succeeded)
}

func (m *month) tag(name string) string { return m.registry + "/" + name + ":1" }

// image is one that stands on a base, or on two images of the level before.
func (m *month) image(i int) jobs.Spec {
	m.Helper()
	on := []string{"debian", "alpine"}[i%2]
	text := fmt.Sprintf("FROM %s\nRUN cat /etc/* | sha256sum >/etc/month-%d\n", m.tag(on), i)
	if i >= monthWave {
		below, beside := i-monthWave, i/monthWave*monthWave-monthWave+(i+1)%monthWave
		text = fmt.Sprintf("FROM %s\nCOPY --from=%s /etc/month-%d /etc/\nRUN cat /etc/month-* | sha256sum >/etc/month-%d\n", m.tag(name(below)), m.tag(name(beside)), beside, i)
	}
	context := m.dockerfile(fmt.Sprintf("month-%d.tar", i), text)
	return jobs.Spec{Name: name(i), Context: &context, Build: &jobs.Build{Tags: []string{m.tag(name(i))}, Push: true, Pull: true}}
}

func name(i int) string { return fmt.Sprintf("month-%02d", i) }

// event changes something, rebuilds what stands on a base, or everything, and counts.
func (m *month) event(what string, change func(), base string) {
	m.Helper()
	change()
	time.Sleep(10 * time.Second) // the farm learns with each pass of the reconciler
	recipes, err := m.db.AllRecipes(m.ctx)
	m.must(err)
	question := rebuild.Question{Names: []string{"month-*"}}
	if base != "" {
		question = rebuild.Question{Bases: []string{m.tag(base)}}
	}
	plan, err := rebuild.NewGraph(recipes, nil).Plan(question, time.Now())
	m.must(err)
	head, images, err := plan.Begin(rebuild.Order{ID: uuid.NewString(), Priority: jobs.PriorityNormal, MaxParallel: monthWave}, time.Now())
	m.must(err)
	m.must(m.db.BeginRebuild(m.ctx, head, images))
	m.must(m.runner.Advance(m.ctx, head.ID))
	for head.State == jobs.RebuildRunning {
		time.Sleep(100 * time.Millisecond)
		head, images, err = m.db.Rebuild(m.ctx, head.ID)
		m.must(err)
	}
	if head.State != jobs.RebuildDone || len(images) == 0 {
		m.Fatalf("%s: the rebuild is %s: %+v", what, head.State, images)
	}
	skipped, built := 0, 0
	for _, img := range images {
		if img.Job == "" {
			skipped++
			continue
		}
		job, err := m.svc.Get(m.ctx, img.Job)
		m.must(err)
		if job.Result.BuiltBy == nil {
			built++
		}
	}
	fmt.Printf("%s: %d images, %d skipped, %d built\n", what, len(images), skipped, built)
	m.asked, m.skipped, m.built = m.asked+len(images), m.skipped+skipped, m.built+built
}
