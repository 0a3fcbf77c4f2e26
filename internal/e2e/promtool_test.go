//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// dialing connects to addresses in some network.
type dialing func(ctx context.Context, network, address string) (net.Conn, error)

// adminOf asks a worker's admin address for a page; 0 when it does not answer.
func adminOf(dial dialing, address, path string) (code int, body string) {
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(raw)
}

// The metrics of an incident are as before for half an hour, and as after for an hour.
const beforeFor, afterFor = 30, 60

// promSeries is a series of promtool's tests.
type promSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type promSample struct {
	Labels string  `yaml:"labels"`
	Value  float64 `yaml:"value"`
}

type promQuery struct {
	Expr    string       `yaml:"expr"`
	At      string       `yaml:"eval_time"`
	Samples []promSample `yaml:"exp_samples"`
}

var farmSample = regexp.MustCompile(`(?m)^(slipway_[a-z_]+)(?:\{(.*)\})? (\S+)$`)

// samplesOf are the farm's samples in a scrape, by series as Prometheus has them.
func samplesOf(text string) map[string]string {
	all := map[string]string{}
	for _, m := range farmSample.FindAllStringSubmatch(text, -1) {
		labels := `job="slipway",instance="incident:18080"`
		if m[2] != "" {
			labels += "," + m[2]
		}
		all[m[1]+"{"+labels+"}"] = m[3]
	}
	up := "1"
	if text == "" {
		up = "0"
	}
	all[`up{job="slipway",instance="incident:18080"}`] = up
	return all
}

// seriesOf has what was scraped before and after as series.
func seriesOf(before, after string) (all []promSeries) {
	was, is := samplesOf(before), samplesOf(after)
	for series, value := range was {
		then := "stale"
		if now, ok := is[series]; ok {
			then = fmt.Sprintf("%sx%d", plain(now), afterFor-1)
		}
		all = append(all, promSeries{series, fmt.Sprintf("%sx%d %s", plain(value), beforeFor-1, then)})
	}
	for series, value := range is {
		if _, ok := was[series]; !ok {
			all = append(all, promSeries{series, fmt.Sprintf("_x%d %sx%d", beforeFor, plain(value), afterFor-1)})
		}
	}
	slices.SortFunc(all, func(a, b promSeries) int { return strings.Compare(a.Series, b.Series) })
	return all
}

// plain is a number without an exponent, which promtool would take for an expression.
func plain(value string) string {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// fires has Prometheus' rules look at the metrics of an incident: its alerts come after the break and
// not before, and no others come but those that may.
func (s *incident) fires(tt situation, before, after string) {
	s.t.Helper()
	rules, err := filepath.Abs("../../deploy/prometheus/slipway.rules.yaml")
	s.must(err)
	fired := func(within int, more string) string {
		return fmt.Sprintf(`count by (alertname) (count_over_time(ALERTS{alertstate="firing"%s}[%dm]))`, more, within)
	}
	others := fmt.Sprintf(`,alertname!~"%s"`, strings.Join(slices.Concat(tt.also, tt.alerts, []string{"none"}), "|"))
	queries := []promQuery{
		{fired(beforeFor, ""), fmt.Sprintf("%dm", beforeFor-1), nil},
		{fired(afterFor-1, others), fmt.Sprintf("%dm", beforeFor+afterFor-1), nil},
	}
	for _, alert := range tt.alerts {
		want := []promSample{{fmt.Sprintf(`{alertname=%q}`, alert), 1}}
		queries = append(queries, promQuery{`clamp_max(` + fired(afterFor-1, fmt.Sprintf(`,alertname=%q`, alert)) + `, 1)`, fmt.Sprintf("%dm", beforeFor+afterFor-1), want})
	}
	text, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rules}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{"name": tt.name, "interval": "1m", "input_series": seriesOf(before, after), "promql_expr_test": queries}},
	})
	s.must(err)
	file := filepath.Join(s.dir, "situation.test.yaml")
	s.must(os.WriteFile(file, text, 0o600))
	if out, err := exec.CommandContext(s.t.Context(), "promtool", "test", "rules", file).CombinedOutput(); err != nil {
		s.t.Errorf("%s: want the alerts %q: %v\n%s\nafter:\n%s", tt.name, tt.alerts, err, out, strings.Join(farmSample.FindAllString(after, -1), "\n"))
	}
}
