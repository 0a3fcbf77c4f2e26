package jobs

import "context"

// CallsReader is the reader that makes calls of webhooks.
const CallsReader = "webhooks"

// Endings is the stream of jobs that have ended, wherever that was: at a worker, in
// the queue, by the reconciler, or before they began. Each reader has a cursor of its
// own, by its name, and gets every entry at least once. The stream is bounded: what
// falls off before a reader came is counted for it.
type Endings interface {
	// Unread returns those of these readers that may have something to read; CallsReader
	// also when calls have not ended. It is one question for all of them.
	Unread(ctx context.Context, readers ...string) ([]string, error)
	// Ended lists up to limit jobs that ended after those that the reader has
	// acknowledged, the oldest end first. A new reader begins with the oldest.
	Ended(ctx context.Context, reader string, limit int) (EndedPage, error)
	// Acknowledge moves the reader past a page. False means that another process
	// moved it from where the page begins, or that Redis has lost what the page ends
	// with: the reader gets what is there now. With the same nonce it can be repeated.
	Acknowledge(ctx context.Context, reader, nonce string, p EndedPage) (bool, error)
}

// EndedPage is a part of the stream of ended jobs.
type EndedPage struct {
	Jobs []EndedJob
	// From and To are the reader's cursor before and after the page.
	From, To int64
	// Mark is the last entry's own: when Redis loses its last second, other jobs get the
	// numbers that the lost entries had.
	Mark string
	// Missed is how many entries fell off after From.
	Missed int64
}

// EndedJob is an entry of the stream: the outcome of a job.
type EndedJob struct {
	ID    string
	State State
	// Job is its record as it is now, nil when that was forgotten.
	Job *Job
}
