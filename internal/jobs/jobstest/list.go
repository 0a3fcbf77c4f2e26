package jobstest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// List implements jobs.Records. A page token is the place in the order of
// creation, so that jobs created meanwhile move nothing.
func (m *Memory) List(ctx context.Context, q jobs.Query) (jobs.Page, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.Page{}, err
	}
	defer m.mu.Unlock()
	limit, look := q.Bounds()
	before := len(m.order)
	if q.PageToken != "" {
		n, err := strconv.Atoi(q.PageToken)
		if err != nil || n < 0 || n > len(m.order) {
			return jobs.Page{}, fmt.Errorf("%w: page token %q is not one of ours", jobs.ErrInvalid, q.PageToken)
		}
		before = n
	}
	index := indexed(q)
	var page jobs.Page
	for _, r := range slices.Backward(m.order[:before]) {
		if !index.Selects(r.job) {
			continue
		}
		if look == 0 || len(page.Jobs) == limit {
			page.NextPageToken = strconv.Itoa(r.at + 1)
			break
		}
		look--
		if q.Selects(r.job) {
			page.Jobs = append(page.Jobs, r.view())
		}
	}
	return page, nil
}

// indexed is the part of a query that a database has an index for, so that the records
// which it keeps out are not looked at.
func indexed(q jobs.Query) jobs.Query {
	part := jobs.Query{CreatedAfter: q.CreatedAfter, CreatedBefore: q.CreatedBefore}
	switch {
	case q.Tenant != "":
		part.Tenant = q.Tenant
	case q.Up:
		part.Up = true
	case q.Name != "":
		part.Name = q.Name
	case q.Label != "":
		part.Label = q.Label
	default:
		part.States = q.States
	}
	return part
}
