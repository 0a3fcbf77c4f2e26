package jobstest

import (
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// listTests are about List.
func listTests() []subtest {
	return []subtest{
		{"list newest first", testListOrder},
		{"list 50 unless asked", testListDefault},
		{"list by filter", testListFilters},
		{"list by filter and page", testListFilteredPages},
		{"list by each filter", testListEachFilter},
		{"list by time", testListTimes},
		{"list by the beginning of IDs", testListPrefix},
		{"list what is rare", testListRare},
		{"list by index", testListIndexes},
		{"list follows the state", testListStates},
		{"list is not moved by new jobs", testListStable},
		{"list after no token of ours", testListToken},
	}
}

// list walks all pages.
func (f *farm) list(q jobs.Query) []string {
	f.t.Helper()
	var ids []string
	for pages := 0; ; pages++ {
		p, err := f.Records.List(f.ctx, q)
		if err != nil {
			f.t.Fatalf("List(%+v): %v", q, err)
		}
		if q.Limit > 0 && len(p.Jobs) > q.Limit {
			f.t.Errorf("List(%+v): got %d jobs on a page", q, len(p.Jobs))
		}
		for _, j := range p.Jobs {
			ids = append(ids, j.ID)
		}
		if p.NextPageToken == "" {
			return ids
		}
		if pages > 1000 {
			f.t.Fatalf("List(%+v): no end of pages", q)
		}
		q.PageToken = p.NextPageToken
	}
}

func (f *farm) wantList(q jobs.Query, want []string) {
	f.t.Helper()
	if got := f.list(q); !slices.Equal(got, want) {
		f.t.Errorf("List(%+v):\n got %v\nwant %v", q, got, want)
	}
}

// newest reverses IDs in the order of their creation.
func newest(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

func testListOrder(f *farm) {
	f.wantList(jobs.Query{}, nil)
	ids := f.create(spec("a"), spec("b"), spec("c"))
	var batch []jobs.Job // made at the same instant, still in order
	for range 4 {
		batch = append(batch, jobs.NewJob(f.newID(), spec("d")))
		ids = append(ids, batch[len(batch)-1].ID)
	}
	if _, err := f.Records.Create(f.ctx, batch); err != nil {
		f.t.Fatal(err)
	}
	for _, limit := range []int{0, 1, 2, 6, 7, 8} {
		f.wantList(jobs.Query{Limit: limit}, newest(ids))
	}
	p, err := f.Records.List(f.ctx, jobs.Query{Limit: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	f.same("the listed job", p.Jobs[0], f.get(ids[len(ids)-1]))
}

func testListDefault(f *farm) {
	batch := make([]jobs.Job, 53)
	for i := range batch {
		batch[i] = jobs.NewJob(f.newID(), spec("a"))
	}
	if _, err := f.Records.Create(f.ctx, batch); err != nil {
		f.t.Fatal(err)
	}
	p, err := f.Records.List(f.ctx, jobs.Query{})
	if err != nil || len(p.Jobs) != 50 || p.NextPageToken == "" {
		f.t.Fatalf("List() = %d jobs, token %q, %v; want 50 and a token", len(p.Jobs), p.NextPageToken, err)
	}
	if got := f.list(jobs.Query{}); len(got) != len(batch) {
		f.t.Errorf("all pages have %d jobs; want %d", len(got), len(batch))
	}
}

func testListFilters(f *farm) {
	red, plain := spec("app"), spec("db")
	red.Labels = map[string]string{"team": "red", "tier": "a=b"}
	plain.Labels = nil
	ids := f.create(spec("app"), red, plain, spec("db"))
	f.claim(ids[0])
	f.finish(f.claim(ids[1]), done())
	for _, tt := range []struct {
		query jobs.Query
		want  []string
	}{
		{jobs.Query{Name: "app"}, []string{ids[1], ids[0]}},
		{jobs.Query{Name: "none"}, nil},
		{jobs.Query{Label: "team=blue"}, []string{ids[3], ids[0]}},
		{jobs.Query{Label: "team=red"}, []string{ids[1]}},
		{jobs.Query{Label: "tier=a=b"}, []string{ids[1]}},
		{jobs.Query{Label: "team=green"}, nil},
		{jobs.Query{States: []jobs.State{jobs.Queued}}, []string{ids[3], ids[2]}},
		{jobs.Query{States: []jobs.State{jobs.Running, jobs.Succeeded}}, []string{ids[1], ids[0]}},
		{jobs.Query{States: []jobs.State{jobs.Expired}}, nil},
		{jobs.Query{Name: "db", Label: "team=blue"}, []string{ids[3]}},
		{jobs.Query{Name: "app", States: []jobs.State{jobs.Running}}, []string{ids[0]}},
		{jobs.Query{Name: "app", Label: "team=red", States: []jobs.State{jobs.Running}}, nil},
		{jobs.Query{Name: "app", Label: "team=red", States: []jobs.State{jobs.Queued, jobs.Succeeded}}, []string{ids[1]}},
	} {
		f.wantList(tt.query, tt.want)
	}
}

func testListFilteredPages(f *farm) {
	var want []string
	for i := range 30 {
		id := f.create(spec([]string{"a", "b", "c"}[i%3]))[0]
		if i%3 == 1 {
			want = append(want, id)
		}
	}
	queued := []jobs.State{jobs.Queued, jobs.Waiting}
	for _, limit := range []int{1, 3, 10, 11} {
		f.wantList(jobs.Query{Name: "b", Limit: limit}, newest(want))
		f.wantList(jobs.Query{Name: "b", Label: "team=blue", States: queued, Limit: limit}, newest(want))
	}
}

func testListStates(f *farm) {
	id := f.create(spec("app"))[0]
	want := func(s jobs.State) {
		f.t.Helper()
		for _, other := range jobs.States() {
			var ids []string
			if other == s {
				ids = []string{id}
			}
			f.wantList(jobs.Query{States: []jobs.State{other}}, ids)
		}
	}
	want(jobs.Queued)
	j := f.claim(id)
	want(jobs.Running)
	f.release(j, jobs.Release{})
	want(jobs.Queued)
	j = f.claim(id)
	f.release(j, jobs.Release{Delay: time.Hour})
	want(jobs.Waiting)
	if _, err := f.Records.Cancel(f.ctx, id, "ann"); err != nil {
		f.t.Fatal(err)
	}
	want(jobs.Cancelled)
}

func testListStable(f *farm) {
	ids := f.create(spec("a"), spec("b"), spec("c"), spec("d"))
	first, err := f.Records.List(f.ctx, jobs.Query{Limit: 2})
	if err != nil {
		f.t.Fatal(err)
	}
	f.create(spec("e"))
	rest := f.list(jobs.Query{Limit: 2, PageToken: first.NextPageToken})
	if want := []string{ids[1], ids[0]}; !slices.Equal(rest, want) {
		f.t.Errorf("second page after a new job: got %v; want %v", rest, want)
	}
}
