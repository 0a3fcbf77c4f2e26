// Package queue delivers tickets through asynq: a Queue enqueues them and puts them on
// the board, an Intake serves them on a worker. A ticket says only "look at job X"; the
// record in package records is the truth, so a ticket may come twice or late without
// harm.
//
// Tickets wait in lanes. A lane is an asynq queue for each priority, each route (what a
// job needs of its host) and each name that takes turns. The board in Redis tells which
// lanes have tickets; a worker asks it for the next one among the routes that it takes,
// so tickets that no worker takes are never looked at. An idle worker sleeps on bells.
//
// What plain asynq producers push lies in the inbox, which has the name of the queue, or
// builds:high and builds:low for the other priorities; a worker moves it to its lane.
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
