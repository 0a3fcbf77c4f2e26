package pages

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// pageLines is how many lines of a log a page has.
	pageLines = 1000
	// tailLines is how many lines of what failed are shown above.
	tailLines = 20
)

// logAsk is what the address of a page says about the log. Page links are made of it.
type logAsk struct {
	Job     string
	Attempt int
	// Line to show, or the first of the lines up to To; 0 for the end of the log.
	Line, To int
	// Query is searched for, Match counts what it finds from 1.
	Query string
	Match int
}

func readLogAsk(job string, q url.Values) logAsk {
	a := logAsk{Job: job, Query: q.Get("q")}
	first, last, _ := strings.Cut(q.Get("line"), "-")
	a.Line, a.To, a.Match, a.Attempt = number(first), number(last), number(q.Get("m")), number(q.Get("attempt"))
	if a.To < a.Line {
		a.To = a.Line
	}
	if a.Query != "" && a.Match == 0 && a.Line == 0 {
		a.Match = 1
	}
	return a
}

// number is a count in an address, 0 for what is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n
}

// link is the address of a page of the log.
func (a logAsk) link(fragment string) string {
	q := url.Values{}
	if a.Attempt > 0 {
		q.Set("attempt", strconv.Itoa(a.Attempt))
	}
	if a.Query != "" {
		q.Set("q", a.Query)
	}
	if a.Match > 0 {
		q.Set("m", strconv.Itoa(a.Match))
	}
	if a.Line > 0 {
		q.Set("line", strconv.Itoa(a.Line))
	}
	u := url.URL{Path: "/jobs/" + a.Job, RawQuery: q.Encode(), Fragment: fragment}
	return u.String()
}

func (a logAsk) at(line int) string {
	a.Line, a.Match = line, 0
	return a.link("L" + strconv.Itoa(line))
}

func (a logAsk) found(match int) string {
	a.Line, a.Match = 0, match
	return a.link("found")
}

// shownLine is a line as a page has it.
type shownLine struct {
	N            int
	Link, Stream string
	Stamp        string
	HTML         template.HTML
	Found        bool // the match that the page is about
	Chosen       bool
}

// logPage is a page of a log, and what is known of the whole.
type logPage struct {
	Ask     logAsk
	Lines   []shownLine
	Total   int
	Attempt int
	// Matches is how many lines of the whole log have what is searched for.
	Matches int
	// Links to other pages and places, "" for none.
	First, Prev, Next, Last, PrevMatch, NextMatch, FirstError string
	ErrorLine                                                 int
	// Tail is the last output of what failed.
	Tail []shownLine
	// Missing says why there is no log.
	Missing string
	// Live is where more comes from, "" when nothing does.
	Live string
}

// From is the number of the first line of the page.
func (l logPage) From() int {
	if len(l.Lines) == 0 {
		return 0
	}
	return l.Lines[0].N
}

// Until is that of the last one.
func (l logPage) Until() int {
	if len(l.Lines) == 0 {
		return 0
	}
	return l.Lines[len(l.Lines)-1].N
}

// looksWrong finds lines that tell of an error.
var looksWrong = regexp.MustCompile(`(?i)(?:^|[^a-z_])(?:error|fatal|panic|exception|traceback|failed|failure)(?:[^a-z_]|$)`)

// logScan reads a whole log once, and keeps the page that is wanted and no more.
type logScan struct {
	ask       logAsk
	query     string
	want      int // the line that the page has to have, 0 for the last
	page, got []logLine
	total     int
	matches   int
	wrong     int
	// output and builds are the last lines of the container and of each step of the build.
	output, notes []logLine
	builds        map[string][]logLine
	broken        string // the step of the build that failed
}

func (s *logScan) restart(int) {
	*s = logScan{ask: s.ask, query: s.query, want: s.ask.Line, builds: map[string][]logLine{}}
}

func (s *logScan) add(l logLine) {
	s.total++
	if len(s.page) == pageLines {
		s.turn()
	}
	s.page = append(s.page, l)
	if s.query != "" && len(find(l.plain, s.query)) > 0 {
		if s.matches++; s.matches == s.ask.Match {
			s.want = l.N
		}
	}
	if s.wrong == 0 && l.Stream != "note" && looksWrong.MatchString(l.plain) {
		s.wrong = l.N
	}
	s.remember(l)
}

// turn begins another page, and keeps the one that is wanted.
func (s *logScan) turn() {
	if s.holds(s.page) {
		s.got = slices.Clone(s.page)
	}
	s.page = s.page[:0]
}

func (s *logScan) holds(page []logLine) bool {
	return s.want > 0 && len(page) > 0 && page[0].N <= s.want && s.want <= page[len(page)-1].N
}

func (s *logScan) remember(l logLine) {
	switch l.Stream {
	case "stdout", "stderr":
		s.output = keep(s.output, l)
	case "build":
		step, rest, _ := strings.Cut(l.plain, " ")
		s.builds[step] = keep(s.builds[step], l)
		if strings.HasPrefix(rest, "ERROR:") {
			s.broken = step
		}
	default:
		s.notes = keep(s.notes, l)
	}
}

func keep(lines []logLine, l logLine) []logLine {
	if len(lines) == tailLines {
		lines = slices.Delete(lines, 0, 1)
	}
	return append(lines, l)
}

// tail is the last output of what failed at a stage.
func (s *logScan) tail(stage jobs.Stage) []logLine {
	switch {
	case stage == jobs.StageBuild && s.broken != "":
		return s.builds[s.broken]
	case len(s.output) > 0:
		return s.output
	}
	return s.notes
}

// log reads the log of a job for a page of it.
func (p *Pages) log(v *visit, job jobs.Job, ask logAsk) (*logPage, error) {
	s := &logScan{ask: ask, query: fold(ask.Query)}
	s.restart(0)
	m := newLineMaker(s.add, s.restart)
	q := url.Values{"format": {"jsonl"}}
	if ask.Attempt > 0 {
		q.Set("attempt", strconv.Itoa(ask.Attempt))
	}
	page := &logPage{Ask: ask}
	err := v.stream(get("/v1/jobs/"+job.ID+"/logs", q), false, func(r io.Reader) error {
		dec := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
		for {
			var e logEntry
			if err := dec.Decode(&e); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			m.take(e)
		}
	})
	switch {
	case isStatus(err, 410), isStatus(err, 404):
		page.Missing = "The artifact store does not have this log any more."
		if ask.Attempt > 0 {
			page.Missing = "No log of this attempt is kept."
		}
	case err != nil:
		return nil, err
	}
	follows := (!job.State.Terminal() || job.Up()) && (ask.Attempt == 0 || ask.Attempt == job.Attempt)
	if !follows {
		m.end()
	}
	s.fill(page, job)
	if page.Attempt = m.attempt; follows && page.Next == "" {
		page.Live = "/jobs/" + job.ID + "/live?" + url.Values{"after": {m.safe}, "line": {strconv.Itoa(m.safeN)}}.Encode()
	}
	return page, nil
}

// fill makes the page of what was read.
func (s *logScan) fill(page *logPage, job jobs.Job) {
	lines := s.got
	if lines == nil {
		lines = s.page
	}
	ask := s.ask
	for _, l := range lines {
		page.Lines = append(page.Lines, s.show(l))
	}
	page.Total, page.Matches, page.ErrorLine = s.total, s.matches, s.wrong
	if first := page.From(); first > 1 {
		page.First, page.Prev = ask.at(1), ask.at(first-pageLines)
	}
	if last := page.Until(); last < s.total {
		page.Next, page.Last = ask.at(last+1), ask.at(s.total)
	}
	if s.wrong > 0 {
		page.FirstError = ask.at(s.wrong)
	}
	if ask.Match > 1 && ask.Match <= s.matches+1 {
		page.PrevMatch = ask.found(ask.Match - 1)
	}
	if ask.Query != "" && ask.Match < s.matches {
		page.NextMatch = ask.found(ask.Match + 1)
	}
	if r := job.Result; r != nil && r.Failure != nil && ask.Attempt == 0 {
		for _, l := range s.tail(r.Failure.Stage) {
			page.Tail = append(page.Tail, s.show(l))
		}
	}
}

func (s *logScan) show(l logLine) shownLine {
	line := showLine(s.ask, l)
	if s.query != "" {
		line.HTML = markup(l.spans, find(l.plain, s.query))
		line.Found = s.ask.Match > 0 && l.N == s.want
	}
	line.Chosen = s.ask.Line > 0 && s.ask.Line <= l.N && l.N <= s.ask.To
	return line
}

func showLine(ask logAsk, l logLine) shownLine {
	line := shownLine{N: l.N, Link: ask.at(l.N), Stream: l.Stream, HTML: markup(l.spans, nil)}
	if !l.At.IsZero() {
		line.Stamp = l.At.UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	return line
}
