package jobs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Job is the record of a job: the truth about it. Times are Redis time
// (TIME), never a worker's.
type Job struct {
	ID    string `json:"id"`
	Spec  Spec   `json:"spec"`
	State State  `json:"state"`
	Stage Stage  `json:"stage,omitempty"`
	// Attempt counts from 1; it grows with every new try, whatever caused it.
	Attempt int `json:"attempt"`
	// Seq counts the tickets issued for this attempt, from 1.
	Seq int `json:"-"`
	// Retries is how many of the job's own retries are spent.
	Retries int `json:"retries,omitempty"`
	// Losses counts infrastructure losses in a row.
	Losses int `json:"losses,omitempty"`

	Created time.Time `json:"created"`
	// Queued is when the current attempt began to wait for a worker.
	Queued  time.Time `json:"queued,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// Claimed is when the current attempt was claimed.
	Claimed  time.Time `json:"claimed,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// NotBefore is when a waiting job may be claimed.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Expires is when the job is given up if no worker has taken it.
	Expires time.Time `json:"expires,omitzero"`
	// StartBy is the deadline of a plain asynq producer for the first attempt to
	// begin, when that is what Expires stands for; zero when it is not.
	StartBy time.Time `json:"start_by,omitzero"`

	Worker string `json:"worker,omitempty"`
	Host   string `json:"host,omitempty"`
	// Nonce proves who the owner is; only the owner and Redis know it.
	Nonce string    `json:"-"`
	Lease time.Time `json:"-"`

	Container Container `json:"container,omitzero"`
	// Submitter is who submitted the job, as the producer says: it is for people, and
	// decides nothing. It is "" for jobs of plain asynq producers and of rebuilds. One
	// printable line of at most [MaxSubmitter] bytes.
	Submitter string `json:"submitter,omitempty"`
	// Traceparent is the trace that the submission belongs to, "" for none.
	Traceparent Traceparent `json:"traceparent,omitempty"`
	// CancelBy is who asked for the job to end, "" when it was not cancelled.
	CancelBy string `json:"cancel_by,omitempty"`

	Result *Result `json:"result,omitempty"`
	// Past are the attempts before the current one, the newest [MaxPast].
	Past []PastAttempt `json:"past,omitempty"`
	// Damaged says why a part of the record cannot be read, "" when all can. The
	// rest is as it should be.
	Damaged string `json:"damaged,omitempty"`
	// Newer is set when the record is of a version that this build does not know:
	// nothing but what reads it may be done to it.
	Newer bool `json:"newer,omitempty"`
	// Partial is what a running attempt noted so far, nil if nothing.
	Partial *Result `json:"-"`
}

// MaxSubmitter bounds Job.Submitter, in bytes.
const MaxSubmitter = 128

// Container is what the record knows of the attempt's container; it is there
// before the container is, so that a restarted worker can find it.
type Container struct {
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
	// Deadline is when the run times out, on Redis time.
	Deadline time.Time `json:"deadline,omitzero"`
}

// ContainerName is the name of an attempt's container.
func ContainerName(id string, attempt int) string {
	return fmt.Sprintf("slipway-%s-a%d", id, attempt)
}

// ImageRepository is where a farm's attempts have their images on a build host.
func ImageRepository(farm string) string { return imageFolder + farm }

// imageFolder is the farm's own: no job gives names in it.
const imageFolder = "slipway-job/"

// ImageName is the name of an attempt's image on its build host until the attempt
// is over, whatever other names the image gets: what has no name cannot be found
// after a crash.
func ImageName(farm, id string, attempt int) string {
	return fmt.Sprintf("%s:%s-a%d", ImageRepository(farm), id, attempt)
}

// ImageAttempt reads the name of an attempt's image.
func ImageAttempt(name string) (id string, attempt int, ok bool) {
	rest, ok := strings.CutPrefix(name, imageFolder)
	_, tag, found := strings.Cut(rest, ":")
	i := strings.LastIndex(tag, "-a")
	if !ok || !found || i < 0 {
		return "", 0, false
	}
	attempt, err := strconv.Atoi(tag[i+len("-a"):])
	return tag[:i], attempt, err == nil
}

// Ticket says "look at job ID"; it is what travels through the queue.
type Ticket struct {
	ID       string
	Attempt  int
	Seq      int
	Queue    string
	Priority Priority
	// Route is what the job needs of its host, Turn the name under which it takes turns
	// with the tickets of others, and Recipe what it builds, where a host that has built it
	// before is of use.
	Route  Route
	Turn   string
	Recipe string
	// Delay before the ticket may be delivered.
	Delay time.Duration
}

// Delivery is a task as it arrives from the queue: a ticket, or what a plain asynq
// producer pushed.
type Delivery struct {
	// Ticket has the place that the task was in, which need not be the one that the
	// document names.
	Ticket Ticket
	// Task is the queue's own ID of the task, for logs.
	Task string

	// Spec is the document that a plain producer sent along, nil in a ticket, and
	// when it cannot be read.
	Spec *Spec
	// Failure says why no worker may have the job of a plain producer, nil when one
	// may. The job's state follows from its kind.
	Failure *Failure
	// StartBy is the producer's deadline for the job to begin, zero for none.
	StartBy time.Time
	// Traceparent is of the task's headers, "" for none.
	Traceparent Traceparent
	// GivenUp is set when the queue has taken the task back already: it only brings
	// its document, and the job needs a ticket.
	GivenUp bool
}

// Plain reports whether a plain producer pushed the task, so that the job may have
// no record yet.
func (d Delivery) Plain() bool { return d.Spec != nil || d.Failure != nil }

// Ticket returns the current ticket of the job.
func (j Job) Ticket() Ticket {
	return Ticket{
		ID: j.ID, Attempt: j.Attempt, Seq: j.Seq, Queue: j.Spec.Queue, Priority: j.Spec.Priority,
		Route: j.Spec.Needs().Route(), Turn: j.Spec.Turn(), Recipe: j.Spec.recipe(),
	}
}

// Beside reports whether two tickets wait in the same place.
func (t Ticket) Beside(o Ticket) bool {
	return t.Queue == o.Queue && t.Priority == o.Priority && t.Route == o.Route && t.Turn == o.Turn && t.Recipe == o.Recipe
}

// Keeps reports whether the service that an attempt started on a host is to stay.
// A database that lost its last second can lead two hosts to the same attempt.
func (j Job) Keeps(host string, attempt int) bool {
	r := j.Result
	return j.Up() && r.Host == host && r.Attempt == attempt
}

// Event is one thing that happened to a job.
type Event struct {
	// ID orders events; it is the ID in the record.
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Type EventType `json:"type"`
	// Text is short and for people, "" where the type says all.
	Text string `json:"text,omitempty"`
}

// EventType is a constant word.
type EventType string

// What can happen to a job.
const (
	EventSubmitted EventType = "submitted"
	EventClaimed   EventType = "claimed"
	EventAdopted   EventType = "adopted"
	EventStage     EventType = "stage"
	EventContainer EventType = "container"
	EventRetry     EventType = "retry"
	EventLost      EventType = "lost"
	EventReturned  EventType = "returned"
	EventCancel    EventType = "cancel_requested"
	EventFinished  EventType = "finished"
	EventStale     EventType = "stale_result"
	// EventServiceEnded is the end of a kept service; the text is its
	// [ServiceStatus] in words.
	EventServiceEnded EventType = "service_ended"
)
