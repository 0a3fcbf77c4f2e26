package store_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/store"
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

// embedded is a store on an in-process Redis whose clock the test moves.
func embedded(t *testing.T) jobstest.Store {
	t.Helper()
	server, rdb := embeddedRedis(t)
	now := epoch
	s := store.New(rdb, store.Options{LogTail: 4 << 10})
	return jobstest.Store{
		Records: s, Claims: s, Hosts: s,
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

func TestHosts(t *testing.T) {
	t.Parallel()
	jobstest.TestHosts(t, embedded)
}

func TestHostsOdd(t *testing.T) {
	t.Parallel()
	_, rdb := embeddedRedis(t)
	testHostsOdd(t, rdb)
}

// testHostsOdd puts fields into the registry that no worker of this version
// writes: nobody may be kept from reading the others, and nothing stays for ever.
func testHostsOdd(t *testing.T, rdb redis.UniversalClient) {
	ctx := t.Context()
	s := store.New(rdb, store.Options{})
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
