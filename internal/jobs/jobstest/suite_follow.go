package jobstest

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func followTests() []subtest {
	return []subtest{
		{"follow events", testFollowEvents},
		{"follow the log", testFollowLog},
		{"follow the log of two attempts", testFollowAttempts},
		{"follow waits for news", testFollowWaits},
		{"follow gives up after its wait", testFollowTimeout},
		{"follow ends with its context", testFollowContext},
	}
}

func (f *farm) follow(id string, after jobs.Cursor, wait time.Duration) jobs.News {
	f.t.Helper()
	news, err := f.Records.Follow(f.ctx, id, after, wait)
	if err != nil {
		f.t.Fatalf("Follow(%s, %+v): %v", id, after, err)
	}
	return news
}

func testFollowEvents(f *farm) {
	id := f.create(spec("app"))[0]
	var seen []jobs.Event
	var cur jobs.Cursor
	look := func(want ...jobs.EventType) {
		f.t.Helper()
		news := f.follow(id, cur, 0)
		var got []jobs.EventType
		for _, e := range news.Events {
			got = append(got, e.Type)
			if e.ID == "" || e.At.IsZero() {
				f.t.Errorf("event %+v has no ID or no time", e)
			}
		}
		if !slices.Equal(got, want) {
			f.t.Errorf("events after %+v: got %v; want %v", cur, got, want)
		}
		seen, cur = append(seen, news.Events...), news.Next
	}
	look(jobs.EventSubmitted)
	look()
	j := f.claim(id)
	if err := f.Claims.Note(f.ctx, id, j.Nonce, jobs.Progress{Stage: jobs.StageRun}); err != nil {
		f.t.Fatal(err)
	}
	look(jobs.EventClaimed, jobs.EventStage)
	f.finish(j, done())
	look(jobs.EventFinished)
	look()
	// A reader that comes late sees the same.
	f.same("events from the start", f.follow(id, jobs.Cursor{}, time.Minute).Events, seen)
}

// frames encodes one frame of text.
func frames(text string) []byte {
	return jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.UnixMilli(1), Data: []byte(text)})
}

// appendLog adds text to the job's log at offset and returns where it ends.
func (f *farm) appendLog(j jobs.Job, offset int64, text string) int64 {
	f.t.Helper()
	data := frames(text)
	if err := f.Claims.AppendLog(f.ctx, j.ID, j.Nonce, jobs.LogChunk{Attempt: j.Attempt, Offset: offset, Data: data}); err != nil {
		f.t.Fatalf("AppendLog(%s): %v", j.ID, err)
	}
	return offset + int64(len(data))
}

// wantLog reads the attempt's log out of chunks and checks their offsets.
func (f *farm) wantLog(chunks []jobs.LogChunk, attempt int, offset int64, want string) {
	f.t.Helper()
	var got []byte
	for _, c := range chunks {
		if c.Attempt != attempt {
			continue
		}
		if c.Offset != offset+int64(len(got)) {
			f.t.Errorf("log of attempt %d: a chunk at %d; want it at %d", attempt, c.Offset, offset+int64(len(got)))
		}
		got = append(got, c.Data...)
	}
	if string(got) != want {
		f.t.Errorf("log of attempt %d: got %q; want %q", attempt, got, want)
	}
}

func testFollowLog(f *farm) {
	j := f.running()
	end := f.appendLog(j, 0, "one\r\xff\x00")
	end = f.appendLog(j, end, "")
	first := f.follow(j.ID, jobs.Cursor{}, 0)
	f.wantLog(first.Log, 1, 0, string(frames("one\r\xff\x00"))+string(frames("")))
	if news := f.follow(j.ID, first.Next, 0); len(news.Log) != 0 {
		f.t.Errorf("got log %+v after the cursor; want none", news.Log)
	}
	f.appendLog(j, end, "two")
	f.wantLog(f.follow(j.ID, first.Next, 0).Log, 1, end, string(frames("two")))
}

func testFollowAttempts(f *farm) {
	j := f.running()
	f.appendLog(j, 0, "first")
	f.release(j, jobs.Release{})
	f.appendLog(f.claim(j.ID), 0, "second")
	news := f.follow(j.ID, jobs.Cursor{}, 0)
	f.wantLog(news.Log, 1, 0, string(frames("first")))
	f.wantLog(news.Log, 2, 0, string(frames("second")))
}

func testFollowWaits(f *farm) {
	j := f.running()
	cur := f.follow(j.ID, jobs.Cursor{}, 0).Next
	for _, tt := range []struct {
		name string
		do   func()
		ok   func(jobs.News) bool
	}{
		{"log", func() { f.appendLog(j, 0, "x") }, func(n jobs.News) bool { return len(n.Log) == 1 }},
		{"event", func() { f.finish(j, done()) }, func(n jobs.News) bool { return len(n.Events) == 1 }},
	} {
		type answer struct {
			news jobs.News
			err  error
		}
		got := make(chan answer, 1)
		go func() {
			news, err := f.Records.Follow(f.ctx, j.ID, cur, 2*patience)
			got <- answer{news, err}
		}()
		select {
		case a := <-got:
			f.t.Fatalf("%s: Follow returned %+v, %v before there was news", tt.name, a.news, a.err)
		case <-time.After(50 * time.Millisecond):
		}
		tt.do()
		select {
		case a := <-got:
			if a.err != nil || !tt.ok(a.news) {
				f.t.Fatalf("%s: Follow = %+v, %v", tt.name, a.news, a.err)
			}
			cur = a.news.Next
		case <-time.After(patience):
			f.t.Fatalf("%s: Follow did not return although there is news", tt.name)
		}
	}
}

func testFollowTimeout(f *farm) {
	id := f.create(spec("app"))[0]
	cur := f.follow(id, jobs.Cursor{}, 0).Next
	const wait = 300 * time.Millisecond
	start := time.Now()
	news := f.follow(id, cur, wait)
	if d := time.Since(start); d < wait/2 || d > patience {
		f.t.Errorf("Follow with a wait of %s came back after %s", wait, d)
	}
	if len(news.Events)+len(news.Log) != 0 {
		f.t.Errorf("got news %+v; want none", news)
	}
	f.claim(id)
	if got := f.follow(id, news.Next, 0).Events; len(got) != 1 || got[0].Type != jobs.EventClaimed {
		f.t.Errorf("after an empty answer: got %+v; want the claim", got)
	}
}

func testFollowContext(f *farm) {
	id := f.create(spec("app"))[0]
	cur := f.follow(id, jobs.Cursor{}, 0).Next
	ctx, cancel := context.WithTimeout(f.ctx, 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := f.Records.Follow(ctx, id, cur, 2*patience); err == nil || time.Since(start) > patience {
		f.t.Errorf("Follow with an ended context: error %v after %s; want an error soon", err, time.Since(start))
	}
}
