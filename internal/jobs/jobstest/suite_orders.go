package jobstest

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestOrders holds a database to what is promised of the orders for hosts.
func TestOrders(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"order and resume", testOrder},
		{"an order outlives its host's registration", testOrderOutlives},
		{"orders of several hosts", testOrders},
		{"an order is hinted at", testOrderHint},
	})
}

func (f *farm) order(host string, o jobs.HostOrder) jobs.HostOrder {
	f.t.Helper()
	kept, err := f.Orders.Order(f.ctx, host, o)
	if err != nil {
		f.t.Fatalf("Order(%s): %v", host, err)
	}
	return kept
}

func (f *farm) orderOf(host string) jobs.HostOrder {
	f.t.Helper()
	o, err := f.Orders.OrderOf(f.ctx, host)
	if err != nil {
		f.t.Fatalf("OrderOf(%s): %v", host, err)
	}
	return o
}

func (f *farm) resume(host string, want bool) {
	f.t.Helper()
	if found, err := f.Orders.Resume(f.ctx, host); err != nil || found != want {
		f.t.Errorf("Resume(%s) = %t, %v; want %t", host, found, err, want)
	}
}

func testOrder(f *farm) {
	if o := f.orderOf(host); !o.Takes() {
		f.t.Errorf("a new host has the order %+v", o)
	}
	f.resume(host, false)
	atOnce := jobs.Duration(0)
	for _, o := range []jobs.HostOrder{
		{Kind: jobs.OrderCordon, By: "ann@desk", Reason: "a new <disk> \u00e4", Worker: "anvil"},
		{Kind: jobs.OrderDrain},
		{Kind: jobs.OrderDrain, By: "bob", Timeout: &atOnce, Since: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}, // no clock of the operator's counts
	} {
		kept := f.order(host, o)
		now, err := f.Claims.Now(f.ctx)
		if err != nil {
			f.t.Fatal(err)
		}
		f.near("since", kept.Since, now, 0)
		o.Since = kept.Since
		f.same("the order that is kept", kept, o)
		f.same("the order that is read", f.orderOf(host), o)
		if f.orderOf(host).Takes() {
			f.t.Errorf("a host with the order %s takes jobs", o.Kind)
		}
	}
	f.resume(host, true)
	f.resume(host, false)
	if o := f.orderOf(host); !o.Takes() {
		f.t.Errorf("a host that was resumed has the order %+v", o)
	}
}

func testOrderOutlives(f *farm) {
	f.beat(registered(host, "one"))
	given := f.order(host, jobs.HostOrder{Kind: jobs.OrderCordon})
	if err := f.Hosts.Leave(f.ctx, host); err != nil {
		f.t.Fatal(err)
	}
	f.wantHosts()
	if f.Advance != nil {
		f.Advance(2 * jobs.HostForgotten)
	}
	f.same("the order", f.orderOf(host), given)
}

func testOrders(f *farm) {
	all := func() map[string]jobs.HostOrder {
		f.t.Helper()
		list, err := f.Orders.AllOrders(f.ctx)
		if err != nil {
			f.t.Fatalf("AllOrders: %v", err)
		}
		return list
	}
	if list := all(); len(list) != 0 {
		f.t.Errorf("orders %+v; want none", list)
	}
	a := f.order("host-a", jobs.HostOrder{Kind: jobs.OrderCordon, Reason: "one"})
	b := f.order("host-b", jobs.HostOrder{Kind: jobs.OrderDrain, Reason: "two"})
	f.same("orders", all(), map[string]jobs.HostOrder{"host-a": a, "host-b": b})
	f.resume("host-a", true)
	f.same("orders", all(), map[string]jobs.HostOrder{"host-b": b})
}

// One hint may be lost, but not all of them; it is neither the ID of a job nor a call.
func testOrderHint(f *farm) {
	ctx, stop := context.WithCancel(f.ctx)
	defer stop()
	hints := f.Claims.Cancellations(ctx)
	heard := func(what string, do func()) {
		f.t.Helper()
		f.eventually("no hint that the host "+what, func() bool {
			do()
			select {
			case hint := <-hints:
				about, ok := jobs.HintedOrder(hint)
				return ok && about == host
			case <-time.After(time.Second):
				return false
			}
		})
	}
	heard("has an order", func() { f.order(host, jobs.HostOrder{Kind: jobs.OrderCordon}) })
	heard("is resumed", func() {
		if _, err := f.Orders.Resume(f.ctx, host); err != nil {
			f.t.Fatal(err)
		}
	})
	if about, ok := jobs.HintedOrder(host); ok {
		f.t.Errorf("a call of a host is a hint at an order of %s", about)
	}
}
