package jobstest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Create implements jobs.Records.
func (m *Memory) Create(ctx context.Context, batch []jobs.Job) ([]bool, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	made := make([]bool, len(batch))
	for i, j := range batch {
		key := j.Spec.ReservedKey()
		if _, bound := m.keys[key]; key != "" && !bound && j.Result == nil {
			m.keys[key] = binding{j.ID, jobs.SpecDigest(j.Spec)}
		}
		if _, ok := m.records[j.ID]; ok {
			continue
		}
		r := &record{at: len(m.order), job: jobs.Job{
			ID: j.ID, Spec: copyJSON(j.Spec), State: jobs.Queued, Attempt: 1, Seq: 1, Created: m.clock.now(),
			Submitter: j.Submitter, Traceparent: j.Traceparent,
		}}
		m.wait(&r.job, 0)
		m.records[j.ID] = r
		m.order = append(m.order, r)
		m.event(r, jobs.EventSubmitted, "")
		made[i] = true
		switch by := j.StartBy; {
		case j.Result != nil:
			m.end(r, *j.Result)
		case by.IsZero():
		case !by.After(m.clock.now()):
			m.end(r, jobs.Result{State: jobs.Expired, Failure: jobs.Overdue(by)})
		case r.job.Expires.IsZero() || by.Before(r.job.Expires):
			r.job.Expires, r.job.StartBy = by, by
		}
	}
	return made, nil
}

// wait starts the time in which a worker must take the job, after a delay.
func (m *Memory) wait(j *jobs.Job, delay time.Duration) {
	j.Queued, j.Expires, j.StartBy = m.clock.now(), time.Time{}, time.Time{}
	if d := j.Spec.Timeouts.Queue.Or(m.opts.QueueTimeout); d > 0 {
		j.Expires = j.Queued.Add(delay + d)
	}
}

// Get implements jobs.Records.
func (m *Memory) Get(ctx context.Context, id string) (jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Job{}, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	return r.view(), nil
}

// GetAll implements jobs.Records.
func (m *Memory) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []jobs.Job
	for _, id := range ids {
		if r := m.records[id]; r != nil {
			found = append(found, r.view())
		}
	}
	return found, nil
}

func (m *Memory) find(id string) (*record, error) {
	if r := m.records[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("job %s: %w", id, jobs.ErrNotFound)
}

// Cancel implements jobs.Records.
func (m *Memory) Cancel(ctx context.Context, id, by string) (jobs.Job, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Job{}, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return jobs.Job{}, err
	}
	switch {
	case r.job.State.Waits():
		r.job.CancelBy = by
		m.end(r, cancelled(jobs.StageQueue, by))
	case r.job.State == jobs.Running || r.kept:
		if r.job.CancelBy == "" {
			r.job.CancelBy = by
			m.event(r, jobs.EventCancel, by)
		}
	default:
		return r.view(), fmt.Errorf("cancel job %s, which is %s: %w", id, r.job.State, jobs.ErrFinished)
	}
	m.hint(id)
	return r.view(), nil
}

func cancelled(stage jobs.Stage, by string) jobs.Result {
	f := jobs.Fail(jobs.KindCancelled, nil, "", "it was cancelled by %s", by)
	f.Stage = stage
	return jobs.Result{State: jobs.Cancelled, Failure: f}
}

// Reserve implements jobs.Records.
func (m *Memory) Reserve(ctx context.Context, key, id, digest string) (boundID, boundDigest string, err error) {
	if err := m.begin(ctx); err != nil {
		return "", "", err
	}
	defer m.mu.Unlock()
	b, ok := m.keys[key]
	if !ok {
		b = binding{id, digest}
		m.keys[key] = b
	}
	return b.id, b.digest, nil
}

// Follow implements jobs.Records.
func (m *Memory) Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error) {
	timeout := time.NewTimer(max(wait, 0))
	defer timeout.Stop()
	for waited := wait <= 0; ; {
		news, changed, err := m.news(ctx, id, after)
		if err != nil || waited || len(news.Events)+len(news.Log) > 0 {
			return news, err
		}
		select {
		case <-changed:
		case <-timeout.C:
			waited = true
		case <-ctx.Done():
			return jobs.News{}, ctx.Err()
		}
	}
}

// news returns what is there after the cursor and a channel that is closed by
// the next change.
func (m *Memory) news(ctx context.Context, id string, after jobs.Cursor) (jobs.News, <-chan struct{}, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.News{}, nil, err
	}
	defer m.mu.Unlock()
	r, err := m.find(id)
	if err != nil {
		return jobs.News{}, nil, err
	}
	events, err := place(after.Event)
	if err != nil {
		return jobs.News{}, nil, err
	}
	chunks, err := place(after.Log)
	if err != nil {
		return jobs.News{}, nil, err
	}
	n := jobs.News{
		Events: slices.Clone(r.events[min(events, len(r.events)):]),
		Next:   jobs.Cursor{Event: fmt.Sprintf("%08d", len(r.events)), Log: strconv.Itoa(r.gone + len(r.log))},
	}
	for _, c := range r.log[min(max(chunks-r.gone, 0), len(r.log)):] {
		c.Data = slices.Clone(c.Data)
		n.Log = append(n.Log, c)
	}
	return n, m.changed, nil
}

// place reads one part of a cursor: how many entries were seen.
func place(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("follow a job: cursor %q is not one of ours", s)
	}
	return n, nil
}
