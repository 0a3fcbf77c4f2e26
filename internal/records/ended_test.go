package records_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

// finished makes n jobs that have succeeded.
func finished(t *testing.T, db *records.DB, n int) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("job-%d", i)
		job := jobs.NewJob(id, jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize())
		if _, err := db.Create(t.Context(), []jobs.Job{job}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Claim(t.Context(), job.Ticket(), jobs.Owner{Host: "h", Nonce: "n"}); err != nil {
			t.Fatal(err)
		}
		if err := db.Finish(t.Context(), id, "n", jobs.Result{State: jobs.Succeeded, Host: "h"}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func endedIDs(t *testing.T, db *records.DB) (ids []string, missed int64) {
	t.Helper()
	p, err := db.Ended(t.Context(), "metrics", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Jobs {
		ids = append(ids, e.ID)
	}
	return ids, p.Missed
}

// A process that dies between the end of a job and its announcement leaves the job in
// the index of a living state, where the reconciler looks. What was announced already
// is not announced again.
func TestAnAnnouncementThatACrashLeftOut(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db := records.New(rdb, records.Options{})
	ids := finished(t, db, 2)
	for _, announced := range []bool{true, false} {
		if !announced {
			rdb.Del(t.Context(), "slipway:{ended}:stream", "slipway:{ended}:ids")
		}
		for _, id := range ids {
			rdb.ZAdd(t.Context(), "slipway:jobs:running", redis.Z{Score: 1, Member: id})
		}
		if _, _, err := db.Scan(t.Context(), jobs.Running, 0, 10); err != nil {
			t.Fatal(err)
		}
		got, _ := endedIDs(t, db)
		slices.Sort(got)
		if !slices.Equal(got, ids) {
			t.Errorf("announced before the scan: %t; ended are %q, want %q", announced, got, ids)
		}
	}
}

// A page that was read before Redis lost its last second moves its reader past nothing
// that has the numbers of the lost entries now.
func TestAPageThatRedisForgot(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db := records.New(rdb, records.Options{})
	finished(t, db, 2)
	forgotten, err := db.Ended(t.Context(), "metrics", 10)
	if err != nil {
		t.Fatal(err)
	}
	rdb.FlushAll(t.Context())
	acknowledge := func(p jobs.EndedPage) bool {
		mine, err := db.Acknowledge(t.Context(), "metrics", "nonce", p)
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	if acknowledge(forgotten) {
		t.Error("the reader moved past entries that are not there")
	}
	ids := finished(t, db, 3)
	if acknowledge(forgotten) {
		t.Error("the reader moved past other entries than it saw")
	}
	now, err := db.Ended(t.Context(), "metrics", 10)
	if err != nil || len(now.Jobs) != 3 || now.Jobs[0].ID != ids[0] || !acknowledge(now) || !acknowledge(now) {
		t.Errorf("ended are %+v, %v; want the three that there are now, acknowledged and again", now, err)
	}
}

// A reader learns how many ends fell off the stream before it came, and of those that
// are left also when their records are forgotten.
func TestEndsThatFellOff(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	db := records.New(rdb, records.Options{})
	ids := finished(t, db, 5)
	rdb.XTrimMaxLen(t.Context(), "slipway:{ended}:stream", 2)
	rdb.Del(t.Context(), "slipway:{"+ids[4]+"}:job")
	got, missed := endedIDs(t, db)
	if !slices.Equal(got, ids[3:]) || missed != 3 {
		t.Errorf("ended are %q, %d missed; want %q and 3", got, missed, ids[3:])
	}
}

// A reply that a script gives has a constant beside the scripts, so that no reply is
// spelled twice; close in close.lua is the one place that makes a state terminal.
func TestScripts(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("scripts.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\treply\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		constants[m[1]] = true
	}
	files, _ := filepath.Glob("scripts/*.lua")
	if len(files) < 10 || len(constants) < 5 {
		t.Fatalf("found %d scripts and %d constants; this test looks in the wrong place", len(files), len(constants))
	}
	reply := regexp.MustCompile(`return '(\w+)'`)
	for _, name := range files {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reply.FindAllSubmatch(script, -1) {
			if word := string(m[1]); !constants[word] && word != string(jobs.Running) {
				t.Errorf("%s replies %q, which scripts.go has no constant for", name, word)
			}
		}
		if filepath.Base(name) != "close.lua" && regexp.MustCompile(`'finished', int`).Match(script) {
			t.Errorf("%s ends a job by itself; let it call close", name)
		}
		for _, s := range jobs.States() {
			if s.Terminal() && regexp.MustCompile(`'state', '`+string(s)+`'`).Match(script) {
				t.Errorf("%s makes a job %s by itself; let it call close", name, s)
			}
		}
	}
}
