package main

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// facts are what metrics tell besides the checks: an operator should look into them, and the
// worker takes jobs all the same. policy is why the policy in force is not the file's.
func facts(c config, rdb redisClient, policy func(context.Context) error) []telemetry.Fact {
	all := []telemetry.Fact{
		{
			Metric: "slipway_redis_clock_offset_seconds", Help: "How far the clock of Redis is ahead of this host's.",
			Value: func(ctx context.Context) (float64, error) {
				offset, _, err := redisconn.Clock(ctx, rdb)
				return offset.Seconds(), err
			},
		},
		{
			Metric: "slipway_policy_current", Help: "1 when the policy in force is the one in the file, 0 when that is no good and the one before stays.",
			Value: func(ctx context.Context) (float64, error) { return truth(policy(ctx) == nil), nil },
		},
	}
	if redisconn.Secure(c.Redis) {
		all = append(all, telemetry.Fact{
			Metric: "slipway_redis_certificate_left_seconds", Help: "For how long all certificates of the connection to Redis are still good; absent without TLS.",
			Value: func(ctx context.Context) (float64, error) {
				end, err := redisconn.Expiry(ctx, c.Redis)
				return time.Until(end).Seconds(), err
			},
		})
	}
	if c.UnsafeRedis { // as the operator wants it
		return all
	}
	return append(all, telemetry.Fact{
		Metric: "slipway_redis_safe", Help: "1 when Redis neither throws jobs away nor forgets them all at a restart; absent with --allow-unsafe-redis.",
		Value: func(ctx context.Context) (float64, error) {
			found, err := redisconn.CheckSafety(ctx, rdb)
			return truth(len(found.Warnings) == 0), err
		},
	})
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
