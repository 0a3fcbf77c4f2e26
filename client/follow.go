package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Entry is a piece of a log.
type Entry struct {
	// Place is where the reader goes on behind this entry, <attempt>:<offset>.
	Place   string    `json:"place"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at,omitzero"`
	// Stream is stdout or stderr of the container, build, note for the farm's own words, or
	// gap for bytes that are missing.
	Stream string `json:"stream"`
	// Text is what came, which need not end with a line. Base64 has it when it is no UTF-8.
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
	// Missing is how many bytes a gap stands for, -1 when that is not known.
	Missing int64 `json:"missing,omitempty"`
}

// Bytes is what came, as it came.
func (e Entry) Bytes() []byte {
	if e.Base64 != "" {
		if raw, err := base64.StdEncoding.DecodeString(e.Base64); err == nil {
			return raw
		}
	}
	return []byte(e.Text)
}

// Follow calls each with every entry of a job's log, in order, and returns the job when it has
// ended, and the service that it keeps. When the connection breaks it connects again and goes
// on behind the last entry, so that none is lost and none comes twice. from is the Place of an
// entry to begin behind, "" for the beginning.
//
// each is called in Follow's own goroutine; a slow one slows the log down, and one that takes
// longer than a minute makes the server cut the connection, which does no harm.
func (c *Client) Follow(ctx context.Context, id, from string, each func(Entry)) (Job, error) {
	f := follower{client: c, id: id, last: from, each: each, tries: c.tries()}
	for {
		done, err := f.connect(ctx)
		if err == nil && done != nil {
			return *done, nil
		}
		if err == nil { // the server ends, or what is between
			err = io.ErrUnexpectedEOF
			if err := sleep(ctx, f.retry, err); err != nil {
				return Job{}, fmt.Errorf("follow job %s: %w", id, err)
			}
		}
		if err := f.tries.failed(ctx, true, err); err != nil {
			return Job{}, fmt.Errorf("follow job %s: %w", id, err)
		}
	}
}

// follower is one call of Follow.
type follower struct {
	client *Client
	id     string
	each   func(Entry)
	// last is the place of the last entry, gap that of the last gap.
	last, gap string
	tries     *tries
	// retry is how long to be away after an end that is no break.
	retry time.Duration
}

// connect reads the log over one connection, until that breaks or the job has ended.
func (f *follower) connect(ctx context.Context) (done *Job, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(f.client.silence, func() { cancel(errSilent) })
	defer silent.Stop()
	r := call{method: http.MethodGet, path: jobPath(f.id, "logs")}.with("Accept", "text/event-stream")
	if f.last != "" {
		r = r.with("Last-Event-ID", f.last)
	}
	resp, err := f.client.send(ctx, r)
	if err != nil {
		return nil, because(ctx, err)
	}
	defer resp.Body.Close()
	stream := &events{r: bufio.NewReader(resp.Body), alive: func() { silent.Reset(f.client.silence) }}
	for {
		e, err := stream.next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, because(ctx, err)
		}
		f.retry = stream.retry
		f.tries.progress()
		silent.Stop() // the time that each takes is not the server's
		if done, err = f.take(e); done != nil || err != nil {
			return done, err
		}
		silent.Reset(f.client.silence)
	}
}

var errSilent = errors.New("the server sends nothing")

// because tells of silence in place of the end that was put to it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// take hands an entry on, or returns the job that has ended.
func (f *follower) take(e event) (done *Job, err error) {
	switch e.name {
	case "log":
		var entry Entry
		if err := json.Unmarshal([]byte(e.data), &entry); err != nil {
			return nil, &unreadable{fmt.Errorf("read an entry of the log: %w", err)}
		}
		// A gap of unknown size ends where it begins, so that it comes again after each break.
		again := entry.Stream == "gap" && entry.Place == f.gap
		if entry.Stream == "gap" {
			f.gap = entry.Place
		}
		if !again {
			f.each(entry)
		}
		f.last = entry.Place
	case "done":
		done = &Job{}
		if err := json.Unmarshal([]byte(e.data), done); err != nil {
			return nil, &unreadable{fmt.Errorf("read the job: %w", err)}
		}
	}
	return done, nil
}
