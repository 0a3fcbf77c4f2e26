package remote

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Submit is that of jobs.Service.
func (f *Farm) Submit(ctx context.Context, spec jobs.Spec) (jobs.Submitted, error) {
	out, err := f.SubmitBatch(ctx, []jobs.Spec{spec})
	if err != nil {
		return jobs.Submitted{}, err
	}
	return out[0], out[0].Err
}

// chunk is how many jobs one request is about at most.
const chunk = 200

// SubmitBatch is that of jobs.Service.
func (f *Farm) SubmitBatch(ctx context.Context, specs []jobs.Spec) ([]jobs.Submitted, error) {
	var out []jobs.Submitted
	for part := range slices.Chunk(specs, chunk) {
		var done struct {
			Jobs []struct {
				ID       string   `json:"id"`
				Existing bool     `json:"existing"`
				Problem  *problem `json:"problem"`
			} `json:"jobs"`
		}
		// With idempotency keys the same jobs come of it when it is sent again.
		again := !slices.ContainsFunc(part, func(s jobs.Spec) bool { return s.IdempotencyKey == "" })
		err := f.call(ctx, request{method: http.MethodPost, path: "/v1/jobs/batch", doc: map[string]any{"documents": part}, again: again}, &done)
		if err != nil {
			return nil, err
		}
		for _, d := range done.Jobs {
			sub := jobs.Submitted{ID: d.ID, Existing: d.Existing}
			if d.Problem != nil {
				sub.Err = d.Problem.err()
			}
			out = append(out, sub)
		}
	}
	if len(out) != len(specs) {
		return nil, errors.New("the farm's server answered about another number of jobs")
	}
	return out, nil
}

func ofJob(id string) string { return "/v1/jobs/" + url.PathEscape(id) }

// Get is that of jobs.Service.
func (f *Farm) Get(ctx context.Context, id string) (job jobs.Job, err error) {
	return job, f.call(ctx, request{method: http.MethodGet, path: ofJob(id), again: true}, &job)
}

// page is a part of a listing.
type page struct {
	Jobs []jobs.Job `json:"jobs"`
	Next string     `json:"next_page_token"`
}

// GetAll is that of jobs.Service.
func (f *Farm) GetAll(ctx context.Context, ids []string) ([]jobs.Job, error) {
	var all []jobs.Job
	for part := range slices.Chunk(ids, chunk) {
		var p page
		if err := f.call(ctx, request{method: http.MethodGet, path: "/v1/jobs", query: url.Values{"id": part}, again: true}, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Jobs...)
	}
	return all, nil
}

// List is that of jobs.Service. How many records are looked at is the server's choice.
func (f *Farm) List(ctx context.Context, q jobs.Query) (jobs.Page, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	for _, s := range q.States {
		query.Add("state", string(s))
	}
	for _, k := range q.Kinds {
		query.Add("kind", string(k))
	}
	set("fault", string(q.Fault))
	set("id_prefix", q.IDPrefix)
	set("name", q.Name)
	set("tenant", q.Tenant)
	set("label", q.Label)
	set("queue", q.Queue)
	set("host", q.Host)
	set("base", q.Base)
	set("submitter", q.Submitter)
	set("page_token", q.PageToken)
	if q.Up {
		query.Set("up", "true")
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	for name, at := range map[string]time.Time{"after": q.CreatedAfter, "before": q.CreatedBefore} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	var p page
	err := f.call(ctx, request{method: http.MethodGet, path: "/v1/jobs", query: query, again: true}, &p)
	return jobs.Page{Jobs: p.Jobs, NextPageToken: p.Next}, err
}

// Cancel is that of jobs.Service; who asks for it is the holder of the token.
func (f *Farm) Cancel(ctx context.Context, id, _ string) (jobs.Job, error) {
	var job jobs.Job
	err := f.call(ctx, request{method: http.MethodPost, path: ofJob(id) + "/cancel", again: true}, &job)
	if errors.Is(err, jobs.ErrFinished) {
		now, getErr := f.Get(ctx, id)
		return now, errors.Join(err, getErr)
	}
	return job, err
}

// Follow is that of jobs.Service.
func (f *Farm) Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error) {
	var n struct {
		Events []jobs.Event `json:"events"`
		Log    []struct {
			Attempt int    `json:"attempt"`
			Offset  int64  `json:"offset"`
			Data    []byte `json:"data"`
		} `json:"log"`
		Next struct {
			Event string `json:"event"`
			Log   string `json:"log"`
		} `json:"next"`
	}
	query := url.Values{"event": {after.Event}, "log": {after.Log}, "wait": {wait.String()}}
	if err := f.call(ctx, request{method: http.MethodGet, path: ofJob(id) + "/news", query: query, again: true}, &n); err != nil {
		return jobs.News{Next: after}, err
	}
	news := jobs.News{Events: n.Events, Next: jobs.Cursor(n.Next)}
	for _, c := range n.Log {
		news.Log = append(news.Log, jobs.LogChunk(c))
	}
	return news, nil
}

// Wait is that of jobs.Service.
func (f *Farm) Wait(ctx context.Context, id string) (jobs.Job, error) {
	var seen jobs.Job
	for {
		var job jobs.Job
		err := f.call(ctx, request{method: http.MethodGet, path: ofJob(id), query: url.Values{"wait": {"30s"}}, again: true}, &job)
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return seen, err
		}
		if seen = job; job.State.Terminal() {
			return job, nil
		}
	}
}

// WhyAll is that of jobs.Service; the server knows its hosts.
func (f *Farm) WhyAll(ctx context.Context, _ jobs.Hosts, list ...jobs.Job) ([]jobs.Why, error) {
	var all []jobs.Why
	for part := range slices.Chunk(list, chunk) {
		query := url.Values{}
		for _, j := range part {
			query.Add("id", j.ID)
		}
		var got struct {
			Why []jobs.Why `json:"why"`
		}
		if err := f.call(ctx, request{method: http.MethodGet, path: "/v1/why", query: query, again: true}, &got); err != nil {
			return nil, err
		}
		if len(got.Why) != len(part) { // one was forgotten meanwhile
			return nil, jobs.ErrNotFound
		}
		all = append(all, got.Why...)
	}
	return all, nil
}
