package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// attempts lists those before the current one: when each ended, where, why, and the
// last lines that it printed.
func attempts(w io.Writer, p painter, j jobs.Job) {
	for _, past := range j.Past {
		field(w, p, fmt.Sprint("attempt ", past.Attempt), ofAttempt(past))
		if past.Failure == nil {
			continue
		}
		for _, line := range past.Failure.Tail {
			fmt.Fprintf(w, "  | %s\n", printed(line))
		}
	}
	if n := len(j.Past); n > 0 && j.Past[n-1].Log.Digest != "" {
		field(w, p, "its log", fmt.Sprintf("enqueue logs --attempt %d %s", j.Past[n-1].Attempt, j.ID))
	}
}

// ofAttempt says in a line what became of a past attempt.
func ofAttempt(past jobs.PastAttempt) string {
	line := past.Reason
	if f := past.Failure; f != nil {
		line = fmt.Sprintf("%s (%s)", f.Message, f.Kind)
	}
	line = cmp.Or(line, "handed back")
	if past.Worker != "" {
		line += ", on " + past.Worker
	}
	if !past.Started.IsZero() && past.Ended.After(past.Started) {
		line += ", after " + short(past.Ended.Sub(past.Started))
	}
	return line
}

// printAttempt shows what is kept of the log of a past attempt, and why it ended.
func (a *app) printAttempt(ctx context.Context, f *follower, job jobs.Job, attempt int) error {
	for _, past := range job.Past {
		if past.Attempt != attempt {
			continue
		}
		if past.Log.Digest != "" {
			if err := f.reader().FromStore(ctx, past.Log.Digest, -1); err != nil {
				return f.unreadable(err)
			}
		}
		f.view.close()
		field(a.stderr, a.paint(a.stderr), fmt.Sprint("attempt ", attempt), ofAttempt(past))
		return nil
	}
	if attempt == job.Attempt {
		return f.print(ctx, job)
	}
	return usage(fmt.Sprintf("enqueue status %s lists its attempts; the newest %d are kept", job.ID, jobs.MaxPast), "--attempt: the job has no attempt %d on record", attempt)
}
