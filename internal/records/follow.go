package records

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// followBatch bounds one answer of Follow, in chunks of the log.
const followBatch = 64

// Follow implements jobs.Records: it reads what there is, else blocks on the
// streams of events and log, and reads again.
func (db *DB) Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error) {
	seen, err := eventNumber(after.Event)
	if err == nil {
		err = checkLogPlace(after.Log)
	}
	if err != nil {
		return jobs.News{Next: after}, err
	}
	news, err := db.news(ctx, id, after, seen)
	if err != nil || len(news.Events)+len(news.Log) > 0 || wait <= 0 {
		return news, err
	}
	err = db.await(ctx, &redis.XReadArgs{
		Streams: []string{newsKey(id), logKey(id), strconv.Itoa(seen), orStart(after.Log)},
		Count:   1,
		Block:   max(wait, time.Millisecond),
	})
	if err != nil {
		return news, fmt.Errorf("follow job %s: %w", id, err)
	}
	return db.news(ctx, id, after, seen)
}

// news reads the events after number seen and the log after the cursor.
func (db *DB) news(ctx context.Context, id string, after jobs.Cursor, seen int) (jobs.News, error) {
	news := jobs.News{Next: after}
	pipe := db.rdb.Pipeline()
	record := pipe.HGetAll(ctx, jobKey(id))
	log := pipe.XRead(ctx, &redis.XReadArgs{Streams: []string{logKey(id), orStart(after.Log)}, Count: followBatch, Block: -1})
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return news, fmt.Errorf("follow job %s: %w", id, err)
	}
	if len(record.Val()) == 0 {
		return news, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
	}
	news.Events = decodeEvents(record.Val(), seen)
	if n := len(news.Events); n > 0 {
		news.Next.Event = news.Events[n-1].ID
	}
	for _, stream := range log.Val() {
		for _, m := range stream.Messages {
			news.Log = append(news.Log, decodeChunk(m))
			news.Next.Log = m.ID
		}
	}
	return news, nil
}

// await waits on its own goroutine, because go-redis does not end a blocking
// read when ctx does. The read ends by itself after args.Block.
func (db *DB) await(ctx context.Context, args *redis.XReadArgs) error {
	done := make(chan error, 1)
	go func() {
		err := db.rdb.XRead(ctx, args).Err()
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func orStart(id string) string {
	if id == "" {
		return "0"
	}
	return id
}

// decodeEvents returns the events in a record after number seen. An event's ID
// is milliseconds-number.
func decodeEvents(record map[string]string, seen int) []jobs.Event {
	type numbered struct {
		n     int
		event jobs.Event
	}
	var found []numbered
	for field, value := range record {
		number, ok := strings.CutPrefix(field, "e")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n <= seen {
			continue
		}
		at, rest, _ := strings.Cut(value, " ")
		kind, text, _ := strings.Cut(rest, " ")
		ms, _ := strconv.ParseInt(at, 10, 64)
		found = append(found, numbered{n, jobs.Event{
			ID: at + "-" + strconv.Itoa(n), At: time.UnixMilli(ms).UTC(), Type: jobs.EventType(kind), Text: text,
		}})
	}
	slices.SortFunc(found, func(a, b numbered) int { return cmp.Compare(a.n, b.n) })
	var events []jobs.Event
	for _, f := range found {
		events = append(events, f.event)
	}
	return events
}

// eventNumber reads the number out of an event's ID; "" stands for none.
func eventNumber(id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	_, number, _ := strings.Cut(id, "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: cursor %q is not one of ours", jobs.ErrInvalid, id)
	}
	return n, nil
}

// checkLogPlace refuses what is no ID of a stream, "" but for the beginning: Redis would call
// it an error.
func checkLogPlace(id string) error {
	at, number, _ := strings.Cut(id, "-")
	_, err1 := strconv.ParseUint(at, 10, 64)
	_, err2 := strconv.ParseUint(number, 10, 64)
	if id != "" && (err1 != nil || err2 != nil) {
		return fmt.Errorf("%w: cursor %q is not one of ours", jobs.ErrInvalid, jobs.Clip(id))
	}
	return nil
}

func decodeChunk(m redis.XMessage) jobs.LogChunk {
	number := func(k string) int64 {
		v, _ := m.Values[k].(string)
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	data, _ := m.Values["d"].(string)
	return jobs.LogChunk{Attempt: int(number("a")), Offset: number("o"), Data: []byte(data)}
}
