package worker_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestStraysAreRemoved(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	stray := engineContainer(jobs.ContainerName("gone", 1), "gone", shell("sleep 60"))
	if _, err := f.engine.Create(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	foreign := engineContainer("somebody-elses", "gone", shell("sleep 60"))
	if _, err := f.engine.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	image, err := f.engine.Build(t.Context(), engine.Build{
		Name:    jobs.ImageName("default", "gone", 1),
		Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM busybox\n")),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.start()
	f.eventually("only the container that is not ours is left", func() bool {
		left := f.engine.Containers()
		return len(left) == 1 && left[0].Name == "somebody-elses"
	})
	f.eventually("the image that only we had a name for is gone", func() bool { return !f.engine.HasImage(image.ImageID) })
}

func TestStraysAreRemovedByAWorkerThatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.start()
		time.Sleep(time.Minute)
		if _, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName("gone", 1), "gone", shell("true"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		if left := f.engine.Containers(); len(left) > 0 {
			t.Errorf("%s is left", left[0].Name)
		}
	})
}

// An engine that dies between making an image and naming it, or between taking its
// name and removing it, leaves one without a name. What was there before, or has
// lost its name to the operator, is no such image.
func TestNamelessImagesAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.files["Dockerfile"] = "FROM scratch\nCOPY Dockerfile /\n"
		theirs := f.engine.AddUntagged("theirs")
		var made string
		f.engine.Hook(func(_ context.Context, op, ref string) error {
			switch {
			case op == "removeimage" && ref == jobs.ImageName("default", "job-00000001", 1):
				f.engine.Untag(ref)
				return errors.New("the engine died")
			case op == "build" && made == "":
				made = f.engine.AddUntagged("made")
				return jobs.Fail(jobs.KindDaemonLost, nil, "", "the engine died")
			}
			return nil
		})
		f.start()
		cut := f.ended(f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}}))
		time.Sleep(10 * time.Minute)
		for id, want := range map[string]bool{cut.Result.ImageID: false, made: false, theirs: true} {
			if f.engine.HasImage(id) != want {
				t.Errorf("image %s is there: %v, want %v", id, !want, want)
			}
		}
	})
}

// A stray that the engine does not remove keeps neither another one nor jobs.
func TestEveryStrayIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for _, id := range []string{"gone-a", "gone-b", "gone-c"} {
			if _, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName(id, 1), id, shell("sleep 60"))); err != nil {
				t.Fatal(err)
			}
		}
		stuck := f.engine.Containers()[0]
		f.engine.Hook(func(_ context.Context, op, arg string) error {
			if op == "remove" && arg == stuck.ID {
				return errors.New("device or resource busy")
			}
			return nil
		})
		f.start()
		synctest.Wait()
		if left := f.engine.Containers(); len(left) != 1 || left[0].ID != stuck.ID {
			t.Errorf("%d containers are left, want only the one that cannot be removed", len(left))
		}
		if job := f.ended(f.submit(shell("true"))); job.State != jobs.Succeeded {
			t.Errorf("job is %s", job.State)
		}
	})
}

// What a worker makes to see that its engine can is not left behind when it dies
// before it could remove it.
func TestLeftoversOfAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for _, host := range []string{"host-1", "host-2"} {
			labels := map[string]string{engine.LabelProbe: engine.ProbeName, engine.LabelFarm: "default", engine.LabelHost: host}
			c := engine.Container{Name: engine.ProbeName + "-" + host, Image: "busybox", Labels: labels}
			if _, err := f.engine.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		f.start()
		time.Sleep(2 * time.Minute) // the first round leaves it to the second where the worker examines its host
		synctest.Wait()
		left := f.engine.Containers()
		if len(left) != 1 || left[0].Labels[engine.LabelHost] != "host-2" {
			t.Errorf("%+v are left; want the other worker's alone", left)
		}
	})
}

// What another worker of the daemon has ended leaves its files here, also when this one
// could not know of it when it began.
func TestFilesOfWhatHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.start(renewals)
		job := f.ended(f.submit(served("echo up; sleep 3600", time.Hour)))
		running := f.submit(shell("echo up; sleep 3600"))
		f.containerRuns(running)
		spool := filepath.Join(f.state, "spool")
		if err := os.WriteFile(filepath.Join(spool, "job-00000099-a1.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		files, err := os.ReadDir(spool)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, file := range files {
			names = append(names, file.Name())
		}
		if want := []string{job.ID + "-a1.log", running + "-a1.log"}; !slices.Equal(names, want) {
			t.Errorf("the logs are %q, want %q", names, want)
		}
		for _, id := range []string{job.ID, running} {
			if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
				t.Error(err)
			}
		}
		f.ended(running)
		f.empty()
	})
}
