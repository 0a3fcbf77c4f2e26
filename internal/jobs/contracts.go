package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that adapters return, wrapped; callers use errors.Is.
var (
	// ErrInvalid: the document is not acceptable; see [Invalid].
	ErrInvalid = errors.New("invalid job document")
	// ErrNotFound: there is no such job.
	ErrNotFound = errors.New("no such job")
	// ErrConflict: the idempotency key stands for another document.
	ErrConflict = errors.New("idempotency conflict")
	// ErrNotClaimable: the job is not waiting for a worker (any more), or the
	// ticket is of an earlier attempt. The ticket is spent.
	ErrNotClaimable = errors.New("not claimable")
	// ErrTooEarly: the pause before the next attempt is not over; it is an
	// ErrNotClaimable, too.
	ErrTooEarly = fmt.Errorf("%w yet", ErrNotClaimable)
	// ErrGroupFull: the job waits for a place in its concurrency group, and gets another
	// ticket then; it is an ErrNotClaimable, too.
	ErrGroupFull = fmt.Errorf("%w: its concurrency group is full", ErrNotClaimable)
	// ErrNewer: the record is of a version that this build does not know, and is
	// left for those that do.
	ErrNewer = errors.New("the record of the job is of a newer version")
	// ErrNotEligible: the job needs something that this host does not have.
	ErrNotEligible = errors.New("the host does not have what the job needs")
	// ErrStale: the caller does not own the job (any more).
	ErrStale = errors.New("not the owner of the job")
	// ErrFinished: the job has ended, so there is nothing to cancel.
	ErrFinished = errors.New("the job has ended")
	// ErrFull: the farm takes no more jobs until some have ended.
	ErrFull = errors.New("the farm is full")
	// ErrUnreachable: the farm's Redis cannot be reached.
	ErrUnreachable = errors.New("cannot reach the farm's Redis")
)

// Records is what producers need of the records in Redis. All methods are safe for
// concurrent use.
type Records interface {
	// Create makes the record of a job in state Queued, attempt 1, ticket 1. One that
	// has a result already gets the state of that, and no idempotency key; one whose
	// StartBy has passed becomes Expired. It reports for each job whether it was made;
	// false means that a record with this ID was there already, which is not an error.
	Create(ctx context.Context, jobs []Job) ([]bool, error)
	// Get returns the job with its result, or ErrNotFound.
	Get(ctx context.Context, id string) (Job, error)
	// GetAll returns those of many jobs that are there, in the order of the IDs, in few
	// round trips.
	GetAll(ctx context.Context, ids []string) ([]Job, error)
	// List returns jobs newest first, ErrInvalid for a page token that is none.
	List(ctx context.Context, q Query) (Page, error)
	// Cancel ends a queued or waiting job at once and asks the worker of a
	// running one to end it; it asks a kept service to end early, too. It
	// returns the job as it then is, with ErrFinished when there is nothing to
	// end (any more).
	Cancel(ctx context.Context, id, by string) (Job, error)
	// Group returns what there is of a concurrency group.
	Group(ctx context.Context, name string) (Group, error)
	// Expire ends a job that has waited for a worker longer than it may, by Redis time, and
	// reports whether it did.
	Expire(ctx context.Context, id string) (bool, error)
	// Reserve binds a key, see [Spec.ReservedKey], to (id, digest of the document)
	// unless it is bound already, and returns what it is bound to.
	Reserve(ctx context.Context, key, id, digest string) (boundID, boundDigest string, err error)
	// Follow returns what is new after the cursor, waiting up to wait for the
	// first news. A zero Cursor starts at the beginning. It returns at once
	// when there is news.
	Follow(ctx context.Context, id string, after Cursor, wait time.Duration) (News, error)
}

// Changes tells of jobs that change.
type Changes interface {
	// Changes delivers IDs of jobs that were made, or are in another state now, until ctx ends.
	// It is a hint: a change may be missed, and told before it can be read.
	Changes(ctx context.Context) <-chan string
}

// Cursor is a place in a job's events and in its live log.
type Cursor struct{ Event, Log string }

// News is what happened after a cursor.
type News struct {
	Events []Event
	// Log is new log. A chunk that starts behind what the reader has seen is a
	// repeat; one that starts beyond it means that a part is gone from the live
	// tail: it is in the stored log once the job has ended.
	Log  []LogChunk
	Next Cursor
}

// LogChunk is a run of whole frames.
type LogChunk struct {
	Attempt int
	// Offset of the first byte in the attempt's framed log.
	Offset int64
	Data   []byte
}

// Claims is what the owner of a job needs of them. Every method but Claim
// and Adopt is refused with ErrStale unless nonce is the owner's.
type Claims interface {
	// Claim makes the caller the owner of a queued or waiting job, or returns
	// ErrNotClaimable, ErrNotEligible, ErrNewer or ErrNotFound. A ticket of another
	// attempt is not claimable; attempt 0 stands for the current one. Claiming
	// again with the same nonce returns the same job.
	Claim(ctx context.Context, t Ticket, o Owner) (Job, error)
	// Adopt takes over a running job that an earlier incarnation of the same
	// host owned, keeping the attempt.
	Adopt(ctx context.Context, id string, o Owner) (Job, error)
	// Renew prolongs the lease and reports whether the job is to end.
	Renew(ctx context.Context, id, nonce string, lease time.Duration) (Signal, error)
	// Note records progress of the attempt.
	Note(ctx context.Context, id, nonce string, p Progress) error
	// Finish accepts the result: the state becomes r.State. Accepted results
	// are final. Reporting the same result twice is not an error. A result
	// that is not the owner's is set aside and ErrStale returned.
	Finish(ctx context.Context, id, nonce string, r Result) error
	// Release gives the job up for another attempt and returns its ticket.
	Release(ctx context.Context, id, nonce string, r Release) (Ticket, error)
	// Next returns tickets of jobs that waited for a place in a group, as many as there are
	// places, in their order.
	Next(ctx context.Context, c Concurrency) ([]Ticket, error)
	// Reissue makes a new ticket for the current attempt of a queued or waiting
	// job, or returns ErrNotClaimable. It needs no nonce.
	Reissue(ctx context.Context, id string, delay time.Duration) (Ticket, error)
	// AppendLog adds whole frames to the live tail. It is refused with ErrStale
	// like the others, but that a kept service goes on under the nonce that its
	// result was accepted under.
	AppendLog(ctx context.Context, id, nonce string, c LogChunk) error
	// Now is Redis time, which all times in records come from.
	Now(ctx context.Context) (time.Time, error)
	// Owned lists the jobs that by their records run on the host.
	Owned(ctx context.Context, host string) ([]Job, error)
	// Kept lists the jobs that keep a service on the host, with the nonces that
	// they do so under. known are jobs of which the host knows: Redis looks at
	// their records, too, for it may have lost what lists them.
	Kept(ctx context.Context, host string, known ...string) ([]Job, error)
	// EndService records what became of a kept service; nonce is the one that its
	// result was accepted under. The first report counts, and repeating it is not
	// an error. ErrStale when the job keeps no service under the nonce.
	EndService(ctx context.Context, id, nonce string, e ServiceEnd) error
	// Cancellations delivers IDs of jobs that users cancelled, as a hint:
	// some may be lost, Renew tells for certain. It delivers names of hosts, too,
	// whose holders are called, see [Seats], and hints at orders, see [Orders]. The
	// channel closes with ctx.
	Cancellations(ctx context.Context) <-chan string
}

// Owner is who claims a job.
type Owner struct {
	// Worker is for people, Host is the identity in the state directory.
	Worker, Host string
	// Nonce is 128 random bits in hex, new for every claim.
	Nonce string
	Lease time.Duration
	// Offer is what the host has that jobs may need.
	Offer Offer
}

// Signal is the answer to a renewed lease.
type Signal struct {
	CancelBy string
	Now      time.Time
}

// Progress is what an owner records; zero fields stay as they are.
type Progress struct {
	Stage     Stage
	Container Container
	// Partial is what is known so far, for the worker that may have to adopt
	// the attempt.
	Partial *Result
	// RunTimeout, when not zero, sets the container's deadline this far from
	// Redis time.
	RunTimeout time.Duration
}

// Release is how an owner gives a job up.
type Release struct {
	// Reason is for the job's events.
	Reason string
	// Spend tells what the new attempt costs.
	Spend Spend
	// Delay before the next attempt; more than zero makes the job Waiting.
	Delay time.Duration
	// Past is what the record keeps of the attempt; its times are for Redis to
	// set. nil keeps nothing.
	Past *PastAttempt
}

// Spend is the account a new attempt is booked on.
type Spend int

// The accounts.
const (
	SpendNothing Spend = iota // handed back in order: a drain
	SpendRetry                // the job's own retry
	SpendLoss                 // an infrastructure loss
)

// Hosts is the registry of the farm's build hosts.
type Hosts interface {
	// Beat records what a host says of itself. Seen is Redis time of
	// the beat.
	Beat(ctx context.Context, h Host) error
	// Leave forgets a host that ends in order. It is no error when there is none.
	Leave(ctx context.Context, name string) error
	// Hosts lists all hosts by Worker and Name, with Redis time to compare
	// Seen with. Those that were silent for [HostForgotten] are left out. One that
	// cannot be read has Damaged, and does not keep the caller from reading the others.
	Hosts(ctx context.Context) (list []Host, now time.Time, err error)
}

// Handler looks at the job of a delivered task. nil means that the task is
// spent; any other error brings it back later. ctx ends when the queue gives
// the task up, which says nothing about the job.
type Handler func(ctx context.Context, d Delivery) error

// Intake is where a worker's tickets come from.
type Intake interface {
	// Start begins to take tickets and returns. It takes those that fit now; fits must be
	// quick, and is asked again for each ticket, until Close returns. A ticket that has
	// waited for long and fits later is not passed over for ever: one host takes no others
	// until it fits.
	Start(h Handler, fits func(Needs) Fit) error
	// Pause takes no tickets while it is on; those in hand go on.
	Pause(on bool)
	// Recheck tells that fits may have another answer now.
	Recheck()
	// Warm tells of which recipes this host has images or caches, the last used first, and
	// that it has none of others. Tickets for these are left to it for a moment. It has to
	// be told again every while, and forgets all with StopTaking.
	Warm(ctx context.Context, recipes []string) error
	// StopTaking takes no more tickets; those in hand go on. It may be called
	// again.
	StopTaking()
	// Close frees everything; call it once the jobs are done with. It waits for calls of
	// fits, so the caller holds nothing that fits needs.
	Close() error
}

// Queue delivers tickets to workers, at least once.
type Queue interface {
	// Push enqueues tickets and wakes idle workers. Enqueuing the same ticket
	// twice delivers it once. The error names the first ticket that failed.
	Push(ctx context.Context, tickets ...Ticket) error
	// Paused returns the pauses of these queues, in the order of the queues and from
	// the highest priority down, also those that an operator made with asynq's tools.
	Paused(ctx context.Context, queues ...string) ([]Pause, error)
	// PausedLanes returns the pauses of the places in which these tickets wait, by the IDs of
	// their jobs: asynq's tools can pause such a place alone.
	PausedLanes(ctx context.Context, tickets ...Ticket) (map[string]Pause, error)
	// SetPause pauses a part of a queue; Redis sets Since. The part may be paused already:
	// then the new words count.
	SetPause(ctx context.Context, p Pause) error
	// EndPause ends the pauses of a part of a queue, asynq's tools' too. false means that
	// there was none.
	EndPause(ctx context.Context, queue string, p Priority) (bool, error)
	// Weights returns the weights of names in these queues that are not 1, in the order of
	// the queues and of the names.
	Weights(ctx context.Context, queues ...string) ([]Weight, error)
	// SetWeight gives a name a weight of 1 to MaxWeight, from its next turn on.
	SetWeight(ctx context.Context, w Weight) error
	// Ahead is how many tickets are before this one where it waits; false means that it
	// waits in no such place.
	Ahead(ctx context.Context, t Ticket) (int, bool, error)
	// Queues lists the queues that have tickets, and maybe others.
	Queues(ctx context.Context) ([]string, error)
	// Depths tells how much waits in these queues: an entry for each queue, priority and
	// route that has tickets, in the order of the queues and from the highest priority down.
	// What that costs does not grow with the number of tickets.
	Depths(ctx context.Context, queues ...string) ([]Depth, error)
}

// Depth is how much waits in a part of a queue for the same kind of host.
type Depth struct {
	Queue    string   `json:"queue"`
	Priority Priority `json:"priority"`
	Route    Route    `json:"route,omitempty"`
	Waiting  int      `json:"waiting"`
	// Oldest is since when the oldest ticket waits there, on Redis time; it is looked for
	// only where most wait, and zero elsewhere.
	Oldest time.Time `json:"oldest,omitzero"`
}
