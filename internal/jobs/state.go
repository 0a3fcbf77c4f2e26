package jobs

import "slices"

// State is where a job is in its life.
type State string

// The states. docs/states.md draws the same table; a test compares the two.
const (
	Queued    State = "queued"    // waits for a worker
	Running   State = "running"   // a worker owns it, see Stage
	Waiting   State = "waiting"   // waits before another attempt
	Succeeded State = "succeeded" // everything asked for was done
	Failed    State = "failed"    // it ended, and not well; Failure says why
	Cancelled State = "cancelled" // a user or a program asked for it to end
	Refused   State = "refused"   // it could not be taken as it was written
	Expired   State = "expired"   // no worker took it in time
)

// Stage is the step a running job is in, or in which it ended.
type Stage string

// The stages in the order in which a job passes them.
const (
	StageQueue   Stage = "queue"
	StageFetch   Stage = "fetch"
	StageBuild   Stage = "build"
	StagePush    Stage = "push"
	StageRun     Stage = "run"
	StageCollect Stage = "collect"
)

// Transition is one allowed move between states.
type Transition struct {
	From, To State
	// By says who makes the move and when.
	By string
}

// Transitions is the one table of allowed moves.
func Transitions() []Transition {
	return []Transition{
		{Queued, Running, "a worker claims it"},
		{Queued, Cancelled, "cancel before a worker has it"},
		{Queued, Expired, "its queue timeout or its producer's deadline passed"},
		{Queued, Refused, "its document cannot be taken"},
		{Queued, Failed, "its record cannot be read"},
		{Running, Succeeded, "the worker reports success"},
		{Running, Failed, "the worker reports a failure and no retry is left"},
		{Running, Cancelled, "the worker stopped it on request"},
		{Running, Refused, "its context or document turned out unacceptable"},
		{Running, Waiting, "a retry after a pause"},
		{Running, Queued, "handed back, or its worker was lost"},
		{Waiting, Running, "a worker claims the next attempt"},
		{Waiting, Cancelled, "cancel between attempts"},
		{Waiting, Failed, "its record cannot be read"},
		{Waiting, Expired, "its queue timeout passed"},
	}
}

// States lists every state, those of a living job first.
func States() []State {
	return []State{Queued, Running, Waiting, Succeeded, Failed, Cancelled, Refused, Expired}
}

// Terminal reports whether the job has ended for good.
func (s State) Terminal() bool {
	return slices.Contains([]State{Succeeded, Failed, Cancelled, Refused, Expired}, s)
}

// Waits reports whether the job waits for a worker: one may claim it, now or after a pause.
func (s State) Waits() bool { return s.CanBecome(Running) }

// Before lists the states that may become this one, by the same table.
func (s State) Before() (from []State) {
	for _, t := range Transitions() {
		if t.To == s {
			from = append(from, t.From)
		}
	}
	return from
}

// CanBecome reports whether the table allows the move.
func (s State) CanBecome(to State) bool {
	return slices.ContainsFunc(Transitions(), func(t Transition) bool { return t.From == s && t.To == to })
}
