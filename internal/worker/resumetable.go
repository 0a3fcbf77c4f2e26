package worker

import (
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/journal"
)

// seen is what the engine shows of an attempt's container.
type seen int

const (
	absent   seen = iota // there is none
	prepared             // it never ran
	alive                // it runs
	over                 // it has ended
)

func seenAs(s engine.State) seen {
	switch {
	case s.ID == "":
		return absent
	case s.Status == engine.StatusCreated:
		return prepared
	case s.Status == engine.StatusRunning:
		return alive
	}
	return over
}

// next is what a restarted worker does with an attempt.
type next int

const (
	beginAnew     next = iota // the attempt is lost: another one begins
	start                     // make the container, or take it, and start it
	follow                    // follow it to its end
	callLost                  // it is gone, and so is how it ended
	endAsDecided              // end for the reason why it was told to
	stopAgain                 // tell it to end once more, then read its last words
	readLastWords             // read its last words, then end for that reason
)

// resume is the one table of what a restarted worker does, by how far the container had
// come as journal and record say, and by what the engine shows of it now.
//
// Rows are what this host noted, columns what is there. The two differ after a crash
// between a note and its call, or when the disk or Redis lost its last second. So the
// engine is believed for what is there, and the notes for why:
//
//   - A container that was told to end is never followed as if it had ended by itself:
//     its exit code means nothing. If it is alive, the stop was lost and is sent again.
//   - One that was created and is absent may have run, since the note that it was told
//     to start can be lost with the disk; starting another could run the job twice.
//   - One that was only named and is absent was never made, so making it is safe.
func resume(p journal.Phase, s seen) next {
	return map[journal.Phase][4]next{
		//                 absent        prepared      alive      over
		journal.None:     {beginAnew, beginAnew, beginAnew, beginAnew},
		journal.Named:    {start, start, follow, follow},
		journal.Created:  {callLost, start, follow, follow},
		journal.Started:  {callLost, start, follow, follow},
		journal.Stopping: {endAsDecided, endAsDecided, stopAgain, readLastWords},
		journal.Gone:     {callLost, callLost, callLost, callLost},
	}[p][s]
}
