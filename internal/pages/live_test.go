//go:build integration

package pages

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// cutter cuts the streams of a server off when it is told to.
type cutter struct {
	http.Handler

	mu      sync.Mutex
	streams []context.CancelFunc
	resumed []string // the places from which streams went on
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/live") {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		c.mu.Lock()
		c.streams = append(c.streams, cancel)
		if last := r.Header.Get("Last-Event-ID"); last != "" {
			c.resumed = append(c.resumed, last)
		}
		c.mu.Unlock()
		r = r.WithContext(ctx)
	}
	c.Handler.ServeHTTP(w, r)
}

// cut ends all streams, and returns how many there were.
func (c *cutter) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.streams)
	for _, cancel := range c.streams {
		cancel()
	}
	c.streams = nil
	return n
}

// A page shows its job from the queue to its end without being loaded again, and its log in
// order, each line once, also when the stream is cut off.
func TestLive(t *testing.T) {
	t.Parallel()
	var c cutter
	f := newFarm(t, false, func(h http.Handler) http.Handler { c.Handler = h; return &c })
	job := f.submit(jobs.Spec{Name: "app"})
	b := f.browse("builder")
	b.expected = []string{"ERR_INCOMPLETE_CHUNKED_ENCODING", "htmx:sse:error", "network error"}
	b.open("/jobs/" + job.ID)
	b.do(chromedp.Evaluate[chromedp.Void](`window.loaded = 'once'`))
	b.until("the reason why it waits", `document.querySelector('.sentence').textContent.includes('It waits: no worker is alive')`)
	w := f.claim(job.ID)
	w.stage(jobs.StageRun)
	b.until("the job to run", `document.querySelector('.sentence').textContent.includes('It runs on red, in the stage run')`)
	n := 0
	more := func(lines int) {
		for range lines {
			n++
			w.write(jobs.Stdout, fmt.Sprintf("line %d \x1b[3%dmof many\x1b[0m\n", n, n%8))
		}
		b.until(fmt.Sprintf("line %d", n), fmt.Sprintf(`document.getElementById('L%d')?.textContent.includes('line %d of many')`, n, n))
	}
	more(300)
	if c.cut() == 0 {
		t.Error("nothing is followed")
	}
	more(300)
	w.write(jobs.Stdout, "half a ")
	w.write(jobs.Stderr, "an error\n")
	b.until("a line beside one that has not ended", `document.getElementById('L601')?.textContent.includes('an error')`)
	c.cut()
	w.write(jobs.Stdout, "line\n")
	b.until("the line that was half there", `document.getElementById('L602')?.textContent.endsWith('half a line')`)

	// Following stops when the reader scrolls up, and tells how much has come since.
	b.until("the end of the log", `(() => { const l = document.getElementById('lines'); return l.scrollHeight - l.scrollTop - l.clientHeight < 30 })()`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.getElementById('lines').scrollTop = 100`))
	b.until("following to stop", `document.getElementById('follow').getAttribute('aria-pressed') === 'false'`)
	w.write(jobs.Stdout, "one\ntwo\nthree\n")
	b.until("new lines", `document.getElementById('newlines').textContent === '3 new lines'`)
	if at := value[float64](b, `document.getElementById('lines').scrollTop`); at > 150 {
		t.Errorf("the log went on to %g", at)
	}
	b.click("#newlines")
	b.until("following to go on", `document.getElementById('follow').getAttribute('aria-pressed') === 'true'`)

	w.finish(jobs.Result{State: jobs.Succeeded, Tags: []string{"app:9"}})
	b.until("the end of the job", `document.querySelector('.sentence').textContent.includes('It succeeded in') && document.getElementById('do-retry') && document.getElementById('facts').textContent.includes('app:9')`)
	if n := value[int](b, `document.querySelectorAll('#facts').length + document.querySelectorAll('#top').length`); n != 2 {
		t.Errorf("%d parts of the page", n)
	}
	if value[string](b, `window.loaded`) != "once" {
		t.Error("the page was loaded again")
	}
	got := value[[]string](b, `[...document.querySelectorAll('#lines .ln')].map(l => l.id + ' ' + l.querySelector('.tx').textContent)`)
	if len(got) != 605 {
		t.Errorf("the page has %d lines", len(got))
	}
	for i, line := range got {
		if want := fmt.Sprintf("L%d line %d of many", i+1, i+1); i < 600 && line != want {
			t.Fatalf("line %d is %q, want %q", i+1, line, want)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.resumed) < 2 {
		t.Errorf("streams went on at %v", c.resumed)
	}
}

// The list shows what becomes of jobs, but not while jobs are being ticked.
func TestLiveList(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	one := f.submit(jobs.Spec{Name: "one"})
	b := f.browse("builder")
	b.open("/jobs")
	w := f.claim(one.ID)
	b.until("the job to run", `document.querySelector('.jobs').textContent.includes('running')`)
	w.finish(jobs.Result{State: jobs.Succeeded})
	f.submit(jobs.Spec{Name: "two"})
	b.until("its end, and another job", `document.querySelector('.jobs').textContent.includes('succeeded') && document.querySelector('.jobs').textContent.includes('two')`)
	// In a tab that is not seen it does not.
	b.do(chromedp.Evaluate[chromedp.Void](`
		document.addEventListener('htmx:before:request', (e) => { window.paused = e.defaultPrevented });
		Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})`))
	b.until("no refresh", `window.paused === true`)
	b.do(chromedp.Evaluate[chromedp.Void](`delete document.hidden`))
	b.until("refreshing to go on", `window.paused === false`)
	two := value[string](b, `document.querySelector('.jobs input').value`)
	b.click(".jobs input")
	f.submit(jobs.Spec{Name: "three"})
	b.click(`button[value="cancel"]`)
	b.until("what would be done", `document.querySelector('h1').textContent === 'Cancel 1 job'`)
	b.click("button.danger")
	b.until("what was done", `document.querySelector('[role=status]')?.textContent.includes('1 of 1 job')`)
	if job, err := f.svc.Get(t.Context(), two); err != nil || job.Spec.Name != "two" || job.State != jobs.Cancelled {
		t.Errorf("the job %s is %s (%v)", job.Spec.Name, job.State, err)
	}
}

// A reader finds a place in a log, and hands its address on.
func TestLogViewer(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	w := f.claim(job.ID)
	var text strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&text, "line %d%s\n", i+1, map[bool]string{true: " needle"}[i%500 == 10])
	}
	w.write(jobs.Stdout, text.String())
	w.finish(jobs.Result{State: jobs.Succeeded})
	b := f.browse("reader")
	b.open("/jobs/" + job.ID)
	b.press("/")
	b.until("the field to search", `document.activeElement.id === 'search'`)
	b.do(chromedp.SendKeys(chromedp.CSS("#search"), "NEEDLE\r"))
	b.until("the first match", `document.querySelector('#found')?.textContent === 'line 11 needle' && document.querySelector('[role=status]').textContent.includes('match 1 of 5 lines')`)
	for i, n := range []int{511, 1011, 1511} {
		b.press("n")
		b.until(fmt.Sprintf("match %d", i+2), fmt.Sprintf(`document.querySelector('#found')?.textContent === 'line %d needle'`, n))
	}
	b.press("N")
	b.until("the match before", `document.querySelector('#found')?.textContent === 'line 1011 needle'`)
	b.until("the script", `document.documentElement.dataset.keys === 'heard'`)
	b.click("#L1013 .no")
	b.until("an address of a line", `location.hash === '#L1013' && new URLSearchParams(location.search).get('line') === '1013' && document.querySelector('#L1013.chosen')`)
	b.open("/jobs/" + job.ID + "#L40-L42")
	b.until("lines of another page", `document.querySelectorAll('.chosen').length === 3 && document.querySelector('#L41.chosen')`)
	b.press("?")
	b.until("the keys", `document.querySelector('#keys').open`)
}

// Jobs are cancelled and hosts drained by buttons, and a visitor signs out.
func TestButtons(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.host(jobs.Host{Name: "h1", Worker: "red", Slots: 2, State: jobs.HostReady})
	job := f.submit(jobs.Spec{Name: "app"})
	b := f.browse("admin")
	b.press("j")
	b.until("the first job", `document.activeElement.textContent === 'app'`)
	b.do(chromedp.KeyEvent("\r"))
	b.until("its page", `location.pathname === '/jobs/`+job.ID+`'`)
	b.press("x")
	b.until("the question", `document.querySelector('h1').textContent === 'Cancel app?'`)
	b.click("button.danger")
	b.until("its end", `document.querySelector('.sentence')?.textContent.includes('It was cancelled')`)
	b.open("/hosts")
	b.do(chromedp.SendKeys(chromedp.CSS(`[name="reason"]`), "a new disk"))
	b.click(`[aria-label="Drain red"]`)
	b.until("the order", `document.body.textContent.includes('drain by admin: a new disk')`)
	b.click(`[aria-label="Resume red"]`)
	b.until("no order", `!document.body.textContent.includes('a new disk')`)
	b.click(`.theme [value="dark"]`)
	b.until("the dark theme", `document.documentElement.dataset.theme === 'dark' && location.pathname === '/hosts'`)
	if got := value[string](b, `document.cookie`); got != "" {
		t.Errorf("scripts see the cookies %q", got)
	}
	b.click(".who button")
	b.until("the form to sign in", `location.pathname === '/login'`)
	b.open("/jobs")
	b.until("the form to sign in", `location.pathname === '/login'`)
}
