package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// rulesFile has the alerts.
func rulesFile() string {
	return filepath.Join("..", "..", "deploy", "prometheus", "slipway.rules.yaml")
}

// exposed are the metrics that a worker shows after one of everything has happened, with
// the labels of each. A histogram has the three names of its series.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	m := telemetry.NewMetrics("v1", []string{"builds"})
	failed := jobs.Result{
		State: jobs.Failed, Failure: jobs.Fail(jobs.KindEngine, nil, "", "no"), Times: []jobs.StageTime{{Stage: jobs.StageRun, Millis: 1}},
	}
	m.Claimed("builds", time.Millisecond)
	m.Slots(1, 2)
	m.Ended(jobs.EndedJob{State: failed.State, Job: &jobs.Job{State: failed.State, Result: &failed}})
	m.Concluded("builds", failed)
	m.GivenUp("builds", failed.Failure)
	m.Lost("h-1", "boiler")
	m.Called(jobs.CallGivenUp)
	m.Stale(1, time.Hour)
	m.Load(jobs.Load{Queues: []jobs.QueueLoad{{Depth: jobs.Depth{Queue: "builds", Waiting: 1}, Blocker: jobs.BlockedBySlots}}}, time.Hour)
	checks := conditions{}.checks()
	for i := range checks {
		checks[i].Run = func(context.Context) error { return errors.New("no") }
	}
	m.Watch(checks, func(context.Context) []telemetry.Disk {
		return []telemetry.Disk{{Directory: "state", CountsInodes: true}}
	})
	c := defaults()
	c.Redis = "rediss://127.0.0.1:6379/0"
	known := facts(c, nil, nil)
	for i := range known {
		known[i].Value = func(context.Context) (float64, error) { return 0, nil }
	}
	m.Tell(known)

	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	labels := map[string][]string{}
	for line := range strings.Lines(answer.Body.String()) {
		if s := sample.FindStringSubmatch(line); s != nil {
			labels[s[1]] = labelNames(s[2])
		}
	}
	return labels
}

var (
	sample   = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? \S+\n$`)
	label    = regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`)
	selector = regexp.MustCompile(`([a-z_:0-9]+)\{([^}]*)\}`)
	// series are those of a histogram.
	series = regexp.MustCompile(`_(bucket|sum|count)$`)
	// metric are names of ours, of the Go runtime and of the process.
	metric = regexp.MustCompile(`\b(?:slipway|go|process)_[a-z0-9_]+`)
	// recorded are names that rules make.
	recorded = regexp.MustCompile(`\bslipway:[a-z0-9_:]+`)
	by       = regexp.MustCompile(`\bby \(([^)]*)\)`)
	template = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

func labelNames(selector string) (names []string) {
	for _, m := range label.FindAllStringSubmatch(selector, -1) {
		names = append(names, m[1])
	}
	return names
}

// ofTarget are the labels that Prometheus gives to each series.
func ofTarget() []string { return []string{"job", "instance"} }

// expression is a query, with where it is, and what is said of what comes of it.
type expression struct{ where, query, text string }

// problems holds a query to the metrics: it has some, they exist, and so do their labels.
func problems(e expression, metrics map[string][]string) (found []string) {
	add := func(format string, args ...any) { found = append(found, e.where+": "+fmt.Sprintf(format, args...)) }
	names := append(metric.FindAllString(e.query, -1), recorded.FindAllString(e.query, -1)...)
	if len(names) == 0 {
		add("no metric in %s", e.query)
	}
	known := ofTarget()
	for _, name := range names {
		labels, ok := metrics[name]
		if !ok {
			add("no worker has the metric %s", name)
		}
		known = append(known, labels...)
	}
	for _, s := range selector.FindAllStringSubmatch(e.query, -1) {
		for _, name := range labelNames(s[2]) {
			if !slices.Contains(metrics[s[1]], name) && !slices.Contains(ofTarget(), name) {
				add("%s has no label %s", s[1], name)
			}
		}
	}
	left := known // the labels of what comes of the query
	if groups := by.FindAllStringSubmatch(e.query, -1); len(groups) > 0 {
		left = nil
		for _, g := range groups {
			left = append(left, strings.FieldsFunc(g[1], func(r rune) bool { return r == ',' || r == ' ' })...)
		}
	}
	for _, name := range left {
		if name != "le" && !slices.Contains(known, name) {
			add("no metric in it has the label %s", name)
		}
	}
	for _, m := range template.FindAllStringSubmatch(e.text, -1) {
		if !slices.Contains(left, m[1]) {
			add("what comes of the query has no label %s, which %q uses", m[1], e.text)
		}
	}
	return found
}

// rule is one of the file.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

type ruleGroups struct {
	Groups []struct{ Rules []rule }
}

func readRules(t *testing.T) (file ruleGroups) {
	t.Helper()
	text, err := os.ReadFile(rulesFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// alertRules are the alerts by their names.
func alertRules(t *testing.T) map[string]rule {
	t.Helper()
	all := map[string]rule{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all[r.Alert] = r
			}
		}
	}
	return all
}

// rules are the expressions of the alerting rules, and the names that the rules record with
// the labels of what they are made of.
func rules(t *testing.T, metrics map[string][]string) (all []expression, made map[string][]string) {
	t.Helper()
	file := readRules(t)
	made = map[string][]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, expression{"the rule " + r.Record + r.Alert, r.Expr, r.Annotations["summary"] + r.Annotations["description"]})
			if r.Record != "" {
				made[r.Record] = metrics[metric.FindString(r.Expr)]
				continue
			}
			if !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("the rule %s: %v, %v; want a severity, a summary and a description", r.Alert, r.Labels, r.Annotations)
			}
		}
	}
	return all, made
}

// The rules ask for metrics and labels that workers have: a renamed one fails here.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	metrics := exposed(t)
	alerts, made := rules(t, metrics)
	if len(alerts) < 10 || len(made) == 0 {
		t.Fatalf("%d rules; want those of the file", len(alerts))
	}
	maps.Copy(metrics, made)
	for _, e := range alerts {
		for _, problem := range problems(e, metrics) {
			t.Error(problem)
		}
	}
}

// The documentation explains each metric of the farm, and no other.
func TestMetricsInDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `slipway_.*?\\|").FindAllString(string(page), -1) {
		for _, name := range metric.FindAllString(row, -1) {
			explained[name] = true
		}
	}
	have := map[string]bool{}
	for name := range exposed(t) {
		if strings.HasPrefix(name, "slipway_") {
			have[series.ReplaceAllString(name, "")] = true
		}
	}
	if !maps.Equal(explained, have) {
		t.Errorf("docs/operating.md explains\n%q, and workers have\n%q", slices.Sorted(maps.Keys(explained)), slices.Sorted(maps.Keys(have)))
	}
}

// The check finds what it is there for.
func TestMonitoringFinds(t *testing.T) {
	t.Parallel()
	metrics := map[string][]string{"slipway_jobs_total": {"queue", "kind"}, "slipway:jobs": {"queue"}}
	for query, found := range map[string]int{
		`slipway_jobs_total`:                              0,
		`sum by (queue) (slipway:jobs{queue="x"}) > 0`:    0,
		`sum by (job, kind) (slipway_jobs_total{job=""})`: 0,
		`slipway_job_total`:                               1,
		`slipway:job > 0`:                                 1,
		`slipway_jobs_total{fault="infra"}`:               1,
		`sum by (fault) (slipway_jobs_total)`:             1,
		`vector(1)`:                                       1,
	} {
		if got := problems(expression{"a query", query, ""}, metrics); len(got) != found {
			t.Errorf("%s: found %q, want %d", query, got, found)
		}
	}
	if got := problems(expression{"a query", `sum by (queue) (slipway_jobs_total)`, "{{queue}} {{ $labels.kind }}"}, metrics); len(got) != 1 {
		t.Errorf("found %q, want the label that the sum has taken away", got)
	}
}
