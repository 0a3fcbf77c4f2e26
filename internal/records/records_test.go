package records_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/records"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// embeddedRedis is an in-process Redis whose clock stands at epoch.
func embeddedRedis(t *testing.T) (*miniredis.Miniredis, *redis.Client) {
	t.Helper()
	server := miniredis.RunT(t)
	server.SetTime(epoch)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	return server, rdb
}

// embedded is a DB on an in-process Redis whose clock the test moves.
func embedded(t *testing.T) jobstest.DB {
	t.Helper()
	server, rdb := embeddedRedis(t)
	now := epoch
	s := records.New(rdb, records.Options{LogTail: 4 << 10})
	return jobstest.DB{
		Records: s, Claims: s, Hosts: s, Orders: s, Seats: s, Endings: s, Recipes: s, Rebuilds: s, Bases: s, Digests: s, Builds: s, Webhooks: s, Calls: s, DueCalls: s,
		Advance: func(d time.Duration) {
			now = now.Add(d)
			server.SetTime(now)
			server.FastForward(d)
		},
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	jobstest.TestRecords(t, embedded)
}

func TestClaims(t *testing.T) {
	t.Parallel()
	jobstest.TestClaims(t, embedded)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	jobstest.TestTokens(t, records.New(rdb, records.Options{}))
}

func TestHosts(t *testing.T) {
	t.Parallel()
	jobstest.TestHosts(t, embedded)
}

func TestOrders(t *testing.T) {
	t.Parallel()
	jobstest.TestOrders(t, embedded)
}

// What cannot be read keeps the host from taking jobs until an operator has looked at it.
func TestOrderThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db, ctx := records.New(rdb, records.Options{}), t.Context()
	rdb.HSet(ctx, "slipway:orders", "torn", `{"kind":`, "empty", "{}", "later", `{"kind":"paint","new":1}`)
	all, err := db.AllOrders(ctx)
	if err != nil || len(all) != 3 {
		t.Fatalf("AllOrders = %+v, %v; want three", all, err)
	}
	for host, o := range all {
		one, err := db.OrderOf(ctx, host)
		if err != nil || one != o || o.Takes() {
			t.Errorf("host %s has the order %+v, by itself %+v, %v; want one that keeps it from taking jobs", host, o, one, err)
		}
	}
	if all["torn"].Reason == "" || all["empty"].Reason == "" {
		t.Errorf("orders %+v; want the reasons", all)
	}
}

func TestSeats(t *testing.T) {
	t.Parallel()
	jobstest.TestSeats(t, embedded)
}

func TestEndings(t *testing.T) {
	t.Parallel()
	jobstest.TestEndings(t, embedded)
}

func TestRecipes(t *testing.T) {
	t.Parallel()
	jobstest.TestRecipes(t, embedded)
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	jobstest.TestWebhooks(t, embedded)
}

func TestRebuilds(t *testing.T) {
	t.Parallel()
	jobstest.TestRebuilds(t, embedded)
}

func TestBases(t *testing.T) {
	t.Parallel()
	jobstest.TestBases(t, embedded)
}

func TestBuilds(t *testing.T) {
	t.Parallel()
	jobstest.TestBuilds(t, embedded)
}

// Settings that cannot be read are not replaced by defaults: an operator may have said
// that the image is never to be built.
func TestRecipeThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db, ctx := records.New(rdb, records.Options{}), t.Context()
	if _, err := db.Learn(ctx, jobs.Recipe{Name: "app", Job: "1", Made: epoch}); err != nil {
		t.Fatal(err)
	}
	rdb.HSet(ctx, "slipway:{ended}:recipesettings", "app", "{")
	rdb.HSet(ctx, "slipway:{ended}:recipes", "base", "nothing of ours")
	list, err := db.AllRecipes(ctx)
	if err != nil || len(list) != 2 || list[0].Damaged == "" || list[0].Settings.Policy != jobs.RebuildNever || list[1].Damaged == "" || list[1].Name != "base" {
		t.Errorf("AllRecipes = %+v, %v; want both, damaged", list, err)
	}
	if err := db.SetRecipe(ctx, "app", func(*jobs.RecipeSettings) error { return nil }); err == nil {
		t.Error("settings that cannot be read were changed")
	}
	if kept, err := db.Learn(ctx, jobs.Recipe{Name: "base", Job: "2", Made: epoch}); err != nil || !kept {
		t.Errorf("Learn over a damaged recipe = %v, %v; want it kept", kept, err)
	}
}

func TestHostsOdd(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	testHostsOdd(t, rdb)
}

// testHostsOdd puts fields into the registry that no worker of this version
// writes: they must not hide the other hosts, and nothing stays for ever.
func testHostsOdd(t *testing.T, rdb redis.UniversalClient) {
	ctx := t.Context()
	s := records.New(rdb, records.Options{})
	beat := func(name string) {
		t.Helper()
		if err := s.Beat(ctx, jobs.Host{Name: name, Every: jobs.Duration(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	beat("good")
	now, err := s.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lately := strconv.FormatInt(now.UnixMicro(), 10)
	if err := rdb.HSet(ctx, "slipway:hosts",
		"broken", lately+` {"name":`, "renamed", lately+` {"name":"other","new":1}`, "garbage", "garbage",
		"old", "1700000000000000 {}").Err(); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]string {
		t.Helper()
		all, _, err := s.Hosts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, h := range all {
			found[h.Name] = h.Damaged
		}
		return found
	}
	found := list()
	for name, damaged := range map[string]bool{"good": false, "renamed": false, "broken": true, "garbage": true} {
		if text, ok := found[name]; !ok || (text != "") != damaged {
			t.Errorf("host %s: listed %t, damaged %q; want it listed, damaged %t", name, ok, text, damaged)
		}
	}
	if _, ok := found["old"]; ok {
		t.Error("a host that was silent for years is listed")
	}
	beat("good")
	if n := rdb.HLen(ctx, "slipway:hosts").Val(); n != 5 {
		t.Errorf("%d hosts after a beat of one that is known; want the 5 from before", n)
	}
	beat("new")
	if left := rdb.HKeys(ctx, "slipway:hosts").Val(); !slices.Equal(slices.Sorted(slices.Values(left)), []string{"broken", "good", "new", "renamed"}) {
		t.Errorf("a new host left %q; want those that were seen lately, and itself", left)
	}
}

// back is a hook that lets the database go back in time in the middle of a change:
// a replica was promoted that had not heard of its first half.
type back struct {
	redis.Hook
	before string // the key whose pipeline comes too late
	do     func()
	done   bool
}

func (b *back) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !b.done && slices.Contains(cmds[0].Args(), any(b.before)) {
			b.done = true
			b.do()
		}
		return next(ctx, cmds)
	}
}

func (*back) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*back) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func TestIndexFollowsARecordThatWentBack(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ctx := t.Context()
	if _, err := s.Create(ctx, []jobs.Job{jobs.NewJob("a", jobs.Spec{Name: "a"})}); err != nil {
		t.Fatal(err)
	}
	o := jobs.Owner{Nonce: "n", Worker: "w", Host: "h", Lease: time.Minute}
	if _, err := s.Claim(ctx, jobs.Ticket{ID: "a", Attempt: 1}, o); err != nil {
		t.Fatal(err)
	}
	hook := &back{before: "slipway:jobs:succeeded", do: func() { server.HSet("slipway:{a}:job", "state", "running") }}
	rdb.AddHook(hook)
	if err := s.Finish(ctx, "a", "n", jobs.Result{State: jobs.Succeeded, Host: "h"}); err != nil || !hook.done {
		t.Fatal(err, hook.done)
	}
	if found, _, err := s.Scan(ctx, jobs.Running, 0, 10); err != nil || len(found) != 1 {
		t.Errorf("%d running jobs (%v), want the one that the database does not know to have ended", len(found), err)
	}
	if found, _, err := s.Scan(ctx, jobs.Succeeded, 0, 10); err != nil || len(found) != 0 {
		t.Errorf("%d jobs have succeeded (%v), want none", len(found), err)
	}
}

// What a crash between a record and its index leaves in the list of a host goes
// when its next worker asks for its jobs.
func TestOwnedDropsWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ctx := t.Context()
	for _, id := range []string{"ended", "elsewhere", "own", "waits"} {
		if _, err := s.Create(ctx, []jobs.Job{jobs.NewJob(id, jobs.Spec{Name: id})}); err != nil {
			t.Fatal(err)
		}
		host := map[string]string{"elsewhere": "other"}[id]
		if id != "waits" {
			o := jobs.Owner{Nonce: id, Worker: "w", Host: cmp.Or(host, "h"), Lease: time.Minute}
			if _, err := s.Claim(ctx, jobs.Ticket{ID: id, Attempt: 1}, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Finish(ctx, "ended", "ended", jobs.Result{State: jobs.Succeeded, Host: "h"}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.SAdd("slipway:host:h", "ended", "elsewhere", "waits", "no record"); err != nil {
		t.Fatal(err)
	}
	own, err := s.Owned(ctx, "h")
	if err != nil || len(own) != 1 || own[0].ID != "own" {
		t.Errorf("owned %+v (%v), want one", own, err)
	}
	left, err := server.Members("slipway:host:h")
	if want := []string{"own", "waits"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("%q are left (%v), want %q", left, err, want)
	}
}

// ready is a job of host h whose service is up.
func ready(t *testing.T, s *records.DB, id string) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Create(ctx, []jobs.Job{jobs.NewJob(id, jobs.Spec{Name: id})}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(ctx, jobs.Ticket{ID: id, Attempt: 1}, jobs.Owner{Nonce: id, Worker: "w", Host: "h", Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}
	r := jobs.Result{
		State: jobs.Succeeded, Host: "h", Attempt: 1, KeepUntil: epoch.Add(time.Hour),
		Service: &jobs.ServiceStatus{State: jobs.ServiceUp},
	}
	if err := s.Finish(ctx, id, id, r); err != nil {
		t.Fatal(err)
	}
}

// What a crash between a record and its index leaves among the services of a host goes
// when its worker asks for them, and is not listed before.
func TestKeptDropsWhatIsOver(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ctx := t.Context()
	for _, id := range []string{"up", "over", "forgotten"} {
		ready(t, s, id)
	}
	if err := s.EndService(ctx, "over", "over", jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}}); err != nil {
		t.Fatal(err)
	}
	server.Del("slipway:{forgotten}:job")
	if _, err := s.Create(ctx, []jobs.Job{jobs.NewJob("runs", jobs.Spec{})}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(ctx, jobs.Ticket{ID: "runs", Attempt: 1}, jobs.Owner{Nonce: "n", Worker: "w", Host: "h", Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"over", "runs"} { // the second is about to be ready
		for _, key := range []string{"slipway:kept:h", "slipway:up"} {
			if _, err := server.ZAdd(key, 1, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if page, err := s.List(ctx, jobs.Query{Up: true}); err != nil || len(page.Jobs) != 1 || page.Jobs[0].ID != "up" {
		t.Errorf("%d jobs are listed as up (%v), want one", len(page.Jobs), err)
	}
	if kept, err := s.Kept(ctx, "h"); err != nil || len(kept) != 1 || kept[0].ID != "up" {
		t.Errorf("kept %+v (%v), want one", kept, err)
	}
	for _, key := range []string{"slipway:kept:h", "slipway:up"} {
		left, err := server.ZMembers(key)
		slices.Sort(left)
		if want := []string{"runs", "up"}; err != nil || !slices.Equal(left, want) {
			t.Errorf("%s has %q (%v), want %q", key, left, err, want)
		}
	}
}

// A record that is gone and was made again keeps its service all the same.
func TestKeptServiceOfARestoredRecord(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ctx := t.Context()
	ready(t, s, "a")
	server.Del("slipway:{a}:job")
	server.SetTime(epoch.Add(2 * time.Minute))
	server.FastForward(2 * time.Minute)
	if kept, err := s.Kept(ctx, "h"); err != nil || len(kept) != 0 {
		t.Errorf("kept %+v (%v), want none while there is no record", kept, err)
	}
	if _, _, err := s.Scan(ctx, jobs.Succeeded, 0, 10); err != nil {
		t.Fatal(err)
	}
	kept, err := s.Kept(ctx, "h")
	if err != nil || len(kept) != 1 || !kept[0].Up() {
		t.Fatalf("kept %+v (%v), want the service", kept, err)
	}
	if err := s.EndService(ctx, "a", kept[0].Nonce, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}}); err != nil {
		t.Errorf("EndService: %v", err)
	}
}

// Redis may lose what lists a service, and keep its record: who knows of it has it
// listed again, and a job that keeps none is not.
func TestKeptServiceThatIsNotListed(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ctx := t.Context()
	ready(t, s, "a")
	server.Del("slipway:kept:h")
	server.Del("slipway:up")
	if kept, err := s.Kept(ctx, "other", "a", "never"); err != nil || len(kept) != 0 {
		t.Errorf("kept %+v (%v) on another host, want none", kept, err)
	}
	if kept, err := s.Kept(ctx, "h", "a", "never"); err != nil || len(kept) != 1 || kept[0].Nonce == "" {
		t.Errorf("kept %+v (%v), want the service that the host knows of", kept, err)
	}
	if kept, err := s.Kept(ctx, "h"); err != nil || len(kept) != 1 {
		t.Errorf("kept %+v (%v), want it to be listed again", kept, err)
	}
	if page, err := s.List(ctx, jobs.Query{Up: true}); err != nil || len(page.Jobs) != 1 {
		t.Errorf("%d jobs are listed as up (%v), want one", len(page.Jobs), err)
	}
	if err := s.EndService(ctx, "a", mustKept(t, s).Nonce, jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}}); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Kept(ctx, "h", "a"); err != nil || len(kept) != 0 {
		t.Errorf("kept %+v (%v) after the end, want none", kept, err)
	}
}

// mustKept is the one service of host h.
func mustKept(t *testing.T, s *records.DB) jobs.Job {
	t.Helper()
	kept, err := s.Kept(t.Context(), "h")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %+v (%v), want one", kept, err)
	}
	return kept[0]
}

// A service that is up is not forgotten before its time is over, and one that has ended
// goes like any other job.
func TestSweepKeepsServices(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{Retention: records.Retention{Age: 10 * time.Minute}})
	ctx := t.Context()
	ready(t, s, "up")
	ready(t, s, "over")
	if err := s.EndService(ctx, "over", "over", jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceCancelled}}); err != nil {
		t.Fatal(err)
	}
	server.SetTime(epoch.Add(30 * time.Minute))
	if n, err := s.Sweep(ctx, 10); err != nil || n != 1 {
		t.Errorf("swept %d (%v), want the one that is over", n, err)
	}
	if _, err := s.Get(ctx, "up"); err != nil {
		t.Error(err)
	}
	server.SetTime(epoch.Add(2 * time.Hour))
	if n, err := s.Sweep(ctx, 10); err != nil || n != 1 {
		t.Errorf("swept %d (%v), want the other one", n, err)
	}
	for _, id := range []string{"up", "over"} {
		if keys, err := rdb.Keys(ctx, "slipway:{"+id+"}*").Result(); err != nil || len(keys) > 0 {
			t.Errorf("left are %q (%v)", keys, err)
		}
	}
	if page, err := s.List(ctx, jobs.Query{Up: true}); err != nil || len(page.Jobs) > 0 {
		t.Errorf("%d are listed as up (%v)", len(page.Jobs), err)
	}
}

// A service that a worker of an earlier version keeps has no status in its result.
func TestKeptServiceOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	server, rdb := embeddedRedis(t)
	s := records.New(rdb, records.Options{})
	ready(t, s, "a")
	if err := server.Set("slipway:{a}:result", `{"state":"succeeded","host":"h","attempt":1,"keep_until":"2026-01-02T04:04:05Z"}`); err != nil {
		t.Fatal(err)
	}
	kept, err := s.Kept(t.Context(), "h")
	if err != nil || len(kept) != 1 || !kept[0].Keeps("h", 1) {
		t.Errorf("kept %+v (%v), want the service", kept, err)
	}
}

// A cursor that Redis would not understand is the caller's mistake.
func TestFollowCursors(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db := records.New(rdb, records.Options{})
	if _, err := db.Create(t.Context(), []jobs.Job{jobs.NewJob("job-1", jobs.Spec{Run: &jobs.Run{Image: "a"}}.Normalize())}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []jobs.Cursor{{Log: "x"}, {Log: "$"}, {Log: "1"}, {Log: "1-"}, {Log: "1-2-3"}, {Log: "+1-1"}, {Log: "99999999999999999999-1"}, {Event: "1-x"}, {Event: "1--1"}} {
		if _, err := db.Follow(t.Context(), "job-1", c, 0); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("Follow from %+v: %v; want ErrInvalid", c, err)
		}
	}
	for _, c := range []jobs.Cursor{{}, {Log: "0-0"}, {Log: "1700000000000-5", Event: "1700000000000-1"}} {
		if _, err := db.Follow(t.Context(), "job-1", c, 0); err != nil {
			t.Errorf("Follow from %+v: %v", c, err)
		}
	}
}
