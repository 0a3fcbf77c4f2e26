// Package queue delivers tickets through asynq: a Queue enqueues them and
// rings a bell, an Intake serves them on a worker and sleeps on that bell
// instead of polling. A ticket says only "look at job X"; the record in package
// records is the truth, so a ticket may come twice or late without harm.
//
// Each queue of the farm is three asynq queues, one per priority: the normal
// one has the queue's own name, so that a plain asynq producer and an
// autoscaler that watches asynq:{builds}:pending need to know nothing else.
package queue

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TaskType is the asynq type of every task of the farm. Its payload is a
// jobs.Envelope.
const TaskType = "slipway:job"

// asynqName is the asynq queue for a priority.
func asynqName(queue string, p jobs.Priority) string {
	if p == jobs.PriorityNormal || p == "" {
		return queue
	}
	return queue + ":" + string(p)
}

// parseAsynqName undoes asynqName.
func parseAsynqName(name string) (string, jobs.Priority) {
	queue, priority, ok := strings.Cut(name, ":")
	if !ok {
		return queue, jobs.PriorityNormal
	}
	return queue, jobs.Priority(priority)
}

// weights is how asynq shares a worker among the priorities: high is asked
// first six times in ten.
func weights(queues []string) map[string]int {
	w := make(map[string]int, 3*len(queues))
	for _, q := range queues {
		w[asynqName(q, jobs.PriorityHigh)] = 6
		w[asynqName(q, jobs.PriorityNormal)] = 3
		w[asynqName(q, jobs.PriorityLow)] = 1
	}
	return w
}

// taskID makes the same ticket the same task, so that asynq drops a duplicate.
func taskID(t jobs.Ticket) string {
	return fmt.Sprintf("%s:%d:%d", t.ID, t.Attempt, t.Seq)
}

// parseTaskID reads attempt and seq of one of our tickets of job id; a plain
// producer's task has any ID, which stands for the current attempt.
func parseTaskID(id, task string) (attempt, seq int) {
	rest, ok := strings.CutPrefix(task, id+":")
	a, s, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return 0, 0
	}
	attempt, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0
	}
	seq, err = strconv.Atoi(s)
	if err != nil {
		return 0, 0
	}
	return attempt, seq
}

// bellKey is a list that idle workers of a queue block on. Each element wakes
// one worker; what it finds is in asynq's own lists.
func bellKey(queue string) string { return "slipway:{" + queue + "}:bell" }

// maxBells bounds the bell list: more idle workers than this are woken by
// their fallback pass.
const maxBells = 16
