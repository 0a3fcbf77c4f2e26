package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipway-farm/slipway/internal/redisconn"
)

// A worker with a Redis of its own does not warn of what that is for; one that an operator
// allowed does.
func TestWarningOfAnUnsafeRedis(t *testing.T) {
	t.Parallel()
	rdb, err := redisconn.Open(t.Context(), "redis://"+miniredis.RunT(t).Addr()+"/0")
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	for _, embedded := range []bool{true, false} {
		c := defaults()
		c.UnsafeRedis, c.Embedded = true, embedded
		var log bytes.Buffer
		if err := checkRedis(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), c, rdb); err != nil {
			t.Fatal(err)
		}
		if warns := strings.Contains(log.String(), "this Redis may forget jobs"); warns == embedded {
			t.Errorf("embedded %t: the log says %q", embedded, log.String())
		}
	}
}
