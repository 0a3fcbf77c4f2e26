package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// eventsTime bounds how long the daemon may take to list what it remembers.
const eventsTime = 5 * time.Second

// killed reports whether a client told the daemon to end the container. The exit code
// cannot tell: a program that handles SIGTERM chooses any, and one that another program
// of its container kills has the same as one that an operator stops. The daemon
// remembers its last 256 events and forgets them when it ends, so false may be wrong.
func (p *process) killed() bool {
	ctx, cancel := context.WithTimeout(p.life, eventsTime)
	defer cancel()
	now := time.Now() // from then on the daemon answers at once
	told, failed := p.e.cli.Events(ctx, events.ListOptions{
		Since: "0",
		Until: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
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
			case "1", "10", "12", "18", "19", "20":
				// HUP, USR1, USR2, CONT, STOP and TSTP do not ask a program to end. An
				// image may have chosen any other to be stopped with.
			default:
				return true
			}
		case <-failed: // also when that was all
			return false
		}
	}
}
