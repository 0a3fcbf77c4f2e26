package jobs

import (
	"context"
	"fmt"
)

// Why tells why a job does not run.
func (s *Service) Why(ctx context.Context, hosts Hosts, job Job) (Why, error) {
	sit, err := s.Situation(ctx, hosts, job.Spec.Queue)
	if err != nil {
		return Why{}, err
	}
	return s.WhyIn(ctx, sit, job)
}

// recent is how many jobs tell how long jobs take.
const recent = 50

// Situation is that of the jobs of some queues; the job itself is left out.
func (s *Service) Situation(ctx context.Context, hosts Hosts, queues ...string) (sit Situation, err error) {
	if sit.Hosts, sit.Now, err = hosts.Hosts(ctx); err != nil {
		return sit, fmt.Errorf("ask what the farm's hosts do: %w", err)
	}
	if sit.Pauses, err = s.queue.Paused(ctx, queues...); err != nil {
		return sit, err
	}
	running, err := s.records.List(ctx, Query{States: []State{Running}, Limit: 200})
	if err != nil {
		return sit, fmt.Errorf("list running jobs: %w", err)
	}
	ended, err := s.records.List(ctx, Query{States: []State{Succeeded, Failed}, Limit: recent})
	if err != nil {
		return sit, fmt.Errorf("list jobs that ended lately: %w", err)
	}
	sit.Running, sit.Recent = running.Jobs, ended.Jobs
	sit.AllRun = running.NextPageToken == ""
	return sit, nil
}

// WhyIn is Why in a situation that is known.
func (s *Service) WhyIn(ctx context.Context, sit Situation, job Job) (Why, error) {
	sit.Job = job
	if job.State == Queued || job.State == Waiting {
		switch n, found, err := s.queue.Ahead(ctx, job.Ticket()); {
		case err != nil:
			return Why{}, err
		case found:
			sit.Ahead = &n
		}
		if c := job.Spec.Concurrency; c != nil {
			var err error
			if sit.Group, err = s.records.Group(ctx, c.Group); err != nil {
				return Why{}, err
			}
		}
	}
	return sit.Explain(), nil
}
