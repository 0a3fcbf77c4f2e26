package jobstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// later makes the next job a newer one, where the clock stands still by itself.
func (f *farm) later() {
	if f.Advance != nil {
		f.Advance(time.Second)
	}
}

// submit makes a job of a submitter.
func (f *farm) submit(s jobs.Spec, submitter string) string {
	f.t.Helper()
	j := jobs.NewJob(f.newID(), s)
	j.Submitter = submitter
	f.later()
	if _, err := f.Records.Create(f.ctx, []jobs.Job{j}); err != nil {
		f.t.Fatal(err)
	}
	return j.ID
}

// of is the document of a tenant's job in a queue.
func of(name, tenant, queue string) jobs.Spec {
	s := spec(name)
	s.Tenant, s.Queue = tenant, queue
	return s
}

func testListEachFilter(f *farm) {
	const (
		index    = "sha256:index"
		manifest = "sha256:manifest"
	)
	ids := []string{
		f.submit(of("app", "blue", "builds"), "ann"),
		f.submit(of("app", "red", "nightly"), "bob"),
		f.submit(of("db", "blue", "nightly"), "bob"),
		f.submit(of("db", "", "builds"), ""),
		f.submit(of("app", "blue", "builds"), "bob"),
		f.submit(of("web", "red", "builds"), "ann"),
	}
	f.claim(ids[0])
	f.finish(f.claim(ids[1]), broken()) // without a word on its host, which the record knows
	lost := jobs.Result{State: jobs.Failed, Host: "host-b", Failure: jobs.Fail(jobs.KindDaemonLost, nil, "", "it is gone")}
	f.finish(f.claim(ids[2]), lost)
	built := done()
	built.Host, built.Bases = "host-b", []jobs.BaseImage{
		{Ref: "golang:1", Role: jobs.RoleStage, Digest: "sha256:other"},
		{Ref: "busybox:1", Role: jobs.RoleFrom, Digest: index, PlatformDigest: manifest},
	}
	f.finish(f.claim(ids[3]), built)
	if _, err := f.Records.Cancel(f.ctx, ids[5], "ann"); err != nil {
		f.t.Fatal(err)
	}
	failed := []jobs.State{jobs.Failed}
	for _, tt := range []struct {
		query jobs.Query
		want  []int
	}{
		{jobs.Query{Tenant: "blue"}, []int{4, 2, 0}},
		{jobs.Query{Tenant: "green"}, nil},
		{jobs.Query{Queue: "nightly"}, []int{2, 1}},
		{jobs.Query{Queue: "night"}, nil},
		{jobs.Query{Host: host}, []int{1, 0}},
		{jobs.Query{Host: "host-b"}, []int{3, 2}},
		{jobs.Query{Submitter: "bob"}, []int{4, 2, 1}},
		{jobs.Query{Submitter: "bo"}, nil},
		{jobs.Query{Kinds: []jobs.Kind{jobs.KindExitNonzero}}, []int{1}},
		{jobs.Query{Kinds: []jobs.Kind{jobs.KindDaemonLost, jobs.KindCancelled, jobs.KindOOM}}, []int{5, 2}},
		{jobs.Query{Fault: jobs.UserFault}, []int{5, 1}},
		{jobs.Query{Fault: jobs.InfraFault}, []int{2}},
		{jobs.Query{Base: "busybox:1"}, []int{3}},
		{jobs.Query{Base: "busybox"}, nil},
		{jobs.Query{Base: index}, []int{3}},
		{jobs.Query{Base: manifest}, []int{3}},

		{jobs.Query{Tenant: "blue", Name: "app"}, []int{4, 0}},
		{jobs.Query{Tenant: "blue", Label: "team=blue", Queue: "builds"}, []int{4, 0}},
		{jobs.Query{Tenant: "blue", Submitter: "bob"}, []int{4, 2}},
		{jobs.Query{Tenant: "blue", States: []jobs.State{jobs.Queued, jobs.Failed}}, []int{4, 2}},
		{jobs.Query{Queue: "nightly", Host: "host-b"}, []int{2}},
		{jobs.Query{Queue: "nightly", Fault: jobs.UserFault}, []int{1}},
		{jobs.Query{States: failed, Submitter: "bob", Kinds: []jobs.Kind{jobs.KindDaemonLost}, Fault: jobs.InfraFault}, []int{2}},
		{jobs.Query{Kinds: []jobs.Kind{jobs.KindDaemonLost}, Fault: jobs.UserFault}, nil},
		{jobs.Query{Base: "golang:1", Host: host}, nil},
		{jobs.Query{Up: true, Tenant: "blue"}, nil},
	} {
		var want []string
		for _, i := range tt.want {
			want = append(want, ids[i])
		}
		f.wantList(tt.query, want)
		tt.query.Limit, tt.query.Look = 1, 1
		f.wantList(tt.query, want)
	}
}

func testListTimes(f *farm) {
	var ids []string
	for range 5 {
		ids = append(ids, f.submit(spec("app"), ""))
	}
	at := func(i int) time.Time { return f.get(ids[i]).Created }
	for _, tt := range []struct {
		after, before time.Time
		from, to      int // which of the jobs
	}{
		{at(2), time.Time{}, 2, 5},
		{at(2).Add(1), time.Time{}, 3, 5},
		{time.Time{}, at(2), 0, 2},
		{time.Time{}, at(2).Add(1), 0, 3},
		{at(1), at(3), 1, 3},
		{at(3), at(1), 0, 0},
		{at(4).Add(time.Hour), time.Time{}, 0, 0},
		{time.Unix(1, 0), at(4).Add(time.Hour), 0, 5},
	} {
		want := newest(ids[tt.from:tt.to])
		for _, q := range []jobs.Query{{}, {Limit: 1}, {Name: "app"}, {Label: "team=blue", Limit: 2}} {
			q.CreatedAfter, q.CreatedBefore = tt.after, tt.before
			f.wantList(q, want)
		}
	}
}

// Pages come although what was looked at has nothing that fits, and no job is lost or
// comes twice between two of them.
func testListRare(f *farm) {
	var want []string
	for i := range 40 {
		submitter := "bob"
		if i%10 == 3 {
			submitter = "ann"
		}
		if id := f.submit(of("app", "blue", "builds"), submitter); submitter == "ann" {
			want = append(want, id)
		}
	}
	want = newest(want)
	for _, b := range []struct{ limit, look int }{{1, 1}, {1, 7}, {3, 7}, {2, 10}, {50, 39}, {50, 40}, {4, 41}, {3, 0}, {0, 0}} {
		for _, q := range []jobs.Query{{Submitter: "ann"}, {Submitter: "ann", Tenant: "blue"}} {
			q.Limit, q.Look = b.limit, b.look
			f.wantList(q, want)
		}
	}
	none, err := f.Records.List(f.ctx, jobs.Query{Submitter: "ann", Look: 5})
	if err != nil || len(none.Jobs) != 0 || none.NextPageToken == "" {
		f.t.Errorf("List(5 of which none fits) = %d jobs, token %q, %v; want none and a token", len(none.Jobs), none.NextPageToken, err)
	}
	some, err := f.Records.List(f.ctx, jobs.Query{Submitter: "ann", Look: 20})
	if got := inOrder(some.Jobs); err != nil || !slices.Equal(got, want[:2]) || some.NextPageToken == "" {
		f.t.Errorf("List(the newest 20) = %v, token %q, %v; want %v and a token", got, some.NextPageToken, err, want[:2])
	}
	all, err := f.Records.List(f.ctx, jobs.Query{Submitter: "ann"})
	if err != nil || len(all.Jobs) != len(want) || all.NextPageToken != "" {
		f.t.Errorf("List(all that fit) = %d jobs, token %q, %v; want %d and no token", len(all.Jobs), all.NextPageToken, err, len(want))
	}
}

// A job that an index leads to is found at the first look, however many others there are.
func testListIndexes(f *farm) {
	rare := of("rare", "red", "builds")
	rare.Labels = map[string]string{"rare": "yes"}
	id := f.submit(rare, "ann")
	f.claim(id)
	created := f.get(id).Created
	for range 20 {
		f.submit(of("app", "blue", "builds"), "ann")
	}
	early := created.Add(1)
	for _, tt := range []struct {
		query jobs.Query
		want  []string
	}{
		{jobs.Query{Name: "rare"}, []string{id}},
		{jobs.Query{Tenant: "red"}, []string{id}},
		{jobs.Query{Label: "rare=yes"}, []string{id}},
		{jobs.Query{States: []jobs.State{jobs.Running}}, []string{id}},
		{jobs.Query{CreatedBefore: early}, []string{id}},
		{jobs.Query{Tenant: "red", Label: "team=blue"}, nil},
		{jobs.Query{Tenant: "blue", CreatedBefore: early}, nil},
	} {
		tt.query.Submitter, tt.query.Look = "ann", 2
		page, err := f.Records.List(f.ctx, tt.query)
		if got := inOrder(page.Jobs); err != nil || page.NextPageToken != "" || !slices.Equal(got, tt.want) && len(got)+len(tt.want) > 0 {
			f.t.Errorf("List(%+v) = %v, token %q, %v; want %v at the first look", tt.query, got, page.NextPageToken, err, tt.want)
		}
	}
}

// inOrder are the IDs of a page.
func inOrder(list []jobs.Job) []string {
	var ids []string
	for _, j := range list {
		ids = append(ids, j.ID)
	}
	return ids
}

func testListToken(f *farm) {
	f.create(spec("app"))
	for _, token := range []string{"x", "x:y", ":", "12:", "NaN:y", fmt.Sprintf("%01000d", 7) + "x"} {
		_, err := f.Records.List(f.ctx, jobs.Query{PageToken: token})
		f.refused("List(token "+jobs.Clip(token)+")", err, jobs.ErrInvalid)
	}
}

// The IDs of this farm's jobs begin with the moment at which they were made; those of others
// do not, though they may look like it.
func testListPrefix(f *farm) {
	now, err := f.Claims.Now(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	stamp := func(at time.Time, rest string) string {
		hex := fmt.Sprintf("%012x", at.UnixMilli())
		return hex[:8] + "-" + hex[8:] + "-7" + rest
	}
	early, late := stamp(now.Add(-time.Minute), "abc-8def-0123456789ab"), stamp(now.Add(time.Minute), "abc-8def-0123456789ab")
	ids := []string{early, late, late[:len(late)-1] + "c", "nightly-1", "nightly-2", "3f2a91c-1"}
	var batch []jobs.Job
	for _, id := range ids {
		batch = append(batch, jobs.NewJob(id, spec("app")))
	}
	if _, err := f.Records.Create(f.ctx, batch); err != nil {
		f.t.Fatal(err)
	}
	for prefix, want := range map[string][]string{
		"": newest(ids), early: {early}, early[:13]: {early}, late[:13]: {ids[2], late}, late[:12]: {ids[2], late},
		late: {late}, "0": {ids[2], late, early}, "night": {"nightly-2", "nightly-1"}, "nightly-2": {"nightly-2"}, "ightly": nil,
		"3f2a": {"3f2a91c-1"}, "01": {ids[2], late, early}, strings.ReplaceAll(early, "-", ""): nil, "g": nil,
	} {
		f.wantList(jobs.Query{IDPrefix: prefix}, want)
		f.wantList(jobs.Query{IDPrefix: prefix, Limit: 1, Look: 1, Name: "app"}, want)
	}
}
