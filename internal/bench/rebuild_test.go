//go:build integration

package bench_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/records"
)

const (
	rebuiltImages = 200
	plannedImages = 5000
)

// rebuilds compares a rebuild of images that have not changed with their jobs in one batch,
// and plans for a farm with thousands of images.
func (f *farm) rebuilds(r *report) {
	base := f.base()
	f.unchanged(r, "built anew", base, true)
	f.unchanged(r, "taken over", base, false)
	f.planning(r)
}

// unchanged builds images again that are what they were: anew, or by taking over what the
// farm has built.
func (f *farm) unchanged(r *report, how, base string, anew bool) {
	registry, _, _ := strings.Cut(base, "/")
	context := f.dockerfile("rebuild.tar", "FROM "+base+"\nRUN true\n")
	name := strings.ReplaceAll(how, " ", "-")
	specs := make([]jobs.Spec, rebuiltImages)
	for i := range specs {
		specs[i] = jobs.Spec{
			Name: fmt.Sprintf("%s-%03d", name, i), Context: &context,
			Build: &jobs.Build{
				Tags: []string{fmt.Sprintf("%s/%s-%03d:1", registry, name, i)}, Push: true, Pull: true, NoCache: anew,
				Args: map[string]string{"N": fmt.Sprint(i)},
			},
		}
	}
	f.batch(specs) // the first time it is all new
	db := records.New(f.rdb, records.Options{})
	runner := rebuild.NewRunner(nil, db, db, f.svc, nil)
	var ours, theirs []float64
	for range 2 {
		theirs = append(theirs, rebuiltImages/f.batch(specs).Seconds())
		ours = append(ours, rebuiltImages/f.rebuild(db, runner, rebuild.Question{Names: []string{name + "-*"}}, rebuiltImages).Seconds())
	}
	r.rate(fmt.Sprintf("rebuild of %d unchanged images, %s, images", rebuiltImages, how), "their jobs in a batch", 1/1.1, ours, theirs)
}

// dockerfile makes a context of a Dockerfile alone.
func (f *farm) dockerfile(name, text string) jobs.Context {
	f.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	f.must(w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(text))}))
	_, err := io.WriteString(w, text)
	f.must(err)
	f.must(w.Close())
	path := filepath.Join(f.contextDir, name)
	f.must(os.WriteFile(path, b.Bytes(), 0o600))
	return jobs.Context{Ref: "file://" + path}
}

// batch submits jobs at once, waits for the last, and returns how long that took.
func (f *farm) batch(specs []jobs.Spec) time.Duration {
	f.Helper()
	start := time.Now()
	subs, err := f.svc.SubmitBatch(f.ctx, specs)
	f.must(err)
	for _, sub := range subs {
		f.must(sub.Err)
		f.succeeded(sub.ID)
	}
	return time.Since(start)
}

// rebuild has the farm build n images again and returns how long that took. It begins when
// the farm has learned from their last jobs.
func (f *farm) rebuild(db *records.DB, runner *rebuild.Runner, q rebuild.Question, n int) time.Duration {
	f.Helper()
	time.Sleep(10 * time.Second) // the farm learns with each pass of the reconciler
	recipes, err := db.AllRecipes(f.ctx)
	f.must(err)
	plan, err := rebuild.NewGraph(recipes, nil).Plan(q, time.Now())
	f.must(err)
	if len(plan.Images) != n {
		f.Fatalf("the plan has %d images, want %d", len(plan.Images), n)
	}
	start := time.Now()
	head, images, err := plan.Begin(rebuild.Order{ID: uuid.NewString(), Priority: jobs.PriorityNormal, MaxParallel: 16}, start)
	f.must(err)
	f.must(db.BeginRebuild(f.ctx, head, images))
	f.must(runner.Advance(f.ctx, head.ID))
	for {
		head, images, err := db.Rebuild(f.ctx, head.ID)
		f.must(err)
		switch head.State {
		case jobs.RebuildDone:
			return time.Since(start)
		case jobs.RebuildRunning:
		default:
			f.Fatalf("the rebuild is %s: %+v", head.State, images)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// planning measures from the question to the plan, with all that is read for it.
func (f *farm) planning(r *report) {
	db := records.New(f.open(hosttest.StartRedis(f.B)), records.Options{})
	digest := func(i int) string { return fmt.Sprintf("sha256:%064x", i) }
	tag := func(i int) string { return fmt.Sprintf("registry.example/team/image-%04d:1", i) }
	for i := range plannedImages {
		one := jobs.Recipe{
			Name: fmt.Sprintf("image-%04d", i), Job: uuid.NewString(), Made: time.Now(), Context: digest(i), ImageID: digest(i), Tags: []string{tag(i)},
			Spec: jobs.Spec{
				Context: &jobs.Context{Ref: "cas:" + digest(i)},
				Build:   &jobs.Build{Tags: []string{tag(i)}, Push: true, Args: map[string]string{"VERSION": "1", "COMMIT": digest(i)}},
			}.Normalize(),
			RepoDigests: []string{fmt.Sprintf("registry.example/team/image-%04d@%s", i, digest(i))}, Took: jobs.Duration(time.Minute),
		}
		for _, on := range []int{i / 7, i / 3} { // some levels, and many diamonds
			if on == i {
				one.Materials = append(one.Materials, jobs.BaseImage{Ref: "debian:12", Role: jobs.RoleFrom, Digest: digest(i)})
				break
			}
			one.Materials = append(one.Materials, jobs.BaseImage{Ref: tag(on), Role: jobs.RoleCopy, Digest: digest(on)})
		}
		_, err := db.Learn(f.ctx, one)
		f.must(err)
	}
	var ours, theirs []time.Duration
	for range rounds {
		start := time.Now()
		_, err := db.AllRecipes(f.ctx)
		f.must(err)
		theirs = append(theirs, time.Since(start))
		start = time.Now()
		recipes, err := db.AllRecipes(f.ctx)
		f.must(err)
		bases, err := db.Bases(f.ctx)
		f.must(err)
		plan, err := rebuild.NewGraph(recipes, bases).Plan(rebuild.Question{Bases: []string{"debian:12"}}, time.Now())
		f.must(err)
		ours = append(ours, time.Since(start))
		if len(plan.Images) != plannedImages {
			f.Fatalf("the plan has %d images, want %d", len(plan.Images), plannedImages)
		}
	}
	r.limit(fmt.Sprintf("plan of %d images, from Redis", plannedImages), "reading the recipes", time.Second, quantile(ours, 0.5), quantile(theirs, 0.5))
}
