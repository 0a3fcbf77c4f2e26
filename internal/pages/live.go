package pages

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// liveBatch is how many lines one event has at most.
const liveBatch = 200

// live answers GET /jobs/{id}/live with server-sent events: lines, whose ID tells where to
// go on; restart, when the lines of another attempt come; state, when the job is in another
// one; and over, when nothing more comes.
func (p *Pages) live(v *visit) error {
	id := v.PathValue("id")
	if !jobs.IsID(id) {
		return notFound("no job has the ID " + jobs.Clip(id))
	}
	after, n := v.URL.Query().Get("after"), number(v.URL.Query().Get("line"))
	if last := v.Request.Header.Get("Last-Event-ID"); last != "" {
		var line string
		after, line, _ = strings.Cut(last, "~")
		n = number(line)
	}
	q := url.Values{"format": {"sse"}}
	if after != "" {
		q.Set("after", after)
	}
	return v.stream(get("/v1/jobs/"+id+"/logs", q), true, func(r io.Reader) error {
		v.sent = true
		h := v.ResponseWriter.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // for nginx
		v.WriteHeader(http.StatusOK)
		f := &follower{pages: p, out: v.ResponseWriter, ask: logAsk{Job: id}}
		f.lines = newLineMaker(func(l logLine) { f.batch = append(f.batch, showLine(f.ask, l)) }, f.restart)
		f.lines.n, f.lines.safe, f.lines.safeN = n, after, n
		if attempt, _, ok := strings.Cut(after, ":"); ok {
			f.lines.attempt = number(attempt)
		}
		return f.follow(bufio.NewReaderSize(r, 64<<10))
	})
}

// follower passes the log of a job on to a browser while it comes.
type follower struct {
	pages *Pages
	out   http.ResponseWriter
	ask   logAsk
	lines *lineMaker
	batch []shownLine
	again bool // the lines of another attempt come
}

func (f *follower) restart(int) { f.batch, f.again = nil, true }

// follow reads the API's events.
func (f *follower) follow(r *bufio.Reader) error {
	var name string
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil // the browser comes again
		}
		if err != nil {
			return fmt.Errorf("follow a job: %w", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			if over, err := f.event(name, value); err != nil || over {
				return err
			}
		case "":
			if value == "ping" {
				if err := f.send("", "", ""); err != nil {
					return err
				}
			}
		}
		if len(f.batch) >= liveBatch || r.Buffered() == 0 {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
}

// event takes one of the API's events, and reports whether it was the last.
func (f *follower) event(name, data string) (over bool, err error) {
	switch name {
	case "log":
		var e logEntry
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		f.lines.take(e)
	case "state":
		return false, errors.Join(f.flush(), f.send("state", "", "{}"))
	case "done":
		f.lines.end()
		return true, errors.Join(f.flush(), f.send("over", "", "{}"))
	}
	return false, nil
}

// flush sends the lines that came.
func (f *follower) flush() error {
	if f.again {
		f.again = false
		if err := f.send("restart", "", "{}"); err != nil {
			return err
		}
	}
	if len(f.batch) == 0 {
		return nil
	}
	var html bytes.Buffer
	if err := f.pages.layout.ExecuteTemplate(&html, "lines", f.batch); err != nil {
		return fmt.Errorf("make lines: %w", err)
	}
	f.batch = nil
	return f.send("lines", f.lines.safe+"~"+strconv.Itoa(f.lines.safeN), html.String())
}

// send sends an event, or a comment when it has no name.
func (f *follower) send(name, id, data string) error {
	var b bytes.Buffer
	switch name {
	case "":
		b.WriteString(": ping\n")
	default:
		fmt.Fprintf(&b, "event: %s\n", name)
		if id != "" {
			fmt.Fprintf(&b, "id: %s\n", id)
		}
		for line := range strings.Lines(data) {
			fmt.Fprintf(&b, "data: %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	b.WriteByte('\n')
	control := http.NewResponseController(f.out)
	_ = control.SetWriteDeadline(time.Now().Add(time.Minute)) // servers of tests need not know deadlines
	if _, err := f.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write to the browser: %w", err)
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("write to the browser: %w", err)
	}
	return nil
}
