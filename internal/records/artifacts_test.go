package records_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

func digestOf(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func TestArtifacts(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	testArtifacts(t, records.New(rdb, records.Options{}))
}

// testArtifacts is what garbage collection needs of the records.
func testArtifacts(t *testing.T, s *records.DB) {
	ctx := t.Context()
	first, second := digestOf(1), digestOf(2)
	if condemned, err := s.Pin(ctx, first); err != nil || condemned {
		t.Errorf("Pin = %t, %v", condemned, err)
	}
	for _, pretend := range []bool{true, false} {
		if free, err := s.Condemn(ctx, []string{first, second}, pretend); err != nil || !slices.Equal(free, []string{second}) {
			t.Errorf("Condemn(pretend: %t) = %q, %v, want only what is not pinned", pretend, free, err)
		}
	}
	if free, err := s.Condemn(ctx, []string{second}, false); err != nil || len(free) != 0 {
		t.Errorf("Condemn again = %q, %v, want nothing", free, err)
	}
	if condemned, err := s.Pin(ctx, second); err != nil || !condemned {
		t.Errorf("Pin of what is being deleted = %t, %v, want condemned", condemned, err)
	}

	var batch []jobs.Job
	want := map[string]bool{}
	for i := range 2500 {
		spec := jobs.Spec{Context: &jobs.Context{Ref: artifacts.Ref(digestOf(1000 + i))}, Build: &jobs.Build{}}
		want[digestOf(1000+i)] = true
		batch = append(batch, jobs.NewJob(fmt.Sprint("job-", i), spec.Normalize()))
	}
	batch = append(batch, jobs.NewJob("elsewhere", jobs.Spec{Context: &jobs.Context{Ref: "https://example.com/x.tar"}, Build: &jobs.Build{}}.Normalize()))
	for part := range slices.Chunk(batch, 500) { // a slow machine takes long for all of them
		if _, err := s.Create(ctx, part); err != nil {
			t.Fatal(err)
		}
	}
	job, err := s.Claim(ctx, jobs.Ticket{ID: "elsewhere"}, jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Minute})
	if err == nil {
		err = s.Note(ctx, job.ID, "n", jobs.Progress{Partial: &jobs.Result{Outputs: []jobs.Output{{Digest: digestOf(5)}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	want[digestOf(5)] = true
	named := func() map[string]bool {
		got := map[string]bool{}
		if err := s.Named(ctx, func(d string) { got[d] = true }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := named(); !maps.Equal(got, want) {
		t.Errorf("Named found %d artifacts, want %d", len(got), len(want))
	}
	if err := s.Finish(ctx, job.ID, "n", jobs.Result{State: jobs.Succeeded, Attempt: 1, Log: jobs.LogInfo{Digest: digestOf(6)}}); err != nil {
		t.Fatal(err)
	}
	if got := named(); !got[digestOf(6)] {
		t.Error("Named does not have the log of a result")
	}
	pinned, err := s.Condemn(ctx, slices.Collect(maps.Keys(want)), true)
	if err != nil || !slices.Equal(pinned, []string{digestOf(5)}) {
		t.Errorf("%d of the contexts of new jobs may be deleted, %v", len(pinned), err)
	}

	if none, err := s.FarmID(ctx, true); none != "" || err != nil {
		t.Errorf("FarmID = %q, %v, want none yet", none, err)
	}
	id, err := s.FarmID(ctx, false)
	if again, err2 := s.FarmID(ctx, true); err != nil || err2 != nil || id == "" || id != again {
		t.Errorf("FarmID = %q, %v, then %q, %v, want the same", id, err, again, err2)
	}
	if none, err := s.StoreID(ctx); none != "" || err != nil {
		t.Errorf("StoreID = %q, %v, want none yet", none, err)
	}
	for _, step := range []struct {
		id   string
		over bool
		want string
	}{{"first", false, "first"}, {"second", false, "first"}, {"second", true, "second"}, {"third", false, "second"}} {
		got, err := s.RememberStore(ctx, step.id, step.over)
		if id, err2 := s.StoreID(ctx); got != step.want || id != step.want || err != nil || err2 != nil {
			t.Errorf("RememberStore(%q, %t) = %q, %v, StoreID = %q, %v, want %q", step.id, step.over, got, err, id, err2, step.want)
		}
	}
	for i, want := range []bool{true, false} {
		if turn, err := s.MarkTurn(ctx, time.Hour); err != nil || turn != want {
			t.Errorf("turn %d at marking = %t, %v, want %t", i, turn, err, want)
		}
	}
	err = s.EndTurn(ctx)
	if turn, errAgain := s.MarkTurn(ctx, time.Hour); err != nil || errAgain != nil || !turn {
		t.Errorf("EndTurn = %v, MarkTurn after it = %t, %v", err, turn, errAgain)
	}
	if name, err := s.FarmName(ctx); name != "" || err != nil {
		t.Errorf("the farm is named %q, %v; want no name before its first worker", name, err)
	}
	for range 2 {
		if joined, err := s.JoinFarm(ctx, "builds"); joined != id || err != nil {
			t.Errorf("JoinFarm = %q, %v; want %q", joined, err, id)
		}
	}
	const refused = `another farm: this Redis is of the farm "builds", not of "tests"; start the worker with --farm builds, or rename the farm with: worker rename-farm tests`
	if _, err := s.JoinFarm(ctx, "tests"); !errors.Is(err, jobs.ErrOtherFarm) || err.Error() != refused {
		t.Errorf("joining under another name: %v; want %s", err, refused)
	}
	for _, was := range []string{"builds", "tests"} {
		if got, err := s.RenameFarm(ctx, "tests"); got != was || err != nil {
			t.Errorf("RenameFarm = %q, %v; want %q", got, err, was)
		}
	}
	if joined, err := s.JoinFarm(ctx, "tests"); joined != id || err != nil {
		t.Errorf("JoinFarm = %q, %v after the farm got the name; want %q", joined, err, id)
	}
	for i, want := range []bool{true, false} {
		if turn, err := s.CollectTurn(ctx, time.Hour); err != nil || turn != want {
			t.Errorf("turn %d = %t, %v, want %t", i, turn, err, want)
		}
	}
}

func TestNamedLogOfAService(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	testNamedLogOfAService(t, records.New(rdb, records.Options{}))
}

// testNamedLogOfAService: a kept service has the log up to when it was ready, and when it
// has ended the whole one in its place.
func testNamedLogOfAService(t *testing.T, s *records.DB) {
	ctx := t.Context()
	wantNamed := func(when string, want string) {
		t.Helper()
		var got []string
		if err := s.Named(ctx, func(d string) { got = append(got, d) }); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s %q are named, %v; want %s", when, got, err, want)
		}
	}
	if _, err := s.Create(ctx, []jobs.Job{jobs.NewJob("serves", jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize())}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim(ctx, jobs.Ticket{ID: "serves"}, jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}
	up := jobs.Result{
		State: jobs.Succeeded, Attempt: 1, Host: "h", KeepUntil: epoch.Add(time.Hour),
		Service: &jobs.ServiceStatus{State: jobs.ServiceUp}, Log: jobs.LogInfo{Digest: digestOf(7)},
	}
	if err := s.Finish(ctx, "serves", "n", up); err != nil {
		t.Fatal(err)
	}
	wantNamed("while it is up", digestOf(7))
	end := jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceExpired}, Log: jobs.LogInfo{Digest: digestOf(8)}}
	if err := s.EndService(ctx, "serves", "n", end); err != nil {
		t.Fatal(err)
	}
	wantNamed("when it is over", digestOf(8))
}

// TestNamedWithoutRedis: an error is one, and not an empty farm.
func TestNamedWithoutRedis(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	s := records.New(rdb, records.Options{})
	if _, err := s.Create(t.Context(), []jobs.Job{jobs.NewJob("a", jobs.Spec{})}); err != nil {
		t.Fatal(err)
	}
	server.Del("slipway:{a}:result")
	if _, err := server.Lpush("slipway:{a}:result", "of a wrong type"); err != nil {
		t.Fatal(err)
	}
	if err := s.Named(t.Context(), func(string) {}); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("Named with an unreadable record = %v, want its error", err)
	}
	server.Close()
	if err := s.Named(t.Context(), func(string) {}); err == nil {
		t.Error("Named without Redis = nil")
	}
}
