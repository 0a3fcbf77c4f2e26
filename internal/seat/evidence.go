package seat

import (
	"cmp"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// evidence is what speaks for and against a process that wants its directory's
// identity.
type evidence struct {
	last    incarnation
	made    bool // by this process, so no other can have the identity
	seat    jobs.Seat
	daemon  string // the ID of this host's engine, "" when it has not answered yet
	machine Machine
	lock    string // which file this process has locked
}

// verdict says whose an identity is.
type verdict int

const (
	ours   verdict = iota
	unsure         // ours, unless its holder answers a call
	others         // why says whose
)

func (e evidence) verdict() (v verdict, why string) {
	// Where the containers are: when Redis has lost the seat, the directory knows.
	home := cmp.Or(e.seat.Daemon, e.last.Daemon)
	free := e.seat.Nonce == ""
	switch {
	case e.besideOriginal():
		return others, fmt.Sprintf("this state directory was copied from that of process %d, which is at work", e.last.Pid)
	// A seat of an earlier turn is one that Redis went back to: it lost the last
	// changes, or is a backup.
	case !free && e.seat.Nonce != e.last.Nonce && e.seat.Turn >= e.last.Turn:
		return others, fmt.Sprintf("worker %s took this identity at %s, and it was not with this state directory, which is a copy or an old one",
			e.seat.Worker, e.seat.Taken.Format(time.RFC3339))
	case e.daemon != "" && home != "" && home != e.daemon:
		return others, fmt.Sprintf("the containers of this identity are on another Docker daemon (%s, and this is %s)", home, e.daemon)
	case e.made:
		return ours, ""
	case e.near() && (e.last.Lock == e.lock && e.lock != "" || e.last.Namespace == e.machine.Self.Namespace):
		return ours, "" // its process is dead: nothing else can have that lock, or the kernel says so
	case !e.seat.Left.IsZero() && e.seat.Nonce == e.last.Nonce:
		return ours, ""
	}
	// That includes a copy of a directory that had no seat yet, while Redis has lost that
	// the original took one since.
	return unsure, ""
}

// near reports whether the last process was of this start of this machine.
func (e evidence) near() bool {
	return e.last.Boot != "" && e.last.Boot == e.machine.Self.Boot
}

// besideOriginal reports whether the last process lives, with the directory that this
// one is a copy of.
func (e evidence) besideOriginal() bool {
	return e.near() && e.last.Namespace == e.machine.Self.Namespace && e.last.Process != e.machine.Self &&
		e.last.Lock != e.lock && e.machine.Lives(e.last.Process)
}
