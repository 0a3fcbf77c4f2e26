package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var (
	_ jobs.HookCalls = (*DB)(nil)
	_ jobs.DueCalls  = (*DB)(nil)
)

// AddCalls implements jobs.HookCalls.
func (db *DB) AddCalls(ctx context.Context, calls ...jobs.HookCall) (refused int, err error) {
	_, refused, err = db.addCalls(ctx, "", "", jobs.EndedPage{}, calls)
	return refused, err
}

// EndedCalls implements jobs.DueCalls.
func (db *DB) EndedCalls(ctx context.Context, reader, nonce string, p jobs.EndedPage, calls ...jobs.HookCall) (mine bool, refused int, err error) {
	return db.addCalls(ctx, reader, nonce, p, calls)
}

func (db *DB) addCalls(ctx context.Context, reader, nonce string, p jobs.EndedPage, calls []jobs.HookCall) (mine bool, refused int, err error) {
	now, err := db.Now(ctx)
	if err != nil {
		return false, 0, err
	}
	keys, place := callKeys(), map[string]int{} // of the due key of each endpoint
	args := []any{reader, p.From, p.To, p.Mark, now.UnixMicro(), jobs.CallsWaiting, jobs.CallsKept, now.Add(-jobs.CallLogAge).UnixMicro()}
	for _, c := range calls {
		e := c.Endpoint()
		if place[e] == 0 {
			keys = append(keys, hookDueKey(e))
			place[e] = len(keys)
		}
		c.State, c.Made = jobs.CallDue, now
		raw, err := json.Marshal(c)
		if err != nil {
			return false, 0, fmt.Errorf("encode the call %s: %w", c.ID, err)
		}
		args = append(args, place[e], e, c.ID, c.Line(), raw)
	}
	keys = append(keys, movedKey(reader, nonce), endedKey)
	n, err := db.scripts.addCalls.Run(ctx, db.rdb, keys, args...).Int()
	return n >= 0, max(n, 0), wrapped("add calls of webhooks", err)
}

// callKeys are the keys that change with calls, before those of their endpoints.
func callKeys(endpoints ...string) []string {
	keys := []string{hookCallsKey, hookLinesKey, hookLogKey, hookEndpointsKey, hookFailsKey, cursorsKey}
	for _, e := range endpoints {
		keys = append(keys, hookDueKey(e))
	}
	return keys
}

// DueEndpoints implements jobs.DueCalls.
func (db *DB) DueEndpoints(ctx context.Context, limit int) (due []string, next time.Duration, err error) {
	pipe := db.rdb.Pipeline()
	clock, first := pipe.Time(ctx), pipe.ZRangeWithScores(ctx, hookEndpointsKey, 0, int64(limit)-1)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, 0, fmt.Errorf("look which calls are due: %w", err)
	}
	for _, e := range first.Val() {
		wait := time.Duration(int64(e.Score)-clock.Val().UnixMicro()) * time.Microsecond
		if wait > 0 {
			return due, wait, nil
		}
		name, _ := e.Member.(string)
		due = append(due, name)
	}
	return due, 0, nil
}

// TakeCalls implements jobs.DueCalls.
func (db *DB) TakeCalls(ctx context.Context, endpoint string, n int, lease time.Duration) ([]jobs.HookCall, error) {
	reply, err := db.scripts.takeCalls.Run(ctx, db.rdb, callKeys(endpoint), endpoint, n, lease.Microseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take calls of %s: %w", endpoint, err)
	}
	micros, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("take calls of %s: read the time: %w", endpoint, err)
	}
	now := time.UnixMicro(micros).UTC()
	var calls []jobs.HookCall
	for i := 1; i < len(reply); i += 2 {
		c := decodeCall(reply[i], reply[i+1])
		if c.Endpoint() != endpoint { // it cannot be read, and stays where it is
			continue
		}
		c.Taken, c.Until = now, now.Add(lease)
		calls = append(calls, c)
	}
	return calls, nil
}

// decodeCall reads a call. One that cannot be read says so.
func decodeCall(id, raw string) (c jobs.HookCall) {
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		c = jobs.HookCall{Said: fmt.Sprintf("the call cannot be read: %v", err)}
	}
	c.ID = id
	return c
}

// KeepCall implements jobs.DueCalls.
func (db *DB) KeepCall(ctx context.Context, c jobs.HookCall) (kept bool, givenUp int, err error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return false, 0, fmt.Errorf("encode the call %s: %w", c.ID, err)
	}
	fails := c.Hook
	if c.Test {
		fails = ""
	}
	n, err := db.scripts.keepCall.Run(ctx, db.rdb, callKeys(c.Endpoint()), c.Endpoint(), c.ID, c.Line(), c.Until.UnixMicro(), raw,
		string(c.State), c.Next.UnixMicro(), c.Last.UnixMicro(), fails, jobs.CallsKept, c.Last.Add(-jobs.CallLogAge).UnixMicro()).Int()
	if err != nil {
		return false, 0, fmt.Errorf("keep the call %s: %w", c.ID, err)
	}
	return n >= 0, max(n, 0), nil
}

// Calls implements jobs.HookCalls.
func (db *DB) Calls(ctx context.Context, hook string, limit int) (calls []jobs.HookCall, err error) {
	const page = 100
	for from := int64(0); from < jobs.CallsKept && len(calls) < limit; from += page {
		ids, err := db.rdb.ZRevRange(ctx, hookLogKey, from, from+page-1).Result()
		if err != nil || len(ids) == 0 {
			return calls, wrapped("list calls", err)
		}
		values, err := db.rdb.HMGet(ctx, hookCallsKey, ids...).Result()
		if err != nil {
			return nil, fmt.Errorf("list calls: %w", err)
		}
		for i, v := range values {
			text, ok := v.(string)
			if !ok { // it went meanwhile
				continue
			}
			_, raw, _ := strings.Cut(text, " ")
			if c := decodeCall(ids[i], raw); len(calls) < limit && (hook == "" || c.Hook == hook) {
				calls = append(calls, c)
			}
		}
	}
	return calls, nil
}

// Call implements jobs.HookCalls.
func (db *DB) Call(ctx context.Context, id string) (jobs.HookCall, error) {
	c, _, err := db.call(ctx, id)
	return c, err
}

// call returns a call and how it is kept.
func (db *DB) call(ctx context.Context, id string) (c jobs.HookCall, kept string, err error) {
	kept, err = db.rdb.HGet(ctx, hookCallsKey, id).Result()
	if errors.Is(err, redis.Nil) {
		return c, "", fmt.Errorf("%w: %s", jobs.ErrNoCall, id)
	} else if err != nil {
		return c, "", fmt.Errorf("read the call %s: %w", id, err)
	}
	_, raw, _ := strings.Cut(kept, " ")
	return decodeCall(id, raw), kept, nil
}

// Redeliver implements jobs.HookCalls.
func (db *DB) Redeliver(ctx context.Context, id string) error {
	for {
		c, seen, err := db.call(ctx, id)
		if err != nil {
			return err
		}
		now, err := db.Now(ctx)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(c.Anew(now))
		if err != nil {
			return fmt.Errorf("encode the call %s: %w", id, err)
		}
		reply, err := db.scripts.redeliver.Run(ctx, db.rdb, callKeys(c.Endpoint()), c.Endpoint(), id, c.Line(), seen, raw, now.UnixMicro(),
			jobs.CallsKept, now.Add(-jobs.CallLogAge).UnixMicro()).Text()
		switch {
		case err != nil:
			return fmt.Errorf("make the call %s due again: %w", id, err)
		case reply == replyAgain:
			return fmt.Errorf("%w: %s", jobs.ErrCallDue, id)
		case reply == replyOK:
			return nil
		}
	}
}

// CallTurn implements jobs.DueCalls.
func (db *DB) CallTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	mine, err := db.hold(ctx, callTurnKey, nonce, ttl)
	return mine, wrapped("take the turn to call webhooks", err)
}
