//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Keys that may be left when all jobs have ended: what the records are, what they
// are found by, who is there, which turns were handed out, and what asynq counts.
var (
	ofJob  = regexp.MustCompile(`^slipway:\{(.*)\}:(job|spec|result|past|log|stale|news)$`)
	ofFarm = regexp.MustCompile(`^(slipway:(jobs:[a-z]+|name:.*|tenant:.*|label:.*|idem:.*|\{artifacts\}:.*|farm|farm:name|seat:.*|store|hosts|collect|leader|deadlines|groups|\{builds\}:(turns:[a-z]+|routes)|\{ended\}:(stream|ids|cursors|recipes|rebuilds|rebuild:.*|webhooks|hook(fails|calls|log)))|asynq:(queues|(servers|workers)(:.*)?|\{builds(:high)?(~[a-z0-9._~-]+)?(@[0-9a-f]+)?\}:(processed|failed).*))$`)
)

// ofTwin is a ticket that the monkey made a second one of.
var ofTwin = regexp.MustCompile(`^asynq:\{builds(:high)?(~[a-z0-9._~-]+)?\}:t:.*:1\d\d\d$`)

// strayKeys are keys that no process needs any more, or that belong to no job that
// was acknowledged.
func (f *farm) strayKeys(ctx context.Context, jobs map[string]bool) error {
	var stray []string
	keys := f.rdb.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		key := keys.Val()
		if m := ofJob.FindStringSubmatch(key); m != nil && jobs[m[1]] || ofFarm.MatchString(key) || ofTwin.MatchString(key) {
			continue
		}
		if ttl, err := f.rdb.TTL(ctx, key).Result(); err == nil && ttl > 0 {
			continue // it goes by itself
		}
		stray = append(stray, key)
	}
	if err := keys.Err(); err != nil {
		return fmt.Errorf("look at the keys: %w", err)
	}
	if len(stray) == 0 {
		return nil
	}
	slices.Sort(stray)
	return errors.New("keys are left in Redis:\n\t" + strings.Join(slices.Compact(stray), "\n\t"))
}
