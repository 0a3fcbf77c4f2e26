package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// read makes a delivery of the payload and the headers of a task. Whatever a plain producer pushed
// is a job: one that no worker can run says so.
func read(queue, task string, payload []byte, headers map[string]string) jobs.Delivery {
	env, err := jobs.DecodeEnvelope(payload)
	d := jobs.Delivery{Ticket: jobs.Ticket{ID: env.ID}, Task: task, Spec: env.Spec, Traceparent: jobs.ParseTraceparent(headers["traceparent"])}
	d.Ticket.Attempt, d.Ticket.Seq = parseTaskID(env.ID, task)
	in := parseLane(queue)
	d.Ticket.Queue, d.Ticket.Priority, d.Ticket.Turn, d.Ticket.Recipe = in.queue, in.priority, in.turn, in.recipe
	switch {
	case !jobs.IsID(env.ID):
		d.Ticket.ID = standIn(env.ID, task)
		bad := fmt.Errorf("the id %.100q of the job is not lower-case letters, digits and -, at most 64; this job stands for it", env.ID)
		if err != nil {
			bad = fmt.Errorf("%w; %w", bad, err)
		}
		d.Failure = jobs.Malformed(bad)
	case err != nil:
		d.Failure = jobs.Malformed(err)
	case env.Spec == nil && d.Ticket.Attempt == 0: // our tickets name their attempt
		d.Failure = jobs.Malformed(errors.New(`the task has no job document; want {"id": ..., "spec": {...}}`))
	}
	return d
}

// standIn is the ID of a job that stands for a task whose own id can be none: always
// the same for the same id, and like it to the eye. A task without an id goes by
// asynq's name of it.
func standIn(id, task string) string {
	if id == "" {
		id = task
	}
	sum := sha256.Sum256([]byte(id))
	like := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, id)
	return "refused-" + like[:min(len(like), 40)] + "-" + hex.EncodeToString(sum[:4])
}

// farOff is how far away a deadline counts as none.
const farOff = 100 * 365 * 24 * time.Hour

// startBy is the deadline in a task's options, on which asynq's own clock has no say
// any more. A time limit (asynq.Timeout) is none.
func startBy(info *asynq.TaskInfo) time.Time {
	if info.Deadline.IsZero() || info.Deadline.After(time.Now().Add(farOff)) {
		return time.Time{}
	}
	return info.Deadline.UTC()
}
