//go:build integration

package pages

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Each page in both themes is as people with all kinds of senses can use it, as far as a
// program can tell, and none is wider than a narrow screen.
func TestLooks(t *testing.T) {
	f := newFarm(t, false, nil)
	ids := f.showcase()
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	b := f.browse("")
	shots := []struct{ name, path, as string }{
		{"login", "/login", ""},
		{"jobs", "/jobs", "admin"},
		{"jobs-none", "/jobs?name=none", "admin"},
		{"failures", "/jobs?view=failures", "admin"},
		{"job-failed", "/jobs/" + ids["failed"], "admin"},
		{"job-succeeded", "/jobs/" + ids["succeeded"] + "?q=answered&m=1020", "admin"},
		{"job-running", "/jobs/" + ids["running"], "admin"},
		{"job-queued", "/jobs/" + ids["queued"], "admin"},
		{"confirm", "/jobs/" + ids["queued"] + "/cancel", "admin"},
		{"hosts", "/hosts", "admin"},
		{"problem", "/jobs/none", "admin"},
	}
	b.expected = []string{"404 (Not Found)"}
	for _, s := range shots {
		if s.as != "" && value[string](b, `document.querySelector('.who span')?.textContent ?? ''`) == "" {
			b.open("/login")
			b.do(chromedp.SendKeys(chromedp.CSS("#token"), f.tokens[s.as]+"\r"))
			b.until("the list of jobs", `location.pathname === '/jobs'`)
		}
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			for _, width := range []int64{1280, 390} {
				b.do(chromedp.EmulateViewport(width, 900))
				b.open(s.path)
				b.until("the page", `document.readyState === 'complete'`)
				if over := value[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("%s is %d wider than %d: %s", s.name, over, width, value[string](b, `[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('.log, .command, table')).slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join('\n')`))
				}
				// What is below the edge of the window is not drawn otherwise.
				b.do(chromedp.EmulateViewport(width, max(900, value[int64](b, `document.documentElement.scrollHeight`))))
				b.shoot(fmt.Sprintf("%s-%s-%d", s.name, theme, width))
			}
			b.do(chromedp.Evaluate[chromedp.Void](string(axe)))
			found := value[[]string](b, `axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + n.html.slice(0, 160) + ' ' + n.failureSummary)))`)
			for _, v := range found {
				t.Errorf("%s in %s: %s", s.name, theme, strings.ReplaceAll(v, "\n", " "))
			}
		}
	}
}
