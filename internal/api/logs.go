package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
)

// entry is a piece of a log, as JSON lines and events have it.
type entry struct {
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

// logWriter writes a log in one of the formats.
type logWriter interface {
	// begin is called before anything else.
	begin()
	entry(e entry) error
	// state tells that the job has changed, done that nothing more comes.
	state(job jobs.Job) error
	done(job jobs.Job) error
	// idle is called when nothing has come for a while.
	idle() error
	// flush sends what was kept back until there is more of it.
	flush() error
}

// logs answers GET /v1/jobs/{id}/logs.
func (s *Server) logs(x *exchange) error {
	absent := "text"
	if strings.Contains(x.Request.Header.Get("Accept"), "text/event-stream") {
		absent = "sse"
	}
	format, err := x.word("format", absent, "text", "jsonl", "sse")
	if err != nil {
		return err
	}
	follow, err := x.flag("follow")
	if err != nil {
		return err
	}
	attempt, err := x.number("attempt", 1, 1<<30, 0)
	if err != nil {
		return err
	}
	from, err := x.place("after", x.params.Get("after"))
	if err != nil {
		return err
	}
	if last := x.Request.Header.Get("Last-Event-ID"); last != "" {
		if from, err = x.place("Last-Event-ID", last); err != nil {
			return err
		}
	}
	job, err := s.job(x)
	if err != nil {
		return err
	}
	var w logWriter
	switch format {
	case "sse":
		w, follow = &eventWriter{stream: newStream(x, "text/event-stream")}, true
	case "jsonl":
		w = &lineWriter{stream: newStream(x, "application/jsonl")}
	default:
		w = &textWriter{stream: newStream(x, "text/plain; charset=utf-8")}
	}
	if x.Method == http.MethodHead { // nothing is read, nor followed, for nothing
		w.begin()
		return nil
	}
	if !s.follows.take(x.who.Token) {
		return s.tooManyFollow()
	}
	defer s.follows.give(x.who.Token)
	l := s.reading(job, from, w)
	l.token = x.who.Token
	switch {
	case attempt != 0 && attempt != job.Attempt:
		return l.past(x.Context(), attempt)
	case follow:
		return l.follow(x.Context())
	}
	return l.print(x.Context())
}

// place is a place in a log that the client has.
func (x *exchange) place(name, text string) (logread.Place, error) {
	at, err := logread.ParsePlace(text)
	if err != nil {
		return at, &ParameterError{name, err.Error(), "take the place of the last entry that you have"}
	}
	return at, nil
}

// logReading is one reading of a log. It takes the log from its beginning, because what
// BuildKit says can be read only so, and hands on what is behind from.
type logReading struct {
	server *Server
	token  string // whose reading it is
	job    jobs.Job
	from   logread.Place
	out    logWriter
	reader *logread.Reader
	build  buildlog.Reader
	// err is why the client gets no more.
	err error
}

// reading hands on the log of a job to out, from a place on.
func (s *Server) reading(job jobs.Job, from logread.Place, out logWriter) *logReading {
	l := &logReading{server: s, job: job, from: from, out: out}
	l.reader = &logread.Reader{
		Get:   func(ctx context.Context) (jobs.Job, error) { return s.Jobs.Get(ctx, job.ID) },
		Store: func(context.Context) (*artifacts.Blobs, error) { return s.Blobs, nil },
		Sink:  l,
	}
	return l
}

// past writes what is kept of the log of an earlier attempt.
func (l *logReading) past(ctx context.Context, attempt int) error {
	for _, p := range l.job.Past {
		if p.Attempt != attempt {
			continue
		}
		l.reader.At.Attempt = attempt
		if p.Log.Digest != "" {
			l.out.begin()
			if err := l.reader.FromStore(ctx, p.Log.Digest, -1); err != nil {
				l.Gap(-1, err)
			}
		}
		return l.end(l.job)
	}
	return problem("not_found", "job %s has no attempt %d on record", l.job.ID, attempt).hint("the newest %d are kept", jobs.MaxPast)
}

// print writes the log as it is now.
func (l *logReading) print(ctx context.Context) error {
	var missing error
	if r := l.job.Result; r != nil && r.Log.Digest != "" {
		l.reader.At.Attempt = r.Attempt
		missing = l.reader.FromStore(ctx, r.Log.Digest, -1)
		if missing == nil && l.reader.At.Offset < r.Log.Size {
			missing = fmt.Errorf("the stored log ends after %d of %d bytes", l.reader.At.Offset, r.Log.Size)
		}
		if missing == nil && !l.job.Up() {
			return l.end(l.job)
		}
	}
	found := l.reader.At.Offset > 0
	for cursor := (jobs.Cursor{}); l.err == nil; {
		news, err := l.server.Jobs.Follow(ctx, l.job.ID, cursor, 0)
		if err != nil {
			return err
		}
		if len(news.Log)+len(news.Events) == 0 {
			break
		}
		cursor = news.Next
		for _, c := range news.Log {
			if r := l.job.Result; r == nil || c.Attempt >= r.Attempt {
				found = true
				l.reader.Chunk(ctx, c)
			}
		}
	}
	switch r := l.job.Result; {
	case missing == nil:
	case !found:
		return storeFailed(missing, "the log")
	case l.reader.At.Attempt == r.Attempt && l.reader.At.Offset < r.Log.Size:
		l.Gap(r.Log.Size-l.reader.At.Offset, missing)
	}
	return l.end(l.job)
}

// ping is how long a follower hears nothing at most.
const ping = 15 * time.Second

// follow writes the log until the job has ended, and the service that it keeps.
func (l *logReading) follow(ctx context.Context) error {
	if r := l.job.Result; r != nil && r.Log.Digest != "" && !l.job.Up() {
		return l.print(ctx)
	}
	f, done, err := l.server.feeds.follow(l.job, l.token)
	if err != nil {
		return err
	}
	defer done()
	l.out.begin()
	tick := time.NewTicker(ping)
	defer tick.Stop()
	at, state := place{}, ""
	for l.err == nil {
		look := f.look(at)
		at = look.next
		for _, c := range look.chunks {
			l.reader.Chunk(ctx, c)
		}
		if now := fmt.Sprint(look.job.State, look.job.Stage, look.job.Attempt); now != state && l.err == nil {
			state, l.err = now, l.out.state(look.job)
		}
		if l.err == nil {
			l.err = l.out.flush()
		}
		switch {
		case look.over && look.err == nil:
			l.reader.Rest(ctx, look.job)
			return l.end(look.job)
		case look.err != nil: // the client comes again, for it was not told that the log is done
			return fmt.Errorf("follow job %s: %w", l.job.ID, look.err)
		}
		select {
		case <-look.changed:
		case <-tick.C:
			l.err = errors.Join(l.err, l.out.idle(), l.out.flush())
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (l *logReading) end(job jobs.Job) error {
	if l.err == nil {
		l.out.begin()
		l.err = errors.Join(l.out.done(job), l.out.flush())
	}
	return nil
}

// Attempt implements logread.Sink.
func (l *logReading) Attempt(int) { l.build = buildlog.Reader{} }

// Frame implements logread.Sink.
func (l *logReading) Frame(f jobs.Frame, behind logread.Place) {
	e := entry{Place: behind.String(), Attempt: behind.Attempt, At: f.At.UTC(), Text: string(f.Data)}
	switch f.Stream {
	case jobs.BuildStatus:
		e.Stream, e.Text = "build", l.build.Lines(f.Data)
	case jobs.Stdout:
		e.Stream = "stdout"
	case jobs.Stderr:
		e.Stream = "stderr"
	default:
		e.Stream = "note"
	}
	seen := behind.Attempt < l.from.Attempt || behind.Attempt == l.from.Attempt && behind.Offset <= l.from.Offset
	if l.err != nil || seen || e.Text == "" {
		return
	}
	if !utf8.ValidString(e.Text) {
		e.Base64, e.Text = base64.StdEncoding.EncodeToString([]byte(e.Text)), ""
	}
	l.out.begin()
	l.err = l.out.entry(e)
}

// Gap implements logread.Sink.
func (l *logReading) Gap(n int64, why error) {
	at := l.reader.At
	if n > 0 {
		at.Offset += n
	}
	if l.err != nil || at.Attempt < l.from.Attempt || at.Attempt == l.from.Attempt && n > 0 && at.Offset <= l.from.Offset {
		return
	}
	e := entry{Place: at.String(), Attempt: at.Attempt, Stream: "gap", Missing: n, Text: "a part of the log is missing"}
	switch {
	case n > 0:
		e.Text = fmt.Sprintf("%d bytes of the log are missing", n)
	case why == nil:
		e.Text = "the rest of this log is missing"
	}
	if why != nil {
		l.server.Log.WarnContext(context.Background(), "reading a stored log failed", "job_id", l.job.ID, "err", why)
	}
	l.out.begin()
	l.err = l.out.entry(e)
}

// Unreadable implements logread.Sink.
func (l *logReading) Unreadable(error) { l.Gap(-1, nil) }

// Deferred implements logread.Sink.
func (l *logReading) Deferred() {}
