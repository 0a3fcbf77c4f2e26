package jobs

import (
	"context"
	"fmt"
	"slices"
)

// Why tells why a job does not run.
func (s *Service) Why(ctx context.Context, hosts Hosts, job Job) (Why, error) {
	sit, err := s.Situation(ctx, hosts, job)
	if err != nil {
		return Why{}, err
	}
	return s.WhyIn(ctx, sit, job)
}

// WhyAll tells it of several jobs, for little more than of one.
func (s *Service) WhyAll(ctx context.Context, hosts Hosts, list ...Job) ([]Why, error) {
	sit, err := s.Situation(ctx, hosts, list...)
	if err != nil {
		return nil, err
	}
	all := make([]Why, len(list))
	for i, j := range list {
		if all[i], err = s.WhyIn(ctx, sit, j); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// recent is how many jobs tell how long jobs take.
const recent = 50

// Situation is that of some jobs; which of them it is about is left out.
func (s *Service) Situation(ctx context.Context, hosts Hosts, list ...Job) (sit Situation, err error) {
	var queues []string
	var tickets []Ticket
	for _, j := range list {
		if !j.State.Waits() {
			continue
		}
		tickets = append(tickets, j.Ticket())
		if !slices.Contains(queues, j.Spec.Queue) {
			queues = append(queues, j.Spec.Queue)
		}
	}
	if sit.Hosts, sit.Now, err = hosts.Hosts(ctx); err != nil {
		return sit, fmt.Errorf("ask what the farm's hosts do: %w", err)
	}
	if sit.Pauses, err = s.queue.Paused(ctx, queues...); err != nil {
		return sit, err
	}
	if sit.Lanes, err = s.queue.PausedLanes(ctx, tickets...); err != nil {
		return sit, err
	}
	sit.Groups = map[string]Group{}
	for _, j := range list {
		c := j.Spec.Concurrency
		if c == nil || !j.State.Waits() {
			continue
		}
		if _, known := sit.Groups[c.Group]; known {
			continue
		}
		if sit.Groups[c.Group], err = s.records.Group(ctx, c.Group); err != nil {
			return sit, err
		}
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
	if job.State.Waits() {
		switch n, found, err := s.queue.Ahead(ctx, job.Ticket()); {
		case err != nil:
			return Why{}, err
		case found:
			sit.Ahead = &n
		}
	}
	return sit.Explain(), nil
}
