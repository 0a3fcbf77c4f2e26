//go:build integration

package pages

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// showcase fills a farm with something of everything, and returns the IDs of jobs.
func (f *farm) showcase() map[string]string {
	t := f.t
	t.Helper()
	ids := map[string]string{}
	zeros := strings.Repeat("0", 63)
	build := jobs.Spec{
		Name: "shop-frontend", Tenant: "blue", Labels: map[string]string{"team": "shop"},
		Context: &jobs.Context{Ref: "cas:sha256:1" + zeros, Size: 12_345_678},
		Build:   &jobs.Build{Tags: []string{"registry.internal/shop/frontend:2.14.0"}, Args: map[string]string{"NODE_ENV": "production"}, Push: true},
	}
	steps := func(w *worker, fails bool) {
		at := time.Now().Add(-9 * time.Second)
		after := func(s float64) time.Time { return at.Add(time.Duration(s * float64(time.Second))) }
		last := map[string]any{"digest": "sha256:4", "name": "[4/4] RUN npm run build", "started": after(5)}
		w.build(map[string]any{"vertexes": []map[string]any{
			{"digest": "sha256:1", "name": "[1/4] FROM docker.io/library/node:22-alpine@sha256:abc", "started": at, "completed": after(0.2), "cached": true},
			{"digest": "sha256:2", "name": "[2/4] COPY package.json package-lock.json ./", "started": after(0.2), "completed": after(0.6)},
			{"digest": "sha256:3", "name": "[3/4] RUN npm ci --ignore-scripts --no-audit --no-fund", "started": after(0.6), "completed": after(5)},
			last,
		}})
		log := "\x1b[1m> shop@2.14.0 build\x1b[0m\n\x1b[36mvite\x1b[0m building for production...\ntransforming (1204)\rtransforming (2410)\n"
		if fails {
			log += "\x1b[31mERROR\x1b[0m src/cart.ts:41:7 - \x1b[33mTS2345\x1b[0m: Argument of type 'string' is not assignable\n"
			last["completed"], last["error"] = after(8.5), "process \"/bin/sh -c npm run build\" did not complete successfully: exit code: 2"
		}
		w.build(map[string]any{"logs": []map[string]any{{"vertex": "sha256:4", "data": []byte(log), "timestamp": after(7)}}})
		if fails {
			w.build(map[string]any{"vertexes": []map[string]any{last}})
		}
	}
	ran := f.claim(f.keep(ids, "succeeded", build))
	ran.stage(jobs.StageFetch)
	ran.stage(jobs.StageBuild)
	steps(ran, false)
	ran.stage(jobs.StagePush)
	for i := range 1030 {
		ran.write(jobs.Stdout, fmt.Sprintf("\x1b[2m%04d\x1b[0m request %d answered with \x1b[3%dm%d\x1b[0m in %d ms\n", i, i, 2+i%2, 200+i%2*4, i%37))
	}
	code := 0
	ran.finish(jobs.Result{
		State: jobs.Succeeded, ImageID: "sha256:a1" + zeros, Tags: []string{"registry.internal/shop/frontend:2.14.0"}, ExitCode: &code,
		RepoDigests: []string{"registry.internal/shop/frontend@sha256:b" + zeros},
		Bases:       []jobs.BaseImage{{Ref: "docker.io/library/node:22-alpine", Role: jobs.RoleFrom, Digest: "sha256:c" + zeros}, {Ref: "docker.io/library/nginx:1", Role: jobs.RoleStage, Digest: "sha256:d" + zeros, Pinned: true}},
		Outputs:     []jobs.Output{{Path: "/srv/dist", Digest: "sha256:e" + zeros, Size: 4_500_000, Entries: 212}}, Engine: "docker 28.5.2",
	})
	if err := f.db.KeepBase(t.Context(), jobs.Base{Ref: "docker.io/library/node:22-alpine", Digest: "sha256:f" + zeros, Since: time.Now().Add(-26 * time.Hour), Checked: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w := f.claim(f.keep(ids, "failed", build))
		if i == 2 { // its first attempt was lost with its host
			w.stage(jobs.StageBuild)
			lost := jobs.Fail(jobs.KindDaemonLost, nil, "", "the Docker daemon went away while it built")
			if _, err := f.db.Release(t.Context(), w.job.ID, nonce, jobs.Release{Reason: "lost", Spend: jobs.SpendLoss, Past: &jobs.PastAttempt{Attempt: 1, Worker: "blue-2", Failure: lost}}); err != nil {
				t.Fatal(err)
			}
			w = f.claim(w.job.ID)
		}
		w.stage(jobs.StageFetch)
		w.stage(jobs.StageBuild)
		steps(w, true)
		w.finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{
			Kind: jobs.KindBuildFailed, Stage: jobs.StageBuild, Message: "the build failed in step [4/4] RUN npm run build: exit code 2",
			Hint: "the last lines of the step say what is wrong; correct it, and submit the job again",
		}})
	}
	f.claim(f.keep(ids, "infra", jobs.Spec{Name: "nightly-report"})).fail(jobs.KindDiskFull, jobs.StageRun, "the build host has no room left on its disk")
	if _, err := f.svc.Cancel(t.Context(), f.keep(ids, "cancelled", jobs.Spec{Name: "experiment"}), "ann"); err != nil {
		t.Fatal(err)
	}
	running := f.claim(f.keep(ids, "running", build))
	running.stage(jobs.StageFetch)
	running.stage(jobs.StageBuild)
	steps(running, false)
	f.keep(ids, "queued", jobs.Spec{Name: "arm-image", Requires: &jobs.Requires{Platform: "linux/arm64"}, Run: &jobs.Run{Image: "alpine:3", Command: []string{"uname", "-m"}}})

	f.host(jobs.Host{
		Name: "h1", Worker: "red", Slots: 4, Running: 1, Jobs: []string{ids["running"]}, State: jobs.HostReady, Labels: map[string]string{"disk": "nvme", "zone": "a"},
		Disks: []jobs.HostDisk{{Directory: "docker", Free: 211 << 30, Size: 480 << 30, Least: 2 << 30}, {Directory: "state", Free: 211 << 30, Size: 480 << 30, Least: 2 << 30}},
	})
	f.host(jobs.Host{Name: "h2", Worker: "blue-2", Slots: 4, State: jobs.HostUnfit, Reason: "the Docker daemon does not answer"})
	f.host(jobs.Host{Name: "h3", Worker: "green-3", Slots: 2, State: jobs.HostDrained, Order: &jobs.HostOrder{Kind: jobs.OrderDrain}})
	if _, err := f.db.Order(t.Context(), "h3", jobs.HostOrder{Kind: jobs.OrderDrain, By: "ann", Reason: "a new disk comes on Thursday", Worker: "green-3"}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// keep submits a job and remembers its ID.
func (f *farm) keep(ids map[string]string, name string, spec jobs.Spec) string {
	f.t.Helper()
	job := f.submit(spec)
	ids[name] = job.ID
	return job.ID
}
