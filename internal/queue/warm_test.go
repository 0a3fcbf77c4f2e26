package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

// warmFarm is some hosts with a slot each.
type warmFarm struct {
	t     *testing.T
	queue *queue.Queue
	hosts map[string]jobs.Intake
	began chan begun
	// release lets the ticket of a host go.
	release map[string]chan struct{}
	closing chan struct{}
	pushed  int
}

type begun struct {
	host, job string
	at        time.Time
}

const affinityWait = 700 * time.Millisecond

func newWarmFarm(t *testing.T, dial func() redis.UniversalClient, hosts ...string) *warmFarm {
	t.Helper()
	rdb := dial()
	t.Cleanup(func() { _ = rdb.Close() })
	f := &warmFarm{
		t: t, queue: queue.New(rdb), hosts: map[string]jobs.Intake{}, began: make(chan begun, 1000), release: map[string]chan struct{}{},
		closing: make(chan struct{}),
	}
	for _, host := range hosts {
		release := make(chan struct{})
		f.release[host] = release
		in := queue.NewIntake(dial(), queue.IntakeOptions{Host: host, Queues: []string{"builds"}, Slots: 1, Fallback: time.Minute, AffinityWait: affinityWait})
		err := in.Start(func(_ context.Context, d jobs.Delivery) error {
			f.began <- begun{host, d.Ticket.ID, time.Now()}
			select {
			case <-release:
			case <-f.closing:
			}
			return nil
		}, anything)
		if err != nil {
			t.Fatal(err)
		}
		f.hosts[host] = in
		t.Cleanup(func() { _ = in.Close() })
	}
	t.Cleanup(sync.OnceFunc(func() { close(f.closing) }))
	<-time.After(100 * time.Millisecond) // they are idle by then
	return f
}

func (f *warmFarm) warm(host string, recipes ...string) {
	f.t.Helper()
	if err := f.hosts[host].Warm(f.t.Context(), recipes); err != nil {
		f.t.Fatal(err)
	}
}

// push pushes builds of these recipes at once.
func (f *warmFarm) push(recipes ...string) (at time.Time) {
	f.t.Helper()
	return f.pushAt(jobs.PriorityNormal, recipes...)
}

func (f *warmFarm) pushAt(p jobs.Priority, recipes ...string) (at time.Time) {
	f.t.Helper()
	var all []jobs.Ticket
	for _, recipe := range recipes {
		f.pushed++
		all = append(all, jobs.Ticket{ID: fmt.Sprintf("%s-%d", recipe, f.pushed), Attempt: 1, Seq: 1, Queue: "builds", Priority: p, Turn: "acme", Recipe: recipe})
	}
	at = time.Now()
	if err := f.queue.Push(f.t.Context(), all...); err != nil {
		f.t.Fatal(err)
	}
	return at
}

// next is the job that begins next.
func (f *warmFarm) next() begun {
	f.t.Helper()
	select {
	case b := <-f.began:
		return b
	case <-time.After(20 * time.Second):
		f.t.Fatal("no job began")
		return begun{}
	}
}

// want checks which host took the build that was pushed at a time, and whether at once or
// after the wait.
func (f *warmFarm) want(pushed time.Time, host string, waits bool) {
	f.t.Helper()
	b := f.next()
	took := b.at.Sub(pushed)
	if b.host != host || waits != (took > affinityWait*9/10) || took > affinityWait+5*time.Second {
		f.t.Errorf("%s began on %s after %s; want on %s, after the wait: %t", b.job, b.host, took, host, waits)
	}
}

func TestWarm(t *testing.T) {
	t.Parallel()
	testWarm(t, func(t *testing.T) func() redis.UniversalClient {
		server := miniredis.RunT(t)
		return func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) }
	})
}

func hold(in jobs.Intake) { in.Pause(true) }

func testWarm(t *testing.T, open func(t *testing.T) func() redis.UniversalClient) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(t *testing.T, dial func() redis.UniversalClient)
	}{
		{"a build goes to the host that is warm", testGoesToWarm},
		{"a busy host is waited for", testWaitsForBusy},
		{"what is gone is not waited for", testForgets},
		{"a host that takes none is not waited for", testHeldIsNotWarm},
		{"of as many turns what is warm goes first", testWarmFirst},
		{"hosts take turns in waiting", testWaitIsPassedOn},
		{"what was left is passed on by one that gets other work", testPassedOnByOtherWork},
		{"what was left is passed on by a host that is held", testPassedOnBy("boiler", hold)},
		{"what was left is passed on by another host that is held", testPassedOnBy("crane", hold)},
		{"what was left is passed on by a host that ends", testPassedOnBy("boiler", jobs.Intake.StopTaking)},
		{"what was left is passed on by another host that ends", testPassedOnBy("crane", jobs.Intake.StopTaking)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, open(t))
		})
	}
}

func testGoesToWarm(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler", "crane")
	for i, host := range []string{"anvil", "boiler", "crane", "boiler", "anvil"} {
		recipe := fmt.Sprint("web", i)
		f.warm(host, recipe)
		at := f.push(recipe)
		f.want(at, host, false)
		f.release[host] <- struct{}{}
	}
	f.push("none-is-warm")
	f.release[f.next().host] <- struct{}{}
}

// What a worker does not have any more is not left to it, also when the one before told.
func testForgets(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler")
	f.warm("anvil", "web", "api")
	f.warm("anvil", "api")
	f.warm("anvil", "api", "new")
	next := queue.NewIntake(dial(), queue.IntakeOptions{Host: "anvil", Queues: []string{"builds"}, Slots: 1, AffinityWait: affinityWait})
	t.Cleanup(func() { _ = next.Close() })
	if err := next.Warm(t.Context(), []string{"api"}); err != nil { // its process was killed
		t.Fatal(err)
	}
	f.push("api")
	f.next() // anvil is busy
	for _, recipe := range []string{"web", "new"} {
		at := f.push(recipe)
		f.want(at, "boiler", false)
		f.release["boiler"] <- struct{}{}
	}
	at := f.push("api")
	f.want(at, "boiler", true)
}

func testWaitsForBusy(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler")
	f.warm("anvil", "web", "api")
	at := f.push("web")
	f.want(at, "anvil", false)
	at = f.push("api")
	f.want(at, "boiler", true)
	at = f.push("web")
	time.AfterFunc(affinityWait/3, func() { f.release["anvil"] <- struct{}{} })
	f.want(at, "anvil", false)
}

func testHeldIsNotWarm(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler")
	f.warm("anvil", "web")
	f.hosts["anvil"].Pause(true)
	at := f.push("web")
	f.want(at, "boiler", false)
	f.hosts["anvil"].Pause(false)
	at = f.push("web")
	f.want(at, "anvil", false)
	f.release["boiler"] <- struct{}{}
	f.hosts["anvil"].StopTaking()
	at = f.push("web")
	f.want(at, "boiler", false)
}

// While all is busy and much waits, a host that gets free takes what it is warm for, but
// nothing is passed over that came much earlier.
func testWarmFirst(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler")
	f.push("x")
	f.push("x")
	f.next()
	f.next()
	f.warm("anvil", "a")
	f.warm("boiler", "b")
	f.push("b", "a", "b", "a", "b", "b", "a", "a")
	<-time.After(2 * affinityWait) // now any may have all of them
	late := f.push("a")
	<-time.After(affinityWait + affinityWait/2)
	for range 4 {
		for _, host := range []string{"anvil", "boiler"} {
			f.release[host] <- struct{}{}
			if b := f.next(); b.host != host || b.job[:1] != map[string]string{"anvil": "a", "boiler": "b"}[host] {
				t.Errorf("%s took %s, for which the other host is warm", b.host, b.job)
			}
		}
	}
	f.release["boiler"] <- struct{}{}
	f.want(late, "boiler", true) // no host is idle although it may run something
}

// The host that waits for a build to be its own may get busy with another meanwhile; then
// another idle one has it in time.
func testWaitIsPassedOn(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler", "crane", "drill")
	f.warm("anvil", "web", "own")
	f.push("own")
	f.next() // anvil is busy
	at := f.push("web")
	for range 2 { // the first of these are taken by those that wait
		f.push("cold")
		f.next()
	}
	if b := f.next(); b.job[:3] != "web" || b.at.Sub(at) > affinityWait+5*time.Second {
		t.Errorf("%s began on %s after %s", b.job, b.host, b.at.Sub(at))
	}
}

// A ticket of a higher priority, which comes later, takes the host that waits away.
func testPassedOnByOtherWork(t *testing.T, dial func() redis.UniversalClient) {
	f := newWarmFarm(t, dial, "anvil", "boiler", "crane")
	f.warm("anvil", "web", "own")
	f.push("own")
	f.next() // anvil is busy
	at := f.push("web")
	<-time.After(affinityWait / 3) // one of the others knows of it
	f.pushAt(jobs.PriorityHigh, "cold")
	if b := f.next(); b.job[:4] != "cold" {
		t.Fatalf("%s began on %s; want the one of high priority", b.job, b.host)
	}
	if b := f.next(); b.job[:3] != "web" || b.at.Sub(at) > affinityWait+5*time.Second {
		t.Errorf("%s began on %s after %s", b.job, b.host, b.at.Sub(at))
	}
}

// An operator takes the host that waits out of the farm, or it ends. Which of the two has
// heard of the build is not known, so both do in turn.
func testPassedOnBy(host string, take func(jobs.Intake)) func(*testing.T, func() redis.UniversalClient) {
	return func(t *testing.T, dial func() redis.UniversalClient) {
		other := map[string]string{"boiler": "crane", "crane": "boiler"}[host]
		f := newWarmFarm(t, dial, "anvil", "boiler", "crane")
		f.warm("anvil", "web", "own")
		f.push("own")
		f.next() // anvil is busy
		at := f.push("web")
		<-time.After(affinityWait / 3)
		take(f.hosts[host])
		f.want(at, other, true)
	}
}
