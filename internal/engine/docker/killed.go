package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/slipway-farm/slipway/internal/engine"
)

// eventsTime bounds how long the daemon may take to list what it remembers.
const eventsTime = 5 * time.Second

// stopTime is how long before its end a container was told to end, at the most, if it did
// because of that. A program may ignore a signal and go on for hours.
const stopTime = 10 * time.Minute

// killed reports whether a client told the daemon to end a container that has ended. The
// exit code cannot tell: a program that handles SIGTERM chooses any, and one that another
// program of its container kills has the same as one that an operator stops. The daemon
// remembers its last 256 events and forgets them when it ends, so false may be wrong.
func (p *process) killed(s engine.State) bool {
	ctx, cancel := context.WithTimeout(p.life, eventsTime)
	defer cancel()
	// The daemon waits for a time that has not come. This host's clock is a local daemon's.
	until := time.Now()
	if !p.e.local() {
		until = s.Finished.Add(time.Second)
	}
	told, failed := p.e.cli.Events(ctx, events.ListOptions{
		Since: eventTime(s.Finished.Add(-stopTime)),
		Until: eventTime(until),
		Filters: filters.NewArgs(
			filters.Arg("type", string(events.ContainerEventType)),
			filters.Arg("container", p.id),
			filters.Arg("event", string(events.ActionKill)),
		),
	})
	for {
		select {
		case e := <-told:
			switch e.Actor.Attributes["signal"] {
			case "1", "10", "12", "18", "19", "20", "23", "28":
				// HUP, USR1, USR2, CONT, STOP, TSTP, URG and WINCH do not ask a program to
				// end. An image may have chosen any other to be stopped with.
			default:
				return true
			}
		case <-failed: // also when that was all
			return false
		}
	}
}

// eventTime is a time as the daemon takes it.
func eventTime(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
