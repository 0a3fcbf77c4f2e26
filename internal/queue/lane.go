package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// lane is one asynq queue: the tickets of a queue of the farm that have the same
// priority and the same route, take turns under the same name, and build the same recipe.
// The one that has none of the last three is the queue's inbox: what plain producers push
// is there, too, and tickets whose time has not come.
type lane struct {
	queue    string
	priority jobs.Priority
	route    string // a routeID
	turn     string
	recipe   string
}

// laneOf is where a ticket waits for a worker.
func laneOf(t jobs.Ticket) lane {
	return inbox(t.Queue, t.Priority).with(routeID(t.Route), line(t.Turn, t.Recipe))
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

// with is the lane of a route and a line beside an inbox.
func (l lane) with(route, line string) lane {
	l.route = route
	l.turn, l.recipe, _ = strings.Cut(line, "~")
	return l
}

// line is what tells the lanes of a route apart: a turn, or a turn and a recipe.
//
//	acme   acme~web
func (l lane) line() string { return line(l.turn, l.recipe) }

func line(turn, recipe string) string {
	if recipe == "" {
		return turn
	}
	return turn + "~" + recipe
}

// inbox is the inbox beside a lane.
func (l lane) inbox() lane { return inbox(l.queue, l.priority) }

// String is asynq's name of the lane:
//
//	builds   builds:high   builds~web   builds:low~acme~web@5d41402abc
func (l lane) String() string {
	name := l.queue
	if l.priority != jobs.PriorityNormal {
		name += ":" + string(l.priority)
	}
	if line := l.line(); line != "" {
		name += "~" + line
	}
	if l.route != "" {
		name += "@" + l.route
	}
	return name
}

// parseLane undoes lane.String.
func parseLane(name string) lane {
	rest, route, _ := strings.Cut(name, "@")
	rest, line, _ := strings.Cut(rest, "~")
	queue, priority, _ := strings.Cut(rest, ":")
	return inbox(queue, jobs.Priority(priority)).with(route, line)
}

// routeID is a short name for a route, "" for the one of jobs that need nothing.
func routeID(r jobs.Route) string {
	if r == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(r))
	return hex.EncodeToString(sum[:5])
}
