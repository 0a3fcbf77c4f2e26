package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// followBatch bounds one answer of Follow, in stream entries per stream.
const followBatch = 64

// Follow implements jobs.Records with one blocking read of both streams.
func (s *Store) Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error) {
	news := jobs.News{Next: after}
	if after == (jobs.Cursor{}) {
		known, err := s.rdb.Exists(ctx, jobKey(id)).Result()
		if err != nil {
			return news, fmt.Errorf("follow job %s: %w", id, err)
		}
		if known == 0 {
			return news, fmt.Errorf("%w: %q", jobs.ErrNotFound, id)
		}
	}
	args := &redis.XReadArgs{
		Streams: []string{eventsKey(id), logKey(id), orStart(after.Event), orStart(after.Log)},
		Count:   followBatch,
		Block:   max(wait, time.Millisecond),
	}
	streams, err := s.xread(ctx, args)
	if err != nil {
		return news, fmt.Errorf("follow job %s: %w", id, err)
	}
	for _, stream := range streams {
		for _, m := range stream.Messages {
			if stream.Stream == eventsKey(id) {
				news.Events = append(news.Events, decodeEvent(m))
				news.Next.Event = m.ID
				continue
			}
			news.Log = append(news.Log, decodeChunk(m))
			news.Next.Log = m.ID
		}
	}
	return news, nil
}

// xread waits on its own goroutine, because go-redis does not end a blocking
// read when ctx does. The read ends by itself after args.Block.
func (s *Store) xread(ctx context.Context, args *redis.XReadArgs) ([]redis.XStream, error) {
	type reply struct {
		streams []redis.XStream
		err     error
	}
	done := make(chan reply, 1)
	go func() {
		streams, err := s.rdb.XRead(ctx, args).Result()
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		done <- reply{streams, err}
	}()
	select {
	case r := <-done:
		return r.streams, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func orStart(id string) string {
	if id == "" {
		return "0"
	}
	return id
}

func decodeEvent(m redis.XMessage) jobs.Event {
	kind, _ := m.Values["t"].(string)
	text, _ := m.Values["x"].(string)
	ms, _, _ := strings.Cut(m.ID, "-")
	n, _ := strconv.ParseInt(ms, 10, 64)
	return jobs.Event{ID: m.ID, At: time.UnixMilli(n).UTC(), Type: jobs.EventType(kind), Text: text}
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
