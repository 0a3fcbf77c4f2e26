package supervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/systemd"
)

// fake is a child that lives as a test says.
type fake struct {
	beats      chan systemd.Condition
	ended      chan error
	asked      atomic.Int32 // how often it was asked to end
	killed     atomic.Bool
	terminated chan struct{} // takes one for each time
}

func newFake() *fake {
	return &fake{beats: make(chan systemd.Condition), ended: make(chan error, 1), terminated: make(chan struct{}, 2)}
}

func (f *fake) Beats() <-chan systemd.Condition { return f.beats }
func (f *fake) Ended() <-chan error             { return f.ended }

func (f *fake) Terminate() {
	f.asked.Add(1)
	f.terminated <- struct{}{}
}

func (f *fake) Kill() {
	f.killed.Store(true)
	f.ended <- errors.New("signal: killed")
}

// beat gives signs of life for a while.
func (f *fake) beat(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(watchdogEvery) {
		f.beats <- systemd.Condition{}
	}
}

// farm starts children that live as lives say, one after the other.
type farm struct {
	lives    []func(*fake) error // what each ends with
	children []*fake
	starts   []time.Duration // when each was started
	reaps    []time.Duration // when its containers were looked after
	reapErr  error
	log      bytes.Buffer
	manager  manager
}

// manager notes what it is told, and when.
type manager struct {
	began time.Time
	told  []systemd.Condition
	alive []time.Duration
}

func (m *manager) Is(_ context.Context, c systemd.Condition) { m.told = append(m.told, c) }
func (m *manager) Alive(context.Context)                     { m.alive = append(m.alive, time.Since(m.began)) }
func (m *manager) Every() time.Duration                      { return 20 * time.Second }

func (f *farm) run(ctx, hurry context.Context) error {
	began := time.Now()
	f.manager.began = began
	return Run(ctx, hurry, slog.New(slog.NewTextHandler(&f.log, nil)), Options{
		Silence: 30 * time.Second,
		Lease:   90 * time.Second,
		Manager: &f.manager,
		Start: func(context.Context) (Child, error) {
			n := len(f.children)
			if n == len(f.lives) {
				return nil, errors.New("there is no such program")
			}
			child := newFake()
			f.children, f.starts = append(f.children, child), append(f.starts, time.Since(began))
			go func() {
				if err := f.lives[n](child); !child.killed.Load() {
					child.ended <- err
				}
			}()
			return child, nil
		},
		Reap: func(context.Context) error {
			f.reaps = append(f.reaps, time.Since(began))
			return f.reapErr
		},
	})
}

// dies is a child that came up and dies after a while.
func dies(after time.Duration) func(*fake) error {
	return func(f *fake) error {
		f.beat(after)
		return Exit(1)
	}
}

func inOrder(f *fake) error {
	f.beat(watchdogEvery)
	return nil
}

func seconds(s ...int) []time.Duration {
	all := make([]time.Duration, len(s))
	for i, n := range s {
		all[i] = time.Duration(n) * time.Second
	}
	return all
}

// A child that dies is started again: the first time at once, then after a pause that
// grows and in which its containers are looked after. One that lived long starts at once.
func TestRunStartsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := farm{lives: []func(*fake) error{dies(time.Second), dies(time.Second), dies(time.Second), dies(20 * time.Second), inOrder}, reapErr: errors.New("the engine is away")}
		if err := f.run(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := seconds(0, 1, 3, 7, 27); !slices.Equal(f.starts, want) {
			t.Errorf("children started after %v, want %v", f.starts, want)
		}
		if want := seconds(2, 4); !slices.Equal(f.reaps, want) {
			t.Errorf("containers were looked after at %v, want %v", f.reaps, want)
		}
		for _, want := range []string{"the worker ended; the supervisor starts it again", "exit code 1", "the engine is away"} {
			if !strings.Contains(f.log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, f.log.String())
			}
		}
	})
}

// A child that never came up will not the next time, either.
func TestRunGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := farm{lives: []func(*fake) error{func(f *fake) error { close(f.beats); return Exit(2) }}}
		err := f.run(t.Context(), t.Context())
		if code := Exit(0); !errors.As(err, &code) || code != 2 || len(f.children) != 1 {
			t.Errorf("%v after %d children; want exit code 2 after one", err, len(f.children))
		}
		if err := (&farm{}).run(t.Context(), t.Context()); err == nil || err.Error() != "start the worker: there is no such program" {
			t.Errorf("error %v; want what kept the program from starting", err)
		}
	})
}

// A child that is silent is killed and started again. One that only paused, as the whole
// machine may have, has a last chance.
func TestRunSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := farm{lives: []func(*fake) error{
			func(f *fake) error {
				f.beat(watchdogEvery)
				time.Sleep(29*time.Second + lastChance/2) // silent for 30.5 s
				f.beat(watchdogEvery)
				time.Sleep(time.Hour)
				return nil
			}, inOrder,
		}}
		if err := f.run(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
		// Its last sign of life is at 30.5 s.
		if want := 30*time.Second + lastChance/2 + 30*time.Second + lastChance; !f.children[0].killed.Load() || f.starts[1] != want {
			t.Errorf("killed %v, the next one started at %s; want it killed at %s", f.children[0].killed.Load(), f.starts[1], want)
		}
		if !strings.Contains(f.log.String(), "the worker was silent for 30s") {
			t.Errorf("the log does not say why:\n%s", f.log.String())
		}
		time.Sleep(2 * time.Hour) // for the first child's goroutine
	})
}

// The end of ctx asks the child to end, that of hurry asks once more, and its end is the
// supervisor's.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		hurry, stopNow := context.WithCancel(t.Context())
		f := farm{lives: []func(*fake) error{func(f *fake) error {
			f.beat(watchdogEvery)
			stop()
			<-f.terminated
			f.beat(time.Minute) // it drains
			stopNow()
			<-f.terminated
			return Exit(3)
		}}}
		err := f.run(ctx, hurry)
		if code := Exit(0); !errors.As(err, &code) || code != 3 || len(f.children) != 1 || f.children[0].asked.Load() != 2 {
			t.Errorf("%v after %d children; want exit code 3 of one that was asked twice", err, len(f.children))
		}
	})
}

// A supervisor whose context ends while no child runs starts none.
func TestRunEndsInPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer stop()
		f := farm{lives: []func(*fake) error{dies(time.Second), dies(time.Second)}}
		if err := f.run(ctx, t.Context()); err != nil || len(f.children) != 2 {
			t.Errorf("%v after %d children; want nil after two", err, len(f.children))
		}
	})
}

func up(text string) systemd.Condition { return systemd.Condition{Phase: systemd.Up, Text: text} }

func ending(text string) systemd.Condition {
	return systemd.Condition{Phase: systemd.Ending, Text: text}
}

// The manager hears what the child says of itself, why there is none, and that it ends.
func TestRunTellsTheManager(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		f := farm{lives: []func(*fake) error{
			func(f *fake) error {
				f.beats <- up("takes jobs")
				f.beats <- systemd.Condition{}
				return Exit(1)
			},
			func(f *fake) error {
				f.beats <- up("takes jobs again")
				stop()
				<-f.terminated
				synctest.Wait()
				f.beats <- ending("drains: 1 of 2")
				return nil
			},
		}}
		if err := f.run(ctx, t.Context()); err != nil {
			t.Fatal(err)
		}
		starting := func(text string) systemd.Condition { return systemd.Condition{Phase: systemd.Starting, Text: text} }
		want := []systemd.Condition{
			starting("takes no jobs: the worker starts"), up("takes jobs"),
			starting("takes no jobs: the supervisor starts the worker again: the worker ended with exit code 1"), up("takes jobs again"),
			ending("drains"), ending("drains: 1 of 2"),
		}
		if !slices.Equal(f.manager.told, want) {
			t.Errorf("the manager was told %q, want %q", f.manager.told, want)
		}
	})
}

// The manager has signs of life for as long as a child gives some, and for the length of a
// lease when no child comes up any more.
func TestRunAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		lives := []func(*fake) error{dies(10 * time.Minute)}
		for range 1000 {
			lives = append(lives, func(*fake) error { return Exit(1) })
		}
		f := farm{lives: lives}
		_ = f.run(ctx, t.Context())
		if len(f.children) < 500 {
			t.Fatalf("%d children were started in an hour; want the supervisor to go on", len(f.children))
		}
		last := time.Duration(0)
		for _, at := range f.manager.alive {
			if at-last > f.manager.Every() {
				t.Errorf("no sign of life between %s and %s", last, at)
			}
			last = at
		}
		if end := 10*time.Minute + 90*time.Second; last >= end || last < end-f.manager.Every() {
			t.Errorf("the last sign of life is after %s; want it just before %s", last, end)
		}
	})
}

// A child that dies while its operator drains it has a successor that ends, too.
func TestRunEndsWhatWasToEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := farm{lives: []func(*fake) error{
			func(f *fake) error {
				f.beats <- ending("drains: 2 of 2")
				return Exit(1)
			},
			func(f *fake) error {
				f.beats <- systemd.Condition{}
				<-f.terminated
				f.beats <- up("looks at what was left")
				return nil
			},
		}}
		if err := f.run(t.Context(), t.Context()); err != nil || f.children[1].asked.Load() != 1 {
			t.Errorf("%v, the second child was asked to end %d times; want once", err, f.children[1].asked.Load())
		}
	})
}
