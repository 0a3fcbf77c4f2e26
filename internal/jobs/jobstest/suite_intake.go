package jobstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
		{"others first", testTakeGiveWay},
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

// start starts an intake, until the test ends.
func (s Serving) start(t *testing.T, slots int) taker {
	t.Helper()
	k := taker{s.Intake(slots), t, make(chan taken, 100), make(chan error, 100)}
	err := k.Start(func(ctx context.Context, d jobs.Delivery) error {
		k.took <- taken{d.Ticket.ID, ctx}
		return <-k.answers
	})
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

// How far the head start goes is the intake's affair, and a slow machine may miss it.
func testTakeGiveWay(t *testing.T, s Serving) {
	polite, other := s.start(t, 1), s.start(t, 1)
	polite.GiveWay()
	const all = 8
	mine := 0
	for i := range all {
		polite.idles("there is none")
		s.push(t, fmt.Sprint("job-", i))
		select {
		case <-other.took:
			other.answers <- nil
		case <-polite.took:
			mine++
			polite.answers <- nil
		case <-time.After(patience):
			t.Fatal("the ticket was not handed out")
		}
		polite.GiveWay()
	}
	if mine > all/4 {
		t.Errorf("the intake that gave way took %d of %d tickets, with an idle one beside it", mine, all)
	}
	other.StopTaking()
	s.push(t, "job-last")
	if got := polite.takes(); got.id != "job-last" {
		t.Errorf("got %s; want job-last", got.id)
	}
	polite.answers <- nil
}
