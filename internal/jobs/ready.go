package jobs

import (
	"slices"
	"strings"
)

// Ready says when a service counts as up. Exactly one of HTTP, TCP and Health is set.
type Ready struct {
	// HTTP is a path that must answer with a status below 400.
	HTTP string `json:"http,omitempty"`
	// TCP asks only that the port accepts a connection.
	TCP bool `json:"tcp,omitempty"`
	// Health asks what the HEALTHCHECK of the image says.
	Health bool `json:"health,omitempty"`
	// Port of the container, one of the published ones; 0 with Health.
	Port    int      `json:"port,omitempty"`
	Timeout Duration `json:"timeout,omitempty"`
}

func (p *problems) ready(r Run) {
	if r.Ready == nil {
		return
	}
	if r.Keep == 0 {
		p.add("ready_without_keep", "/run/ready", "ready is for a service: say with keep how long it stays up")
	}
	given := 0
	for _, is := range []bool{r.Ready.HTTP != "", r.Ready.TCP, r.Ready.Health} {
		if is {
			given++
		}
	}
	if given != 1 {
		p.add("ready_invalid", "/run/ready", "give one of http (a path), tcp: true and health: true")
	}
	if r.Ready.HTTP != "" && (!strings.HasPrefix(r.Ready.HTTP, "/") || strings.ContainsAny(r.Ready.HTTP, "\r\n\x00 ")) {
		p.add("ready_invalid", "/run/ready/http", "found %q; want a path that starts with /", Clip(r.Ready.HTTP))
	}
	switch {
	case r.Ready.Health && r.Ready.Port != 0:
		p.add("ready_invalid", "/run/ready/port", "found %d; the image's HEALTHCHECK says what is asked", r.Ready.Port)
	case r.Ready.Health:
	case !slices.ContainsFunc(r.Ports, func(q Port) bool { return q.Container == r.Ready.Port && q.Proto() == "tcp" }):
		p.add("ready_invalid", "/run/ready/port", "found %d; want a tcp port of /run/ports", r.Ready.Port)
	}
	p.duration("timeout_invalid", "/run/ready/timeout", r.Ready.Timeout, MaxTimeout)
}
