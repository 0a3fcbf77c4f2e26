package journal_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

// Every pair of phases: a container only goes on, and one that the engine was never
// asked for is not told to end.
func TestPhases(t *testing.T) {
	t.Parallel()
	all := journal.Phases()
	allowed := map[journal.Phase][]journal.Phase{
		journal.None:     {journal.Named, journal.Created, journal.Started},
		journal.Named:    {journal.Created, journal.Started, journal.Stopping, journal.Gone},
		journal.Created:  {journal.Started, journal.Stopping, journal.Gone},
		journal.Started:  {journal.Stopping, journal.Gone},
		journal.Stopping: {journal.Gone},
		journal.Gone:     nil,
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := from.CanBecome(to), slices.Contains(allowed[from], to); got != want {
				t.Errorf("%q can become %q: %t; want %t", from, to, got, want)
			}
		}
	}
	if journal.Phase("odd").CanBecome(journal.Gone) || journal.None.CanBecome("odd") {
		t.Error("an unknown phase moves")
	}
}

// Every step from every phase: it never takes back what is known.
func TestSteps(t *testing.T) {
	t.Parallel()
	drain, late := journal.Reason{Drain: true}, journal.Reason{Failure: &jobs.Failure{Kind: jobs.KindExitNonzero}}
	at := map[journal.Phase]journal.Container{
		journal.None:     {},
		journal.Named:    {Phase: journal.Named},
		journal.Created:  {Phase: journal.Created, ID: "c1"},
		journal.Started:  {Phase: journal.Started, ID: "c1"},
		journal.Stopping: {Phase: journal.Stopping, ID: "c1", Why: &late},
		journal.Gone:     {Phase: journal.Gone, ID: "c1", Why: &late},
	}
	steps := map[string]struct {
		step func(journal.Container) journal.Container
		to   map[journal.Phase]journal.Phase // where it leads; absent stays
	}{
		"named":   {journal.Container.Named, map[journal.Phase]journal.Phase{journal.None: journal.Named}},
		"created": {func(c journal.Container) journal.Container { return c.Created("c1") }, map[journal.Phase]journal.Phase{journal.None: journal.Created, journal.Named: journal.Created}},
		"started": {journal.Container.Started, map[journal.Phase]journal.Phase{
			journal.None: journal.Started, journal.Named: journal.Started, journal.Created: journal.Started,
		}},
		"stopping": {func(c journal.Container) journal.Container { return c.Stopping(drain) }, map[journal.Phase]journal.Phase{
			journal.Named: journal.Stopping, journal.Created: journal.Stopping, journal.Started: journal.Stopping,
		}},
		"gone": {journal.Container.Gone, map[journal.Phase]journal.Phase{
			journal.Named: journal.Gone, journal.Created: journal.Gone, journal.Started: journal.Gone, journal.Stopping: journal.Gone,
		}},
		"a record with an ID": {
			func(c journal.Container) journal.Container { return c.Recorded(jobs.Container{Name: "n", ID: "c1"}) },
			map[journal.Phase]journal.Phase{journal.None: journal.Created, journal.Named: journal.Created},
		},
		"a record with a name": {
			func(c journal.Container) journal.Container { return c.Recorded(jobs.Container{Name: "n"}) },
			map[journal.Phase]journal.Phase{journal.None: journal.Named},
		},
		"an empty record": {
			func(c journal.Container) journal.Container { return c.Recorded(jobs.Container{}) }, nil,
		},
	}
	for name, tt := range steps {
		for from, c := range at {
			want := from
			if to, ok := tt.to[from]; ok {
				want = to
			}
			got := tt.step(c)
			if got.Phase != want || c.ID != "" && got.ID != c.ID || got.Phase == journal.Created && got.ID == "" {
				t.Errorf("%s from %q: %+v; want it %q with its ID", name, from, got, want)
			}
			if c.Why != nil && got.Why != c.Why {
				t.Errorf("%s from %q: the reason is %+v; want the first one, %+v", name, from, got.Why, c.Why)
			}
			if (got.Phase == journal.Stopping) && got.Why == nil {
				t.Errorf("%s from %q: %+v has no reason", name, from, got)
			}
		}
	}
}

// Every phase with every verdict: whether something may run.
func TestMayRun(t *testing.T) {
	t.Parallel()
	result := func(text string) *jobs.Result {
		r := new(jobs.Result)
		if err := json.Unmarshal([]byte(text), r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	verdicts := map[string]journal.Entry{
		"none":    {},
		"release": {Release: &jobs.Release{}},
		"result":  {Result: result(`{"state":"succeeded"}`)},
		"service": {Result: result(`{"state":"succeeded","keep_until":"2100-01-01T00:00:00Z"}`)},
	}
	for name, e := range verdicts {
		for _, p := range journal.Phases() {
			e.Container.Phase = p
			want := p != journal.Gone && (name != "result" || p == journal.Stopping)
			if got := e.MayRun(); got != want {
				t.Errorf("verdict %s, container %q: may run %t; want %t", name, p, got, want)
			}
		}
	}
}
