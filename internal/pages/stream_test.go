package pages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// event is one that a server has sent.
type event struct{ name, id, data string }

// stream reads the events of a job, from a place on, until stop is true of one.
func (b *browser) stream(path, last string, stop func(event) bool) []event {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.http.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		b.t.Fatalf("%s: %d %s", path, resp.StatusCode, got)
	}
	var all []event
	var e event
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			b.t.Fatal(err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data += value + "\n"
		case "":
			if e.name != "" {
				if all = append(all, e); stop(e) {
					return all
				}
			}
			e = event{}
		}
	}
}

// A follower that comes again goes on behind what it has, and a line that was open then has
// its beginning.
func TestStream(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	w.write(jobs.Stdout, "one\ntwo\n")
	w.write(jobs.Stdout, "half ")
	w.write(jobs.Stderr, "<err>\n")
	b := f.visit("reader")
	path := "/jobs/" + job.ID + "/live"
	seen := b.stream(path, "", func(e event) bool { return strings.Contains(e.data, "&lt;err&gt;") })
	last := seen[len(seen)-1].id
	if !strings.HasSuffix(last, "~2") {
		t.Errorf("the place is %q: line 3 came while one was open", last)
	}
	w.write(jobs.Stdout, "a line\n")
	w.finish(jobs.Result{State: jobs.Succeeded})
	var text strings.Builder
	for _, e := range b.stream(path, last, func(event) bool { return false }) {
		fmt.Fprintf(&text, "%s\n%s", e.name, e.data)
	}
	for _, want := range []string{`id="L3"`, "&lt;err&gt;", `id="L4"`, "half a line", "over\n{}"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %s", want, text.String())
		}
	}
	if strings.Contains(text.String(), `id="L2"`) || strings.Contains(text.String(), `id="L5"`) {
		t.Errorf("lines that were seen come again: %s", text.String())
	}
	if all := b.stream(path, "", func(event) bool { return false }); all[len(all)-1].name != "over" {
		t.Errorf("a job that has ended: %v", all)
	}
}

// The lines of a log have the same numbers whatever pieces it comes in.
func TestLineNumbers(t *testing.T) {
	t.Parallel()
	text := "one\ntwo \x1b[31mred\n\nthree\r\n" + strings.Repeat("x", longestLine+5) + "\nend"
	read := func(piece int) []string {
		var lines []string
		m := newLineMaker(func(l logLine) { lines = append(lines, fmt.Sprint(l.N, " ", l.plain)) }, func(int) {})
		for rest := text; rest != ""; {
			n := min(piece, len(rest))
			m.take(logEntry{Attempt: 1, Stream: "stdout", Text: rest[:n]})
			rest = rest[n:]
		}
		m.end()
		return lines
	}
	whole := read(len(text))
	if len(whole) != 7 || whole[1] != "2 two red" || whole[6] != "7 end" {
		t.Errorf("lines %.200q", whole)
	}
	for _, piece := range []int{1, 2, 3, 7, 1000} {
		if got := read(piece); strings.Join(got, "\n") != strings.Join(whole, "\n") {
			t.Errorf("in pieces of %d: %.200q", piece, got)
		}
	}
	again := 0
	m := newLineMaker(func(l logLine) {}, func(n int) { again = n })
	m.take(logEntry{Attempt: 1, Stream: "stdout", Text: "open"})
	m.take(logEntry{Attempt: 2, Stream: "note", Text: "a line\n"})
	if again != 2 || m.n != 1 {
		t.Errorf("attempt %d has %d lines", again, m.n)
	}
}
