package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// lane is one asynq queue: the tickets of a queue of the farm that have the same
// priority, the same route, and take turns under the same name. The one without route
// and turn is the queue's inbox: what plain producers push is there, too, and tickets
// whose time has not come.
type lane struct {
	queue    string
	priority jobs.Priority
	route    string // a routeID
	turn     string
}

// laneOf is where a ticket waits for a worker.
func laneOf(t jobs.Ticket) lane {
	return inbox(t.Queue, t.Priority).with(routeID(t.Route), t.Turn)
}

// inbox is the lane of a queue that plain producers push to.
func inbox(queue string, p jobs.Priority) lane {
	if p == "" {
		p = jobs.PriorityNormal
	}
	return lane{queue: queue, priority: p}
}

// inboxes are those of queues, from the highest priority of the first down.
func inboxes(queues ...string) (all []lane) {
	for _, queue := range queues {
		for _, p := range jobs.Priorities() {
			all = append(all, inbox(queue, p))
		}
	}
	return all
}

func (l lane) with(route, turn string) lane {
	l.route, l.turn = route, turn
	return l
}

// inbox is the inbox beside a lane.
func (l lane) inbox() lane { return inbox(l.queue, l.priority) }

// String is asynq's name of the lane:
//
//	builds   builds:high   builds~web   builds:low~web@5d41402abc
func (l lane) String() string {
	name := l.queue
	if l.priority != jobs.PriorityNormal {
		name += ":" + string(l.priority)
	}
	if l.turn != "" {
		name += "~" + l.turn
	}
	if l.route != "" {
		name += "@" + l.route
	}
	return name
}

// parseLane undoes lane.String.
func parseLane(name string) lane {
	rest, route, _ := strings.Cut(name, "@")
	rest, turn, _ := strings.Cut(rest, "~")
	queue, priority, _ := strings.Cut(rest, ":")
	return inbox(queue, jobs.Priority(priority)).with(route, turn)
}

// routeID is a short name for a route, "" for the one of jobs that need nothing.
func routeID(r jobs.Route) string {
	if r == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(r))
	return hex.EncodeToString(sum[:5])
}
