package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/safetext"
)

// hostile are texts that act on what shows or splits them, unless each representation of a log
// takes care.
func hostile() map[string]string {
	return map[string]string{
		"markup":        `</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;]]>`,
		"title":         "a\x1b]0;title\x07b\x1b]2;title\x1b\\c",
		"hyperlink":     "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
		"clipboard":     "\x1b]52;c;cm0gLXJmIC8K\x07",
		"cursor":        "\x1b[2J\x1b[1;1H\x1b[?1049h\x1b[6n\x1bc",
		"colour":        "\x1b[31mred\x1b[0m",
		"C1 bytes":      "\x9b31mred\x9d0;title\x9c\x90q\x9c",
		"C1 characters": "\u009b31mred\u009d0;title\u009c\u0085",
		"bidi":          "\u202egpj.exe\u202c\u2066x\u2069\u200f\u061c",
		"hidden":        "a\u200b\u00ad\ufeff\U000e0041",
		"NUL":           "a\x00b",
		"no UTF-8":      "a\xff\xfe\xc3(\xed\xa0\x80b",
		"overwriting":   "error: it failed\rok   : it went well\x08\x08\x7f",
		"event":         "x\n\ndata: {}\n\nevent: done\ndata: {}\n\nid: 9:9\nretry: 1\n",
		"event by CR":   "x\r\rdata: {}\r\revent: done\r\n\r\nid: 9:9\r",
		"separators":    "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg",
		"JSON":          `"}` + "\n" + `{"stream":"note","text":"x"}` + "\\u0000\\",
	}
}

// harmless fails the test when text has what acts on a terminal or turns around other text.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && safetext.Visible(r) != r {
			t.Errorf("%s has %q: %q", what, r, text)
			return
		}
	}
}

// content is what an entry says, byte for byte.
func (e entry) content(t *testing.T) string {
	t.Helper()
	if e.Base64 == "" {
		return e.Text
	}
	raw, err := base64.StdEncoding.DecodeString(e.Base64)
	if err != nil || e.Text != "" {
		t.Errorf("the entry %+v: %v", e, err)
	}
	return string(raw)
}

// lineEnd is where readers split text that do not only split at newlines: server-sent events end
// lines at a carriage return, too, and Python's splitlines at what else there is.
var lineEnd = regexp.MustCompile("\r\n|[\n\r\v\f\x1c-\x1e\u0085\u2028\u2029]")

// A log with whatever acts on browsers, terminals and readers of streams is in each
// representation what the container wrote, in one line or event for each piece.
func TestHostileLog(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := *f
			f.t = t
			w := f.claim(f.submit("submitter").ID)
			status, err := json.Marshal(map[string]any{
				"vertexes": []any{map[string]any{"digest": "sha256:a", "name": text, "started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z", "error": text}},
				"logs":     []any{map[string]any{"vertex": "sha256:a", "data": []byte(text + "\n"), "timestamp": "2026-01-01T00:00:00Z"}},
				"warnings": []any{map[string]any{"short": []byte(text)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.write(jobs.BuildStatus, string(status))
			w.write(jobs.Stdout, text)
			w.write(jobs.Stderr, text)
			w.write(jobs.Note, text+"\n")
			path := "/v1/jobs/" + w.job.ID
			check := func(when string) {
				t.Helper()
				get := func(query, media string) string {
					t.Helper()
					r := f.send(request{method: "GET", path: path + "/logs" + query, as: "reader"}).want(t, http.StatusOK)
					if r.Header.Get("Content-Type") != media || r.Header.Get("X-Content-Type-Options") != "nosniff" {
						t.Errorf("%s%s is sent with %v", when, query, r.Header)
					}
					return string(r.body)
				}
				lines := lineEnd.Split(strings.TrimSuffix(get("?format=jsonl", "application/jsonl"), "\n"), -1)
				if len(lines) != 4 {
					t.Fatalf("%s: 4 entries are %d lines: %q", when, len(lines), lines)
				}
				var all string // what the text has to be
				for i, line := range lines {
					harmless(t, when+" a JSON line", line)
					var e entry
					if err := json.Unmarshal([]byte(line), &e); err != nil {
						t.Fatalf("%s: %q: %v", when, line, err)
					}
					want := []string{"", text, text, text + "\n"}[i]
					if got := e.content(t); e.Stream != []string{"build", "stdout", "stderr", "note"}[i] || i > 0 && got != want {
						t.Errorf("%s: entry %d is %s %q, want %q", when, i, e.Stream, got, want)
					}
					if e.Stream == "note" && !strings.HasSuffix(all, "\n") {
						all += "\n"
					}
					all += e.content(t)
				}
				if got := get("", "text/plain; charset=utf-8"); got != all {
					t.Errorf("%s: as text %q, want %q", when, got, all)
				}
			}
			check("while it runs")
			fail := &jobs.Failure{Stage: jobs.StageRun, Kind: jobs.KindExitNonzero, Message: text, Cause: text, Hint: text, Tail: []string{text, text}}
			w.finish(jobs.Result{State: jobs.Failed, Worker: text, Host: "h1", Failure: fail})
			check("after its end")

			// Events end at empty lines, and lines at a carriage return, too.
			r := f.send(request{method: "GET", path: path + "/logs?format=sse", as: "reader"}).want(t, http.StatusOK)
			if r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("events are sent with %v", r.Header)
			}
			harmless(t, "the events", string(r.body))
			var got []string
			for i, block := range strings.Split(strings.TrimSuffix(strings.Join(lineEnd.Split(string(r.body), -1), "\n"), "\n\n"), "\n\n") {
				event, rest, _ := strings.Cut(block, "\n")
				switch name := strings.TrimPrefix(event, "event: "); {
				case i == 0 && strings.HasPrefix(block, "retry: "):
				case name == "log":
					id, data, _ := strings.Cut(rest, "\n")
					var e entry
					if err := json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &e); err != nil || "id: "+e.Place != id {
						t.Errorf("the event %q: %v", block, err)
					}
					got = append(got, e.content(t))
				case name == "done":
					var job jobs.Job
					if err := json.Unmarshal([]byte(strings.TrimPrefix(rest, "data: ")), &job); err != nil || job.ID != w.job.ID {
						t.Errorf("the event %q: %v", block, err)
					}
					got = append(got, "done")
				default:
					t.Errorf("an event of the log's own: %q", block)
				}
			}
			if len(got) != 5 || got[1] != text || got[2] != text || got[3] != text+"\n" || got[4] != "done" {
				t.Errorf("the events are %q", got)
			}
		})
	}
}

// What else is told of a job is text that acts on nothing, whatever the job, its worker or the
// request say.
func TestHostileWords(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := *f
			f.t = t
			get := func(path, accept string, status int) reply {
				t.Helper()
				r := f.send(request{method: "GET", path: path, as: "reader", header: http.Header{"Accept": {accept}}}).want(t, status)
				harmless(t, path, string(r.body))
				media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
				if r.Header.Get("X-Content-Type-Options") != "nosniff" || media != "text/plain" && media != "application/json" && media != problemMedia {
					t.Errorf("%s is sent with %v", path, r.Header)
				}
				return r
			}
			told := func(what string, all ...string) { // decoded
				t.Helper()
				for _, s := range all {
					harmless(t, what, s)
				}
			}
			job := f.submit("submitter")
			path := "/v1/jobs/" + job.ID
			if err := f.db.Beat(t.Context(), jobs.Host{Name: "host " + name, Worker: text, Slots: 1, State: jobs.HostUnfit, Reason: text, Every: jobs.Duration(1e12)}); err != nil {
				t.Fatal(err)
			}
			get(path+"/why", "", http.StatusOK)
			get("/v1/hosts", "", http.StatusOK)
			w := f.claim(job.ID)
			fail := jobs.Fail(jobs.KindExitNonzero, nil, "hint", "it said: %s", text).Said(text)
			fail.Tail = []string{text}
			told("a failure", fail.Message, fail.Cause)
			fail.Hint = text
			w.finish(jobs.Result{State: jobs.Failed, Worker: text, Host: "h1", Failure: fail})
			get(path, "", http.StatusOK)
			get(path+"/events", "", http.StatusOK)
			get(path+"/why", "", http.StatusOK)
			get(path+"/steps", "", http.StatusOK)
			get(path+"/failure", "text/plain", http.StatusOK)
			sum := into[summary](t, get(path+"/failure", "application/json", http.StatusOK))
			told("the summary", append(sum.Tail, sum.Name, sum.Message, sum.Cause, sum.Hint, sum.Worker)...)

			for _, path := range []string{
				"/v1/jobs?state=" + url.QueryEscape(text), "/v1/jobs?" + url.QueryEscape(text) + "=x", path + "/logs?after=" + url.QueryEscape(text),
			} {
				p := get(path, "", http.StatusBadRequest).problem(t, "parameter_invalid")
				told(path, p.Detail, p.Hint)
			}
			for _, path := range []string{"/v1/jobs/" + url.PathEscape(text), "/" + url.PathEscape(text), "/problems/" + url.PathEscape(text)} {
				var p Problem
				if err := json.Unmarshal(get(path, "", http.StatusNotFound).body, &p); err != nil {
					t.Error(err)
				}
				told(path, p.Detail, p.Hint)
			}
			doc, err := json.Marshal(map[string]any{"name": text, text: 1, "run": map[string]any{"image": text}, "labels": map[string]string{text: text}})
			if err != nil {
				t.Fatal(err)
			}
			r := f.send(request{method: "POST", path: "/v1/jobs", as: "submitter", header: http.Header{"Content-Type": {"application/json"}}, body: strings.NewReader(string(doc))}).want(t, http.StatusBadRequest)
			harmless(t, "the problem", string(r.body))
			p := r.problem(t, string(jobs.KindSpecInvalid))
			told("the problem", p.Detail, p.Hint)
			for _, e := range p.Errors {
				told("a mistake", e.Message)
			}
		})
	}
}
