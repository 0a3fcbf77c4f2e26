package journal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Phase is how far the container of an attempt has come.
type Phase string

// The phases, in their order.
const (
	None     Phase = ""         // none was asked for
	Named    Phase = "named"    // the engine may have been asked to create it
	Created  Phase = "created"  // it was there, and not told to start
	Started  Phase = "started"  // it was told to start
	Stopping Phase = "stopping" // it was told to end; its exit code is not its own
	Gone     Phase = "gone"     // it was removed
)

// Phases lists them in their order.
func Phases() []Phase { return []Phase{None, Named, Created, Started, Stopping, Gone} }

// CanBecome reports whether a container moves from one phase to another. It only goes
// on; what was never asked for is neither told to end nor removed.
func (p Phase) CanBecome(to Phase) bool {
	from, next := slices.Index(Phases(), p), slices.Index(Phases(), to)
	return from >= 0 && next > from && (p != None || to != Stopping && to != Gone)
}

// Container is the container of an attempt as one value. The worker writes it whole.
type Container struct {
	Phase Phase `json:"phase,omitempty"`
	// ID is the engine's; "" until it was learned, which may be never.
	ID string `json:"id,omitempty"`
	// Why is why it is Stopping.
	Why *Reason `json:"why,omitempty"`
}

// Reason is why a container was told to end: a drain, or else a failure.
type Reason struct {
	Drain   bool          `json:"drain,omitempty"`
	Failure *jobs.Failure `json:"failure,omitempty"`
}

// move returns the container in another phase. A move that [Phase.CanBecome] does not
// allow is a mistake of the caller.
func (c Container) move(to Phase) Container {
	if !c.Phase.CanBecome(to) {
		panic(fmt.Sprintf("a container that is %q becomes %q", c.Phase, to))
	}
	c.Phase = to
	return c
}

// Named is the container that the engine is about to be asked for.
func (c Container) Named() Container { return c.atLeast(Named) }

// Created is the container once the engine has it under an ID.
func (c Container) Created(id string) Container {
	c = c.atLeast(Created)
	c.ID = id
	return c
}

// Started is the container that is about to be told to start.
func (c Container) Started() Container { return c.atLeast(Started) }

// atLeast moves the container on, unless it is that far.
func (c Container) atLeast(p Phase) Container {
	if slices.Index(Phases(), c.Phase) >= slices.Index(Phases(), p) {
		return c
	}
	return c.move(p)
}

// Stopping is the container that is about to be told to end. The first reason counts.
// Without a container it changes nothing.
func (c Container) Stopping(why Reason) Container {
	if !c.Phase.CanBecome(Stopping) {
		return c
	}
	c = c.move(Stopping)
	c.Why = &why
	return c
}

// Gone is the container once it is removed.
func (c Container) Gone() Container {
	if !c.Phase.CanBecome(Gone) {
		return c
	}
	return c.move(Gone)
}

// Recorded joins what the journal knows with what the record says: either may have lost
// the last moment.
func (c Container) Recorded(r jobs.Container) Container {
	c.ID = cmp.Or(c.ID, r.ID)
	switch {
	case c.ID != "":
		return c.atLeast(Created)
	case r.Name != "":
		return c.Named()
	}
	return c
}
