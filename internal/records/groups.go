package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// enterGroup takes a place for a job in its group, before it is claimed. It returns until
// when the claim has to be written, in microseconds; jobs.ErrGroupFull when the job waits
// now for a place.
func (db *DB) enterGroup(ctx context.Context, id string, c jobs.Concurrency) (int64, error) {
	created, err := db.rdb.HGet(ctx, jobKey(id), "created").Result()
	if errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	} else if err != nil {
		return 0, fmt.Errorf("look when job %s was created: %w", id, err)
	}
	// Before the job waits: the reconciler has to know of the group then.
	if err := db.rdb.HSet(ctx, groupsKey, c.Group, c.Limit).Err(); err != nil {
		return 0, fmt.Errorf("note group %s: %w", c.Group, err)
	}
	until, err := db.scripts.enterGroup.Run(ctx, db.rdb, groupKeys(c.Group), id, created, c.Limit, jobs.GroupHold.Microseconds()).Int64()
	if err != nil {
		return 0, fmt.Errorf("enter group %s with job %s: %w", c.Group, id, err)
	}
	if until == 0 {
		return 0, fmt.Errorf("%w: %s of job %s", jobs.ErrGroupFull, c.Group, id)
	}
	return until, nil
}

// leaveGroup gives up the place of a job that is not claimed after all.
func (db *DB) leaveGroup(ctx context.Context, id, group string, until int64) error {
	state, err := db.rdb.HGet(ctx, jobKey(id), "state").Result()
	if err == nil && jobs.State(state) == jobs.Running { // another worker has it
		return nil
	}
	if err == nil || errors.Is(err, redis.Nil) {
		err = db.scripts.leaveGroup.Run(ctx, db.rdb, []string{membersKey(group)}, id, until).Err()
	}
	return wrapped("leave group "+group, err)
}

// groupOf reads in which group a job is, if any. A document that cannot be read names none.
func (db *DB) groupOf(ctx context.Context, id string) (*jobs.Concurrency, error) {
	raw, err := db.rdb.Get(ctx, specKey(id)).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read document of job %s: %w", id, err)
	}
	var spec jobs.Spec
	if err != nil || json.Unmarshal(raw, &spec) != nil {
		return nil, nil
	}
	return spec.Concurrency, nil
}

// Next implements jobs.Claims.
func (db *DB) Next(ctx context.Context, c jobs.Concurrency) (tickets []jobs.Ticket, err error) {
	for {
		ids, err := db.scripts.callGroup.Run(ctx, db.rdb, groupKeys(c.Group), c.Limit).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("call the next jobs of group %s: %w", c.Group, err)
		}
		gone := 0
		for _, id := range ids {
			t, err := db.Reissue(ctx, id, 0)
			switch {
			case err == nil:
				tickets = append(tickets, t)
			case errors.Is(err, jobs.ErrNotClaimable), errors.Is(err, jobs.ErrNotFound): // cancelled, or expired
				gone++
				if err := db.stopWaiting(ctx, c.Group, id); err != nil {
					return nil, err
				}
			default:
				return nil, err
			}
		}
		if gone == 0 {
			return tickets, nil
		}
	}
}

func (db *DB) stopWaiting(ctx context.Context, group, id string) error {
	pipe := db.rdb.Pipeline()
	pipe.ZRem(ctx, waitingKey(group), id)
	pipe.SRem(ctx, calledKey(group), id)
	_, err := pipe.Exec(ctx)
	return wrapped("take job "+id+" out of the line of group "+group, err)
}

// Group implements jobs.Records.
func (db *DB) Group(ctx context.Context, name string) (jobs.Group, error) {
	pipe := db.rdb.Pipeline()
	members, waiting := pipe.ZRange(ctx, membersKey(name), 0, -1), pipe.ZRange(ctx, waitingKey(name), 0, -1)
	if _, err := pipe.Exec(ctx); err != nil {
		return jobs.Group{}, fmt.Errorf("look at group %s: %w", name, err)
	}
	return jobs.Group{Members: members.Val(), Waiting: waiting.Val()}, nil
}

// groupMargin is how much later than its time a place is given up that no job has: clocks
// of a cluster's servers may differ.
const groupMargin = 10 * time.Second

// TendGroups gives up places that a crash left, calls the jobs that may begin, and returns
// their tickets. waiting are the jobs that wait for a place and need no ticket meanwhile.
func (db *DB) TendGroups(ctx context.Context) (tickets []jobs.Ticket, waiting map[string]bool, err error) {
	groups, err := db.rdb.HGetAll(ctx, groupsKey).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("list groups: %w", err)
	}
	waiting = map[string]bool{}
	for name, text := range groups {
		limit, _ := strconv.Atoi(text)
		if err := db.dropMembers(ctx, name); err != nil {
			return nil, nil, err
		}
		next, err := db.Next(ctx, jobs.Concurrency{Group: name, Limit: limit})
		if err != nil {
			return nil, nil, err
		}
		tickets = append(tickets, next...)
		pipe := db.rdb.Pipeline()
		members, line, called := pipe.ZCard(ctx, membersKey(name)), pipe.ZRange(ctx, waitingKey(name), 0, -1), pipe.SMembersMap(ctx, calledKey(name))
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, nil, fmt.Errorf("look at group %s: %w", name, err)
		}
		for _, id := range line.Val() {
			if _, has := called.Val()[id]; !has {
				waiting[id] = true
			}
		}
		if members.Val() == 0 && len(line.Val()) == 0 {
			if err := db.rdb.HDel(ctx, groupsKey, name).Err(); err != nil {
				return nil, nil, fmt.Errorf("forget group %s: %w", name, err)
			}
		}
	}
	return tickets, waiting, nil
}

// dropMembers gives up the places of jobs that do not run.
func (db *DB) dropMembers(ctx context.Context, group string) error {
	now, err := db.Now(ctx)
	if err != nil {
		return err
	}
	past := &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.Add(-groupMargin).UnixMicro(), 10)}
	found, err := db.rdb.ZRangeByScoreWithScores(ctx, membersKey(group), past).Result()
	if err != nil {
		return fmt.Errorf("look at group %s: %w", group, err)
	}
	for _, z := range found {
		id, _ := z.Member.(string)
		if err := db.leaveGroup(ctx, id, group, int64(z.Score)); err != nil {
			return err
		}
	}
	return nil
}
