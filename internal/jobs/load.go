package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Load is what waits in a farm and why, and what its hosts have for it: what an operator
// watches, and what starts and ends hosts goes by. Each place that shows it takes it from here.
type Load struct {
	// Now is Redis time.
	Now time.Time `json:"now"`
	// Queues has the parts of the queues in which jobs wait, each with what keeps them.
	Queues []QueueLoad `json:"queues"`
	// Hosts has how many hosts are in each state, in which HostSilent is one.
	Hosts map[HostState]int `json:"hosts"`
	Slots Slots             `json:"slots"`
	// Served are the queues that hosts serve.
	Served []string `json:"served"`
}

// Known are the queues that hosts serve, in which jobs wait, and to which jobs go by default:
// those that may be paused.
func (l Load) Known() []string {
	queues := append([]string{DefaultQueue}, l.Served...)
	for _, q := range l.Queues {
		queues = append(queues, q.Queue)
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// QueueLoad is what waits in a part of a queue.
type QueueLoad struct {
	Depth
	// OldestSeconds is the age of what waits there longest, nil when it was not looked for.
	OldestSeconds *float64 `json:"oldest_seconds,omitempty"`
	// Hosts is how many hosts may take it, Blocker what keeps it.
	Hosts   int     `json:"hosts"`
	Blocker Blocker `json:"blocker"`
}

// Slots are those of a whole farm. Of a host that takes no jobs, and of one that is silent,
// those that are not busy are unusable; what runs on a silent one is not known.
type Slots struct {
	Busy     int `json:"busy"`
	Idle     int `json:"idle"`
	Unusable int `json:"unusable"`
}

// HostSilent is the state of a host that was not heard of lately, or cannot be read. It is
// not one that hosts tell of themselves.
const HostSilent HostState = "silent"

// HostStates lists the states that a host of a Load can have.
func HostStates() []HostState {
	return []HostState{HostReady, HostUnfit, HostDraining, HostCordoned, HostDrained, HostSilent}
}

// judged bounds for how many parts of queues it is found out what keeps them.
const judged = 1000

// Load tells what waits in these queues, or in all when there are none, and what keeps it.
// cost is about how many commands that took: it grows with the number of queues, and not
// with the number of jobs.
func (s *Service) Load(ctx context.Context, hosts Hosts, queues ...string) (l Load, cost int, err error) {
	var sit Situation
	if sit.Hosts, sit.Now, err = hosts.Hosts(ctx); err != nil {
		return l, cost, fmt.Errorf("ask what the farm's hosts do: %w", err)
	}
	if len(queues) == 0 {
		if queues, err = s.queue.Queues(ctx); err != nil {
			return l, cost, err
		}
	}
	depths, err := s.queue.Depths(ctx, queues...)
	if err != nil {
		return l, cost, err
	}
	cost = 3 + len(queues)
	var busy []string // queues in which jobs wait
	for _, d := range depths {
		if !slices.Contains(busy, d.Queue) {
			busy = append(busy, d.Queue)
			cost += 1 + 1 + len(Priorities()) // its routes and its pauses
		}
		if !d.Oldest.IsZero() {
			cost++
		}
	}
	if sit.Pauses, err = s.queue.Paused(ctx, busy...); err != nil {
		return l, cost, err
	}
	return sit.Load(depths), cost, nil
}

// Load tells what keeps what waits, and what the hosts have for it.
func (s Situation) Load(depths []Depth) Load {
	l := Load{Now: s.Now, Queues: make([]QueueLoad, len(depths)), Hosts: map[HostState]int{}, Served: []string{}}
	for i, d := range depths {
		l.Queues[i] = QueueLoad{Depth: d}
		if !d.Oldest.IsZero() {
			age := max(0, s.Now.Sub(d.Oldest).Seconds())
			l.Queues[i].OldestSeconds = &age
		}
	}
	most := make([]*QueueLoad, len(l.Queues))
	for i := range l.Queues {
		most[i] = &l.Queues[i]
	}
	slices.SortStableFunc(most, func(a, b *QueueLoad) int { return cmp.Compare(b.Waiting, a.Waiting) })
	for _, q := range most[:min(len(most), judged)] {
		q.Blocker, q.Hosts = s.Waiting(q.Depth)
	}
	for _, h := range s.Hosts {
		state := h.State
		if h.Damaged != "" || !h.Up(s.Now) {
			state = HostSilent
		}
		l.Hosts[state]++
		busy := 0
		if state != HostSilent {
			busy = min(h.Running, h.Slots)
			l.Served = append(l.Served, h.Queues...)
		}
		l.Slots.Busy += busy
		if state == HostReady {
			l.Slots.Idle += h.Slots - busy
		} else {
			l.Slots.Unusable += h.Slots - busy
		}
	}
	slices.Sort(l.Served)
	l.Served = slices.Compact(l.Served)
	return l
}
