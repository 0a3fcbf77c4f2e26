package jobs

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// OrderKind is what an operator wants of a host.
type OrderKind string

// The kinds. Each keeps the host from taking jobs, and leaves its kept services alone.
// One that this build does not know counts as a cordon.
const (
	OrderCordon OrderKind = "cordon" // what runs goes on
	OrderDrain  OrderKind = "drain"  // what runs may end, and is handed back after Timeout
)

// MaxReason bounds the reason of an order in bytes: each listing has it on one line.
const MaxReason = 500

// HostOrder is what an operator wants of a host, until another order takes its place or
// the host is resumed. It outlives the worker, and Redis.
type HostOrder struct {
	Kind OrderKind `json:"kind"`
	// By is who gave the order, Reason why, "" when that was not said.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Since is when it was given, on Redis time.
	Since time.Time `json:"since,omitzero"`
	// Timeout is how long after Since a drain lets jobs go on, nil for as long as they
	// take.
	Timeout *Duration `json:"timeout,omitempty"`
	// Worker is the host's name for people, as the operator knew it then.
	Worker string `json:"worker,omitempty"`
}

// Takes reports whether the host may take jobs: there is no order.
func (o HostOrder) Takes() bool { return o.Kind == "" }

// HandsBack is when what still runs is handed back, on Redis time; false for never.
func (o HostOrder) HandsBack() (time.Time, bool) {
	if o.Kind != OrderDrain || o.Timeout == nil {
		return time.Time{}, false
	}
	return o.Since.Add(o.Timeout.D()), true
}

// Why is the reason of the order for people.
func (o HostOrder) Why() string {
	if o.Reason == "" {
		return "no reason given"
	}
	return o.Reason
}

// String says what was ordered, who did, and why.
func (o HostOrder) String() string {
	by := ""
	if o.By != "" {
		by = " by " + o.By
	}
	return fmt.Sprintf("%s%s: %s", o.Kind, by, o.Why())
}

// Same reports whether two orders are one and the same.
func (o HostOrder) Same(other HostOrder) bool {
	return o.Kind == other.Kind && o.By == other.By && o.Reason == other.Reason && o.Since.Equal(other.Since)
}

// Orders is what operators want of hosts, whether or not a worker of these is there. All
// methods are safe for concurrent use.
type Orders interface {
	// Order keeps an order for a host, in the place of one before, and returns it with
	// Since, which Redis sets. The host's worker hears of it through
	// [Claims.Cancellations] as an [OrderHint], which can be lost.
	Order(ctx context.Context, host string, o HostOrder) (HostOrder, error)
	// Resume ends the order for a host, and hints at that, too. false means that there
	// was none.
	Resume(ctx context.Context, host string) (bool, error)
	// OrderOf returns the order for a host, the zero one when there is none. One that
	// cannot be read is a cordon, with the reason.
	OrderOf(ctx context.Context, host string) (HostOrder, error)
	// AllOrders returns all orders by the names of their hosts.
	AllOrders(ctx context.Context) (map[string]HostOrder, error)
}

// orderHint tells a hint at an order from the ID of a job and from a call of a host.
const orderHint = "order:"

// OrderHint is the hint that a host has another order now.
func OrderHint(host string) string { return orderHint + host }

// HintedOrder is the host whose order a hint is about; false for another hint.
func HintedOrder(hint string) (host string, ok bool) { return strings.CutPrefix(hint, orderHint) }
