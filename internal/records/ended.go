package records

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// endedMost is about how many ended jobs the stream remembers: more than a farm ends
// while a reader of it is started again, in a few megabytes.
const endedMost = 20_000

// announce adds a job to the stream of ended jobs, unless it is there. The source of
// the script is sent along, since a pipeline cannot send it after NOSCRIPT.
func (db *DB) announce(ctx context.Context, c redis.Scripter, id string, s jobs.State) *redis.Cmd {
	return db.scripts.announce.Eval(ctx, c, []string{endedKey, announcedKey, cursorsKey}, id, string(s), endedMost, rand.Text())
}

// Unread implements jobs.Endings.
func (db *DB) Unread(ctx context.Context, readers ...string) ([]string, error) {
	fields, err := db.rdb.HMGet(ctx, cursorsKey, append([]string{lastEnding, callsLeft}, readers...)...).Result()
	if err != nil {
		return nil, fmt.Errorf("look where the readers of the ended jobs are: %w", err)
	}
	var list []string
	for i, reader := range readers {
		if fields[i+2] != fields[0] || reader == jobs.CallsReader && fields[1] != nil {
			list = append(list, reader)
		}
	}
	return list, nil
}

// Ended implements jobs.Endings.
func (db *DB) Ended(ctx context.Context, reader string, limit int) (jobs.EndedPage, error) {
	var p jobs.EndedPage
	from, err := db.rdb.HGet(ctx, cursorsKey, reader).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return p, fmt.Errorf("look where %s is in the ended jobs: %w", reader, err)
	}
	p.From, p.To = from, from // a new reader begins with the oldest
	entries, err := db.rdb.XRangeN(ctx, endedKey, fmt.Sprintf("%d-0", p.From+1), "+", int64(limit)).Result()
	if err != nil || len(entries) == 0 {
		return p, wrapped("read the ended jobs", err)
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i], _ = e.Values["id"].(string)
	}
	found, err := db.GetAll(ctx, ids)
	if err != nil {
		return p, err
	}
	records := make(map[string]*jobs.Job, len(found))
	for i := range found {
		records[found[i].ID] = &found[i]
	}
	for i, e := range entries {
		number, _, _ := strings.Cut(e.ID, "-")
		p.To, _ = strconv.ParseInt(number, 10, 64)
		if i == 0 {
			p.Missed = p.To - p.From - 1
		}
		p.Mark, _ = e.Values["mark"].(string)
		state, _ := e.Values["state"].(string)
		p.Jobs = append(p.Jobs, jobs.EndedJob{ID: ids[i], State: jobs.State(state), Job: records[ids[i]]})
	}
	return p, nil
}

// Acknowledge implements jobs.Endings.
func (db *DB) Acknowledge(ctx context.Context, reader, nonce string, p jobs.EndedPage) (bool, error) {
	ok, err := db.scripts.acknowledge.Run(ctx, db.rdb, []string{cursorsKey, movedKey(reader, nonce), endedKey}, reader, p.From, p.To, p.Mark).Bool()
	return ok, wrapped("move "+reader+" on in the ended jobs", err)
}
