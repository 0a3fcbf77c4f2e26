package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Order implements jobs.Orders.
func (db *DB) Order(ctx context.Context, host string, o jobs.HostOrder) (jobs.HostOrder, error) {
	now, err := db.Now(ctx)
	if err != nil {
		return jobs.HostOrder{}, err
	}
	o.Since = now
	raw, err := json.Marshal(o)
	if err != nil {
		return jobs.HostOrder{}, fmt.Errorf("encode the order for host %s: %w", host, err)
	}
	if err := db.rdb.HSet(ctx, ordersKey, host, raw).Err(); err != nil {
		return jobs.HostOrder{}, fmt.Errorf("keep the order for host %s: %w", host, err)
	}
	db.hintOrder(ctx, host)
	return o, nil
}

// Resume implements jobs.Orders.
func (db *DB) Resume(ctx context.Context, host string) (bool, error) {
	n, err := db.rdb.HDel(ctx, ordersKey, host).Result()
	if err != nil {
		return false, fmt.Errorf("end the order for host %s: %w", host, err)
	}
	db.hintOrder(ctx, host) // also when a call before was not answered
	return n > 0, nil
}

// hintOrder tells the host's worker to look for its order: a hint only, the hash is what
// counts.
func (db *DB) hintOrder(ctx context.Context, host string) {
	if err := db.rdb.Publish(ctx, cancelChannel, jobs.OrderHint(host)).Err(); err != nil {
		db.log.WarnContext(ctx, "publishing a hint at an order failed; the worker sees the order when it looks", "host", host, "err", err)
	}
}

// OrderOf implements jobs.Orders.
func (db *DB) OrderOf(ctx context.Context, host string) (jobs.HostOrder, error) {
	raw, err := db.rdb.HGet(ctx, ordersKey, host).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return jobs.HostOrder{}, nil
	case err != nil:
		return jobs.HostOrder{}, fmt.Errorf("read the order for host %s: %w", host, err)
	}
	return decodeOrder(raw), nil
}

// AllOrders implements jobs.Orders.
func (db *DB) AllOrders(ctx context.Context) (map[string]jobs.HostOrder, error) {
	all, err := db.rdb.HGetAll(ctx, ordersKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the orders for hosts: %w", err)
	}
	orders := make(map[string]jobs.HostOrder, len(all))
	for host, raw := range all {
		orders[host] = decodeOrder(raw)
	}
	return orders, nil
}

// decodeOrder makes an order of what Redis has. One that cannot be read was given for
// some reason, so the host takes nothing until an operator has looked at it.
func decodeOrder(raw string) jobs.HostOrder {
	var o jobs.HostOrder
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return jobs.HostOrder{Kind: jobs.OrderCordon, Reason: fmt.Sprintf("the order cannot be read: %v", err)}
	}
	if o.Kind == "" {
		return jobs.HostOrder{Kind: jobs.OrderCordon, Reason: "the order does not say what it is"}
	}
	return o
}
