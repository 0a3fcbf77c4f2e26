package jobstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Serving is a queue with the intakes under test. Each subtest sets up its own, empty
// one.
type Serving struct {
	Queue jobs.Queue
	// Intake makes an intake of jobs.DefaultQueue with so many slots. The suite closes
	// it.
	Intake func(slots int) jobs.Intake
}

// TestIntake holds the intakes of a queue to what workers are promised.
func TestIntake(t *testing.T, setup func(t *testing.T) Serving) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s Serving)
	}{
		{"every ticket once", testTakeOnce},
		{"no more in hand than there are slots", testTakeSlots},
		{"again after an error", testTakeAgain},
		{"pause", testTakePause},
		{"stop", testTakeStop},
		{"close without a ticket", testTakeNothing},
		{"where it can run", testTakeRoutes},
		{"a route that is new", testTakeNewRoute},
		{"after another answer", testTakeRecheck},
		{"turns", testTakeTurns},
		{"turns by weight", testTakeTurnsByWeight},
		{"the oldest first across routes", testTakeAge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // most of what they do is wait
			tt.test(t, setup(t))
		})
	}
}

// taker is an intake with a handler that answers when the test says so.
type taker struct {
	jobs.Intake
	t *testing.T
	// took has what the intake handed out; answers ends the oldest call.
	took    chan taken
	answers chan error
}

// taken is a call of the handler.
type taken struct {
	id  string
	ctx context.Context // the handler's, which must outlive StopTaking
}

// start starts an intake that takes anything, until the test ends.
func (s Serving) start(t *testing.T, slots int) taker {
	t.Helper()
	return s.startTaking(t, slots, func(jobs.Needs) jobs.Fit { return jobs.FitsNow })
}

// startTaking starts an intake for a host that takes some jobs only.
func (s Serving) startTaking(t *testing.T, slots int, fits func(jobs.Needs) jobs.Fit) taker {
	t.Helper()
	k := taker{s.Intake(slots), t, make(chan taken, 100), make(chan error, 100)}
	err := k.Start(func(ctx context.Context, d jobs.Delivery) error {
		k.took <- taken{d.Ticket.ID, ctx}
		return <-k.answers
	}, fits)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		k.StopTaking()
		close(k.answers)
		if err := k.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return k
}

// takes waits for the next ticket.
func (k taker) takes() taken {
	k.t.Helper()
	select {
	case got := <-k.took:
		return got
	case <-time.After(patience):
		k.t.Fatalf("no ticket was handed out within %s", patience)
	}
	panic("not reached")
}

// idles fails the test when a ticket is handed out within a moment.
func (k taker) idles(why string) {
	k.t.Helper()
	select {
	case got := <-k.took:
		k.t.Fatalf("%s was handed out, though %s", got.id, why)
	case <-time.After(300 * time.Millisecond):
	}
}

// push pushes tickets with these IDs.
func (s Serving) push(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := s.Queue.Push(t.Context(), ticket(id, 1, 1)); err != nil {
			t.Fatalf("Push(%s): %v", id, err)
		}
	}
}

func testTakeOnce(t *testing.T, s Serving) {
	one, two := s.start(t, 3), s.start(t, 3)
	count := map[string]int{}
	for i := range 30 {
		s.push(t, fmt.Sprintf("job-%02d", i))
	}
	for range 30 {
		var got taken
		select {
		case got = <-one.took:
			one.answers <- nil
		case got = <-two.took:
			two.answers <- nil
		case <-time.After(patience):
			t.Fatalf("only %d tickets were handed out", len(count))
		}
		count[got.id]++
	}
	if len(count) != 30 || slices.Max(slices.Collect(maps.Values(count))) > 1 {
		t.Errorf("handed out %v; want each of 30 once", count)
	}
	one.idles("all tickets were dealt with")
	two.idles("all tickets were dealt with")
}

func testTakeSlots(t *testing.T, s Serving) {
	k := s.start(t, 2)
	s.push(t, "job-1", "job-2", "job-3", "job-4")
	k.takes()
	k.takes()
	k.idles("two of two slots are taken")
	k.answers <- nil
	k.takes()
	k.idles("two of two slots are taken again")
	k.answers <- nil
	k.takes()
}

func testTakeAgain(t *testing.T, s Serving) {
	k := s.start(t, 1)
	s.push(t, "job-1")
	for i, answer := range []error{errors.New("not now"), errors.New("not yet"), nil} {
		if got := k.takes(); got.id != "job-1" {
			t.Errorf("delivery %d is of %s; want job-1", i+1, got.id)
		}
		k.answers <- answer
	}
	k.idles("its handler had no error to report")
}

func testTakePause(t *testing.T, s Serving) {
	k := s.start(t, 2)
	s.push(t, "in-hand")
	inHand := k.takes()
	k.Pause(true)
	k.Pause(true)
	// An intake may have been about to take a ticket when it was paused.
	s.push(t, "job-1", "job-2")
	late := 0
	select {
	case <-k.took:
		late++
	case <-time.After(300 * time.Millisecond):
	}
	k.idles("the intake is paused")
	if err := inHand.ctx.Err(); err != nil {
		t.Errorf("the context of the ticket in hand ended: %v", err)
	}
	for range 1 + late {
		k.answers <- nil
	}
	k.idles("the intake is paused, also when a slot becomes free")
	k.Pause(false)
	for range 2 - late {
		if got := k.takes(); got.id == "in-hand" {
			t.Error("the ticket that was in hand was handed out again")
		}
		k.answers <- nil
	}
}

func testTakeStop(t *testing.T, s Serving) {
	k := s.start(t, 2)
	s.push(t, "in-hand")
	inHand := k.takes()
	k.StopTaking()
	k.StopTaking()
	s.push(t, "job-1")
	k.idles("the intake takes no more")
	if err := inHand.ctx.Err(); err != nil {
		t.Errorf("the context of the ticket in hand ended: %v", err)
	}
	next := s.start(t, 2)
	if got := next.takes(); got.id != "job-1" {
		t.Errorf("another intake took %s; want job-1", got.id)
	}
	next.answers <- nil
	k.answers <- nil
	next.idles("the stopped intake deals with it")
}

func testTakeNothing(t *testing.T, s Serving) {
	k := s.start(t, 1)
	k.idles("there is none")
}

// needing is a ticket of a job that needs a label.
func needing(id, label string) jobs.Ticket {
	t := ticket(id, 1, 1)
	t.Route = jobs.Needs{Labels: map[string]string{"disk": label}}.Route()
	return t
}

// having takes jobs that need no label, or one of these.
func having(labels ...string) func(jobs.Needs) jobs.Fit {
	return func(n jobs.Needs) jobs.Fit {
		if want, asked := n.Labels["disk"]; asked && !slices.Contains(labels, want) {
			return jobs.FitsNever
		}
		return jobs.FitsNow
	}
}

func (s Serving) pushAll(t *testing.T, tickets ...jobs.Ticket) {
	t.Helper()
	if err := s.Queue.Push(t.Context(), tickets...); err != nil {
		t.Fatalf("Push: %v", err)
	}
}

func testTakeRoutes(t *testing.T, s Serving) {
	for i := range 20 { // before and after there is one who may take them
		s.pushAll(t, needing(fmt.Sprint("tape-", i), "tape"))
	}
	ssd, hdd := s.startTaking(t, 1, having("ssd")), s.startTaking(t, 1, having("hdd"))
	for i := range 5 {
		s.pushAll(t, needing(fmt.Sprint("ssd-", i), "ssd"), needing(fmt.Sprint("hdd-", i), "hdd"))
		for _, k := range []struct {
			taker
			want string
		}{{ssd, "ssd-"}, {hdd, "hdd-"}} {
			if got, want := k.takes(), fmt.Sprint(k.want, i); got.id != want {
				t.Errorf("got %s; want %s", got.id, want)
			}
			k.answers <- nil
		}
	}
	ssd.idles("nothing is left that its host may take")
	tape := s.startTaking(t, 2, having("tape"))
	for range 20 {
		if got := tape.takes(); !strings.HasPrefix(got.id, "tape-") {
			t.Errorf("got %s; want one that needs a tape", got.id)
		}
		tape.answers <- nil
	}
}

// How soon, the tests of the doorbell tell.
func testTakeNewRoute(t *testing.T, s Serving) {
	k := s.startTaking(t, 1, having("ssd", "hdd"))
	for i, label := range []string{"ssd", "hdd", "ssd"} {
		k.idles("there is none")
		s.pushAll(t, needing(fmt.Sprint("job-", i), label))
		if got, want := k.takes(), fmt.Sprint("job-", i); got.id != want {
			t.Errorf("got %s; want %s", got.id, want)
		}
		k.answers <- nil
	}
}

func testTakeRecheck(t *testing.T, s Serving) {
	var full atomic.Bool
	full.Store(true)
	k := s.startTaking(t, 1, func(n jobs.Needs) jobs.Fit {
		if n.Memory >= 1<<30 && full.Load() {
			return jobs.FitsLater
		}
		return jobs.FitsNow
	})
	large := ticket("job-large", 1, 1)
	large.Route = jobs.Needs{Memory: 1 << 30}.Route()
	s.pushAll(t, large, ticket("job-small", 1, 1))
	if got := k.takes(); got.id != "job-small" {
		t.Errorf("got %s; want the small one", got.id)
	}
	k.answers <- nil
	k.idles("there is no room for the large one")
	full.Store(false)
	k.Recheck()
	if got := k.takes(); got.id != large.ID {
		t.Errorf("got %s; want the large one", got.id)
	}
	k.answers <- nil
	full.Store(true)
	k.Recheck()
	k.idles("there is none")
	full.Store(false)
	k.Recheck()
	large.ID = "job-large-2"
	s.pushAll(t, large)
	if got := k.takes(); got.id != large.ID {
		t.Errorf("got %s; want the second large one", got.id)
	}
	k.answers <- nil
}

func testTakeTurns(t *testing.T, s Serving) {
	in := func(turn string, i int) jobs.Ticket {
		tk := ticket(fmt.Sprintf("%s-%02d", turn, i), 1, 1)
		tk.Turn = turn
		return tk
	}
	for i := range 20 {
		s.pushAll(t, in("many", i))
	}
	for i := range 3 {
		s.pushAll(t, in("few", i), in("some", i))
	}
	k := s.start(t, 1)
	var got []string
	for range 26 {
		id := k.takes().id
		got = append(got, id)
		k.answers <- nil
	}
	want := []string{
		"many-00", "few-00", "some-00", "many-01", "few-01", "some-01", "many-02", "few-02", "some-02", "many-03", "many-04",
	}
	if !slices.Equal(got[:len(want)], want) {
		t.Errorf("got %q; want %q", got[:len(want)], want)
	}
	// Who had nothing to do saves up no turns.
	for i := range 4 {
		s.pushAll(t, in("many", 50+i))
	}
	for i := range 4 {
		s.pushAll(t, in("new", i))
	}
	got = nil
	for range 8 {
		got = append(got, k.takes().id)
		k.answers <- nil
	}
	early := 0
	for _, id := range got[:4] {
		if strings.HasPrefix(id, "many") {
			early++
		}
	}
	if early < 1 || early > 3 {
		t.Errorf("got %q; want both in turns", got)
	}
}

func testTakeTurnsByWeight(t *testing.T, s Serving) {
	weigh := func(name string, turns int) {
		t.Helper()
		if err := s.Queue.SetWeight(t.Context(), jobs.Weight{Queue: jobs.DefaultQueue, Name: name, Turns: turns}); err != nil {
			t.Fatal(err)
		}
	}
	weigh("blue", 7)
	weigh("blue", 3)
	weigh("red", 2)
	weigh("red", 1)
	got, err := s.Queue.Weights(t.Context(), "other", jobs.DefaultQueue)
	if want := []jobs.Weight{{Queue: jobs.DefaultQueue, Name: "blue", Turns: 3}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("weights %+v, %v; want %+v", got, err, want)
	}
	for i := range 12 {
		for _, turn := range []string{"red", "blue"} {
			tk := ticket(fmt.Sprintf("%s-%02d", turn, i), 1, 1)
			tk.Turn = turn
			s.pushAll(t, tk)
		}
	}
	k := s.start(t, 1)
	took := map[string]int{}
	for range 12 {
		name, _, _ := strings.Cut(k.takes().id, "-")
		took[name]++
		k.answers <- nil
	}
	if took["blue"] < 8 || took["red"] < 2 {
		t.Errorf("of twelve tickets took %v; want three of blue for each of red", took)
	}
}

func testTakeAge(t *testing.T, s Serving) {
	labels := []string{"ssd", "hdd", "ssd", "ssd", "hdd", "hdd", "hdd", "ssd"}
	var want []string
	for i, label := range labels {
		want = append(want, fmt.Sprint("job-", i))
		s.pushAll(t, needing(want[i], label))
	}
	s.push(t, "job-8")
	want = append(want, "job-8")
	k := s.start(t, 1)
	var got []string
	for range want {
		got = append(got, k.takes().id)
		k.answers <- nil
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}
