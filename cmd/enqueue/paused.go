package main

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// pauseOf is the pause that keeps a job in its queue, the zero one when there is none.
// Every caller can do without the answer, so an error counts as no.
func pauseOf(ctx context.Context, svc *jobs.Service, j jobs.Job) jobs.Pause {
	list, err := svc.Paused(ctx, j.Spec.Queue)
	if err != nil {
		return jobs.Pause{}
	}
	for _, p := range list {
		if p.Priority == j.Spec.Priority {
			return p
		}
	}
	return jobs.Pause{}
}

// pauseLine says what is paused, since when, and how that ends; "" for no pause.
func pauseLine(p jobs.Pause) string {
	if p.Name == "" {
		return ""
	}
	since := ""
	if !p.Since.IsZero() {
		since = " since " + p.Since.Local().Format(time.DateTime)
	}
	return fmt.Sprintf("queue %s is paused in asynq%s; resume it with: asynq queue unpause %s", p.Name, since, p.Name)
}
