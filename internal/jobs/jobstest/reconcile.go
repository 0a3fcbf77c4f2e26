package jobstest

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Reconcile does once what the farm's reconciler does all the time: running
// jobs whose lease ran out count as lost on infrastructure, and jobs past their
// queue timeout expire. It returns the tickets of the new attempts.
func (m *Memory) Reconcile(ctx context.Context) ([]jobs.Ticket, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var tickets []jobs.Ticket
	now := m.clock.now()
	for _, r := range m.order {
		j := &r.job
		switch {
		case j.State == jobs.Running && now.After(j.Lease):
			f := jobs.Fail(jobs.KindWorkerLost, nil, "", "worker %s was lost", j.Worker)
			f.Stage = j.Stage
			d := jobs.Decide(*j, jobs.Result{State: jobs.Failed, Failure: f, Attempt: j.Attempt})
			if d.Final {
				m.end(r, d.Result)
			} else if t := m.release(r, d.Release); !j.State.Terminal() {
				tickets = append(tickets, t)
			}
		case j.State.CanBecome(jobs.Expired) && late(*j, now):
			m.giveUp(r)
		}
	}
	return tickets, nil
}

// late reports whether a job waited longer for a worker than it may.
func late(j jobs.Job, now time.Time) bool { return !j.Expires.IsZero() && now.After(j.Expires) }

// giveUp ends a job that no worker took in time.
func (m *Memory) giveUp(r *record) {
	m.end(r, jobs.Result{State: jobs.Expired, Failure: jobs.Overdue(r.job.StartBy)})
}
