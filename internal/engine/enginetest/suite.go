package enginetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Rig is what the suite needs to know about the engine under test.
type Rig struct {
	Engine engine.Engine
	// Image is a local reference to an image with the commands of shell.go.
	Image string
	// Registry is the address of one that is empty.
	Registry string
	// Lose removes a container behind the engine's back.
	Lose func(t *testing.T, id string)
}

// TestEngine holds an engine to the promises of package engine. setup is called
// once per subtest; what the subtests make carries labels and names of their
// own, so that they may share one host.
func TestEngine(t *testing.T, setup func(t *testing.T) Rig) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *trial){
		"info":                  testInfo,
		"output and exit code":  testOutput,
		"environment":           testEnvironment,
		"secrets":               testSecrets,
		"create adopts":         testAdopt,
		"create without image":  testNoImage,
		"start failures":        testStartFailures,
		"stop":                  testStop,
		"wait gives up":         testWaitGivesUp,
		"reattach":              testReattach,
		"reattach to the ended": testReattachEnded,
		"detach":                testDetach,
		"lost container":        testLost,
		"remove":                testRemove,
		"list":                  testList,
		"copy out":              testCopyOut,
		"written":               testWritten,
		"ports":                 testPorts,
		"image":                 testImage,
		"images by name":        testImages,
		"same image":            testSameImage,
		"build":                 testBuild,
		"build fails":           testBuildFails,
		"build bad context":     testBuildBadContext,
		"build cancelled":       testBuildCancelled,
		"build secret":          testBuildSecret,
		"build covers":          testBuildCovers,
		"build hidden":          testBuildHidden,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &trial{Rig: setup(t), t: t, ctx: t.Context()})
		})
	}
}

// trial is one subtest with the steps they share.
type trial struct {
	Rig
	t   *testing.T
	ctx context.Context
	// hidden keeps Dockerfiles out of their contexts.
	hidden bool
}

// in is the trial for a subtest.
func (s *trial) in(t *testing.T) *trial {
	return &trial{Rig: s.Rig, t: t, ctx: t.Context(), hidden: s.hidden}
}

// name is a container name that no other subtest has.
func (s *trial) name() string {
	return jobs.ContainerName(s.job(), 1)
}

// image is the name of an image that no other subtest has.
func (s *trial) image() string { return "suite-build:" + strings.ToLower(s.job()) }

func (s *trial) job() string {
	return clean(s.t.Name())
}

func clean(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == '/' || c == '_' || c == '#' || c == ' ' {
			out[i] = '-'
		}
	}
	return string(out)
}

func (s *trial) labels() map[string]string {
	return map[string]string{
		engine.LabelFarm: "suite", engine.LabelHost: "here", engine.LabelJob: s.job(), engine.LabelAttempt: "1",
	}
}

func (s *trial) container(run jobs.Run) engine.Container {
	return engine.Container{Name: s.name(), Image: s.Image, Spec: run, Labels: s.labels(), PortAddress: "127.0.0.1", LogBytes: 1 << 20}
}

// create makes a container that is removed with the test.
func (s *trial) create(run jobs.Run) string {
	s.t.Helper()
	made, err := s.Engine.Create(s.ctx, s.container(run))
	if err != nil {
		s.t.Fatalf("create: %v", err)
	}
	id := made.ID
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Engine.Remove(ctx, id); err != nil {
			s.t.Errorf("remove: %v", err)
		}
	})
	return id
}

func (s *trial) start(id string) (engine.Process, *recorder) {
	s.t.Helper()
	rec := newRecorder()
	p, err := s.Engine.Start(s.ctx, id, rec.output())
	if err != nil {
		s.t.Fatalf("start: %v", err)
	}
	return p, rec
}

func (s *trial) wait(p engine.Process) engine.State {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	state, err := p.Wait(ctx)
	if err != nil {
		s.t.Fatalf("wait: %v", err)
	}
	return state
}

// sh is a run of a shell script.
func sh(script string) jobs.Run { return jobs.Run{Command: []string{"sh", "-c", script}} }

func (s *trial) wantKind(what string, err error, want jobs.Kind) *jobs.Failure {
	s.t.Helper()
	if err == nil {
		s.t.Fatalf("%s = nil, want %s", what, want)
	}
	f := jobs.AsFailure(err)
	if f.Kind != want {
		s.t.Errorf("%s = %v, want kind %s", what, err, want)
	}
	if f.Message == "" {
		s.t.Errorf("%s: a failure without a message", what)
	}
	return f
}
