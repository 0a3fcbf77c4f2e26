package records_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

// A job that is forgotten leaves no entry in an index.
func TestForgottenInIndexes(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{Retention: records.Retention{Age: time.Minute}})
	ctx := t.Context()
	indexes := func() (keys []string) {
		for _, pattern := range []string{"slipway:jobs:*", "slipway:name:*", "slipway:tenant:*", "slipway:label:*"} {
			keys = append(keys, rdb.Keys(ctx, pattern).Val()...)
		}
		return keys
	}
	job := jobs.NewJob("a", jobs.Spec{Name: "app", Tenant: "blue", Labels: map[string]string{"team": "red"}}.Normalize())
	if _, err := s.Create(ctx, []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cancel(ctx, "a", "ann"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"slipway:jobs:cancelled", "slipway:name:app", "slipway:tenant:blue", "slipway:label:team=red"}; !slices.Equal(indexes(), want) {
		t.Errorf("it is in %q; want %q", indexes(), want)
	}
	server.SetTime(epoch.Add(time.Hour))
	if n, err := s.Sweep(ctx, 10); err != nil || n != 1 {
		t.Fatalf("Sweep = %d, %v; want it swept", n, err)
	}
	if left := indexes(); len(left) > 0 {
		t.Errorf("it is still in %q", left)
	}
}

// The token of a tenant's page names no job of another tenant, whatever else the query asks for.
func TestPageTokensOfATenant(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	s, ctx := records.New(rdb, records.Options{}), t.Context()
	var batch []jobs.Job
	for i, tenant := range []string{"blue", "red", "red", "red"} {
		batch = append(batch, jobs.NewJob(tenant+string(rune('0'+i)), jobs.Spec{Name: "app", Tenant: tenant, Labels: map[string]string{"a": "b"}}.Normalize()))
	}
	if _, err := s.Create(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for i, job := range batch { // all of them keep a service
		rdb.ZAdd(ctx, "slipway:up", redis.Z{Score: float64(epoch.UnixMicro() + int64(i)), Member: job.ID})
	}
	for name, q := range map[string]jobs.Query{
		"up": {Up: true}, "name": {Name: "app"}, "label": {Label: "a=b"}, "state": {States: []jobs.State{jobs.Queued}}, "all": {Up: true, Name: "app", Label: "a=b"},
	} {
		q.Tenant, q.Look = "blue", 1
		page, err := s.List(ctx, q)
		if err != nil || strings.Contains(page.NextPageToken, "red") {
			t.Errorf("%s: the token is %q (%v)", name, page.NextPageToken, err)
		}
	}
}

// Entries without a record are looked at, too: a page is bounded whatever it meets.
func TestListOverGaps(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	s, ctx := records.New(rdb, records.Options{}), t.Context()
	var batch []jobs.Job
	for i := range 30 {
		batch = append(batch, jobs.NewJob(string(rune('a'+i/26))+string(rune('a'+i%26)), jobs.Spec{Name: "app"}.Normalize()))
	}
	if _, err := s.Create(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for _, job := range batch[5:] {
		rdb.Del(ctx, "slipway:{"+job.ID+"}:job")
	}
	q, pages, found := jobs.Query{Name: "app", Look: 10, Limit: 3}, 0, []string{}
	for more := true; more; more = q.PageToken != "" {
		page, err := s.List(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range page.Jobs {
			found = append(found, job.ID)
		}
		pages++
		q.PageToken = page.NextPageToken
	}
	if want := []string{"ae", "ad", "ac", "ab", "aa"}; !slices.Equal(found, want) || pages < 4 {
		t.Errorf("%d pages have %q; want %q on four at least", pages, found, want)
	}
}
