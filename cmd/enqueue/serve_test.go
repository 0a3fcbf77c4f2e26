package main

import (
	"net/url"
	"testing"
)

// A server has a bounded patience with Redis and connections for what it follows, unless the
// operator says otherwise; never does it follow so much that no connection is left.
func TestWithPool(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]struct {
		feeds               int
		size, wait, retries string
	}{
		"redis://:p%40ss@host:6379/0":                             {500, "600", "3s", "1"},
		"redis://host:6379/0?pool_size=12&max_retries=5":          {10, "12", "3s", "5"},
		"unix:///run/redis.sock?db=1&pool_size=1&pool_timeout=9s": {1, "1", "9s", "1"},
		"redis+sentinel://host:1/0?master_name=m":                 {500, "600", "3s", "1"},
		"redis://host:6379/0?pool_size=many":                      {0, "many", "3s", "1"},
	} {
		got, feeds := withPool(given)
		u, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := url.Parse(given)
		q := u.Query()
		if feeds != want.feeds || q.Get("pool_size") != want.size || q.Get("pool_timeout") != want.wait || q.Get("max_retries") != want.retries || u.User.String() != before.User.String() || u.Path != before.Path {
			t.Errorf("withPool(%s) = %s and %d feeds, want %+v", given, got, feeds, want)
		}
	}
}
