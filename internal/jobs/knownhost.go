package jobs

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// KnownHost is a host as people and programs get it: with the order that Redis has for it, and
// whether it is up, so that the reader needs no clock.
type KnownHost struct {
	Host
	Up bool `json:"up"`
	// Away hosts are known by their orders only.
	Away bool `json:"away,omitempty"`
	// Behind hosts do not obey their order yet, or an earlier one still.
	Behind bool `json:"behind,omitempty"`
}

// KnownHosts lists the registered hosts and those that have an order, by Worker and Name, with
// Redis time.
func KnownHosts(ctx context.Context, hosts Hosts, orders Orders) ([]KnownHost, time.Time, error) {
	registered, now, err := hosts.Hosts(ctx)
	if err != nil {
		return nil, now, err
	}
	all, err := orders.AllOrders(ctx)
	if err != nil {
		return nil, now, err
	}
	list := make([]KnownHost, 0, len(registered))
	for _, h := range registered {
		d := KnownHost{Host: h, Up: h.Up(now)}
		var obeyed HostOrder
		if h.Order != nil {
			obeyed = *h.Order
		}
		o, ok := all[h.Name]
		if d.Order, d.Behind = nil, !o.Same(obeyed); ok {
			d.Order = &o
			delete(all, h.Name)
		}
		list = append(list, d)
	}
	for name, o := range all {
		list = append(list, KnownHost{Host: Host{Name: name, Worker: o.Worker, Order: &o}, Away: true})
	}
	slices.SortFunc(list, func(a, b KnownHost) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Name, b.Name))
	})
	return list, now, nil
}

// HostsCalled are those that a name stands for: the one with this identity, or all whose
// workers are called so.
func HostsCalled(name string, list []KnownHost) []KnownHost {
	var found []KnownHost
	for _, h := range list {
		switch name {
		case h.Name:
			return []KnownHost{h}
		case h.Worker:
			found = append(found, h)
		}
	}
	return found
}

// Called is the host's name for people.
func (h KnownHost) Called() string { return cmp.Or(h.Worker, h.Name) }

// Word is the host's state in a word.
func (h KnownHost) Word() string {
	switch {
	case h.Damaged != "":
		return "damaged"
	case h.Away:
		return "away"
	case !h.Up:
		return string(HostSilent)
	}
	return string(h.State)
}
