package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// redisAnswer is an error that Redis answered.
type redisAnswer string

func (e redisAnswer) Error() string { return string(e) }
func (redisAnswer) RedisError()     {}

// A Redis that fails over, or has lost its replicas, is no surprise: the message says that
// it passes.
func TestExplainsRedis(t *testing.T) {
	t.Parallel()
	a := &app{redisURL: "redis+cluster://user:s3cret@redis.example:7000"}
	for text, hint := range map[string]string{
		"READONLY You can't write against a read only replica.":   "name the primary",
		"LOADING Redis is loading the dataset in memory":          "try again in a moment",
		"CLUSTERDOWN The cluster is down":                         "failing over: try again in a moment",
		"TRYAGAIN Multiple keys request during rehashing of slot": "failing over: try again in a moment",
		"NOREPLICAS Not enough good replicas to write.":           "min-replicas-to-write",
	} {
		f := a.explain(fmt.Errorf("reserve key: %w", redisAnswer(text)))
		if want := "the farm's Redis at redis+cluster://redis.example:7000 takes no writes at the moment: " + text; f.code != jobs.ExitInfra || f.Error() != want || !strings.Contains(f.hint, hint) {
			t.Errorf("exit code %d, %q with the hint %q; want %d, %q and %q", f.code, f.Error(), f.hint, jobs.ExitInfra, want, hint)
		}
	}
}
