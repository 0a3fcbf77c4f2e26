package jobstest

import (
	"errors"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// grouped is a document in a group that lets so many jobs run at once.
func grouped(group string, limit int) jobs.Spec {
	s := spec("app")
	s.Concurrency = &jobs.Concurrency{Group: group, Limit: limit}
	return s
}

// tries claims a job with a ticket of its, and reports whether it was let in.
func (f *farm) tries(id string) (jobs.Job, bool) {
	f.t.Helper()
	j, err := f.Claims.Claim(f.ctx, f.get(id).Ticket(), f.owner(host))
	if err != nil && !errors.Is(err, jobs.ErrGroupFull) {
		f.t.Fatalf("Claim(%s): %v", id, err)
	}
	if errors.Is(err, jobs.ErrGroupFull) && !errors.Is(err, jobs.ErrNotClaimable) {
		f.t.Errorf("Claim(%s): %v; want the ticket to be spent", id, err)
	}
	return j, err == nil
}

// called checks which jobs of a group get tickets.
func (f *farm) called(c *jobs.Concurrency, want ...string) {
	f.t.Helper()
	tickets, err := f.Claims.Next(f.ctx, *c)
	if err != nil {
		f.t.Fatalf("Next: %v", err)
	}
	var got []string
	for _, t := range tickets {
		got = append(got, t.ID)
		if t != f.get(t.ID).Ticket() {
			f.t.Errorf("Next: ticket %+v; want %+v", t, f.get(t.ID).Ticket())
		}
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("Next calls %q; want %q", got, want)
	}
}

// group checks who is in a group, and who waits for a place.
func (f *farm) group(name string, members, waiting []string) {
	f.t.Helper()
	g, err := f.Records.Group(f.ctx, name)
	if err != nil {
		f.t.Fatalf("Group: %v", err)
	}
	slices.Sort(g.Members)
	if !slices.Equal(g.Members, members) || !slices.Equal(g.Waiting, waiting) {
		f.t.Errorf("group %s has %q, and %q wait; want %q and %q", name, g.Members, g.Waiting, members, waiting)
	}
}

func testGroupLimit(f *farm) {
	ids := f.create(grouped("deploy", 2), grouped("deploy", 2), grouped("deploy", 2), grouped("deploy", 2), grouped("other", 1))
	c := f.get(ids[0]).Spec.Concurrency
	first, ok := f.tries(ids[0])
	second, ok2 := f.tries(ids[1])
	if _, ok3 := f.tries(ids[2]); !ok || !ok2 || ok3 {
		f.t.Fatalf("let in: %t, %t, %t; want two of three", ok, ok2, ok3)
	}
	if _, ok := f.tries(ids[4]); !ok {
		f.t.Error("a job of another group was not let in")
	}
	f.state(ids[2], jobs.Queued)
	f.called(c)
	if _, ok := f.tries(ids[3]); ok {
		f.t.Error("a fourth job was let in")
	}
	f.group("deploy", ids[:2], ids[2:4])
	f.succeed(first)
	// The place is for the one that has waited longer, not for the one that asks first.
	if _, ok := f.tries(ids[3]); ok {
		f.t.Error("the last job was let in before the one that waits for longer")
	}
	f.called(c, ids[2])
	f.called(c) // it has its ticket
	third, ok := f.tries(ids[2])
	if !ok {
		f.t.Fatal("the job that was called was not let in")
	}
	f.group("deploy", []string{ids[1], ids[2]}, []string{ids[3]})
	f.succeed(second)
	f.succeed(third)
	f.called(c, ids[3])
	last, ok := f.tries(ids[3])
	if !ok {
		f.t.Fatal("the last job was not let in")
	}
	f.succeed(last)
	f.called(c)
	f.group("deploy", nil, nil)
}

func (f *farm) succeed(j jobs.Job) {
	f.t.Helper()
	if err := f.Claims.Finish(f.ctx, j.ID, j.Nonce, jobs.Result{State: jobs.Succeeded, Attempt: j.Attempt, Host: host}); err != nil {
		f.t.Fatalf("Finish(%s): %v", j.ID, err)
	}
}

// A job that is handed back keeps its place in the order, and not its place in the group.
func testGroupRelease(f *farm) {
	ids := f.create(grouped("deploy", 1), grouped("deploy", 1))
	c := f.get(ids[0]).Spec.Concurrency
	first, _ := f.tries(ids[0])
	if _, ok := f.tries(ids[1]); ok {
		f.t.Fatal("a second job was let in")
	}
	_, err := f.Claims.Claim(f.ctx, f.get(ids[0]).Ticket(), f.owner(host))
	f.refused("a ticket that came twice", err, jobs.ErrNotClaimable)
	f.group("deploy", ids[:1], ids[1:])
	f.release(first, jobs.Release{Reason: "drain"})
	f.group("deploy", nil, ids[1:])
	again, ok := f.tries(ids[0])
	if !ok {
		f.t.Fatal("the older job was not let in again")
	}
	f.called(c)
	f.succeed(again)
	if _, err := f.Records.Cancel(f.ctx, ids[1], "a user"); err != nil {
		f.t.Fatal(err)
	}
	third := f.create(grouped("deploy", 1))[0]
	f.called(c) // who waited was cancelled
	if _, ok := f.tries(third); !ok {
		f.t.Error("a job waits behind one that was cancelled")
	}
}

// A claim that is refused takes no place.
func testGroupRefusal(f *farm) {
	s := grouped("deploy", 1)
	waits := f.create(s, s)
	j, _ := f.tries(waits[0])
	f.release(j, jobs.Release{Spend: jobs.SpendRetry, Delay: time.Hour})
	_, err := f.Claims.Claim(f.ctx, f.get(waits[0]).Ticket(), f.owner(host))
	f.refused("a job in the pause before its retry", err, jobs.ErrTooEarly)
	s.Requires = &jobs.Requires{Labels: map[string]string{"gpu": "yes"}}
	needs := f.create(s)[0]
	_, err = f.Claims.Claim(f.ctx, f.get(needs).Ticket(), f.owner(host))
	f.refused("a job that another host has to run", err, jobs.ErrNotEligible)
	f.group("deploy", nil, nil)
	if _, ok := f.tries(waits[1]); !ok {
		f.t.Error("a job was not let into an empty group")
	}
}
