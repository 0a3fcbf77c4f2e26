package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Ports is about the ports of the build host that jobs publish theirs on.
type Ports struct {
	// Host are the ports that a job may ask for by number, over TCP and UDP, whatever
	// address they are bound to; none opens none. Those that the farm itself listens
	// on are open only where they are named alone, not by a range. A job that leaves
	// the choice to the engine always gets a port.
	Host []PortRange `yaml:"host"`
}

// PortRange is 8080, or 8000-8999 with both ends.
type PortRange struct{ First, Last int }

// maxPort is the largest port there is.
const maxPort = 1<<16 - 1

func (r PortRange) String() string {
	if r.alone() {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (r PortRange) alone() bool { return r.First == r.Last }

// UnmarshalYAML implements the interface of the YAML library.
func (r *PortRange) UnmarshalYAML(n ast.Node) error {
	text := scalar(n)
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || to < from || len(text) > 1 && text[0] == '0' {
		return at(n, fmt.Errorf("%q is not a port such as 8080 or a range such as 8000-8999, from 1 to %d", text, maxPort))
	}
	*r = PortRange{int(from), int(to)}
	return nil
}

// MarshalYAML implements the interface of the YAML library.
func (r PortRange) MarshalYAML() ([]byte, error) { return []byte(r.String()), nil }

// Check refuses a run that asks for a port of the build host which jobs may not
// have. own are the TCP ports that the farm itself listens on there: a job that got
// one of them while its owner is away would be taken for it.
//
// The address that ports are bound to does not matter. What is open on loopback
// only today is open to others after the next change of --port-address, and the
// farm's own services mean the same port on any address of the host.
func (p Ports) Check(r jobs.Run, own []int) error {
	for _, port := range r.Ports {
		if port.Host == 0 || p.opens(port, own) {
			continue
		}
		f := jobs.Fail(jobs.KindPortNotAllowed, nil, p.hint(), "run.ports asks for the host port %d/%s, which is not open to jobs on this build host", port.Host, port.Proto())
		f.Stage = jobs.StageRun
		return f
	}
	return nil
}

func (p Ports) opens(port jobs.Port, own []int) bool {
	farms := port.Proto() == "tcp" && slices.Contains(own, port.Host)
	return slices.ContainsFunc(p.Host, func(r PortRange) bool {
		return r.First <= port.Host && port.Host <= r.Last && (r.alone() || !farms)
	})
}

// hint says what to do about a port that is not open.
func (p Ports) hint() string {
	const free, operator = "leave the host port out to get a free one", "; the operator opens a port by naming it under ports.host in the policy"
	if len(p.Host) == 0 {
		return free + operator
	}
	open := make([]string, len(p.Host))
	for i, r := range p.Host {
		open[i] = r.String()
	}
	return free + ", or use another of " + strings.Join(open, ", ") + operator
}
