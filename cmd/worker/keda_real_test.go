//go:build integration

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// KEDA counts what its workers could take, and only while more of them would help.
func TestScalersCount(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("evaluation_interval: 1m\ntests:\n")
	for _, farm := range []struct {
		blocker string
		want    map[string]int // 0 is no answer
	}{
		{"slots", map[string]int{"scaledjob.yaml": 8, "scaledobject.yaml": 12}},
		{"no_worker", map[string]int{"scaledjob.yaml": 8, "scaledobject.yaml": 12}},
		{"paused", map[string]int{"scaledjob.yaml": 0, "scaledobject.yaml": 4}},
		{"labels", map[string]int{"scaledjob.yaml": 0, "scaledobject.yaml": 4}},
	} {
		text.WriteString("  - interval: 1m\n    input_series:\n")
		series := func(name string, value int) {
			fmt.Fprintf(&text, "      - {series: '%s', values: '%dx9'}\n", name, value)
		}
		for route, n := range map[string]int{"": 5, "4 CPUs 8GiB": 2, "linux/amd64": 1, "gpu=yes": 7, "linux/arm64 4 CPUs": 2, "other": 9} {
			series(fmt.Sprintf(`slipway_queue_waiting{job="slipway",queue="builds",route="%s"}`, route), n)
		}
		series(`slipway_queue_waiting{job="slipway",queue="other",route=""}`, 100)
		series(fmt.Sprintf(`slipway_waiting_jobs{job="slipway",queue="builds",blocker="%s"}`, farm.blocker), 8)
		series(`slipway_slots{job="slipway",state="busy"}`, 4)
		text.WriteString("    promql_expr_test:\n")
		for _, e := range triggers(t) {
			fmt.Fprintf(&text, "      - expr: %q\n        eval_time: 5m\n", e.query)
			if want := farm.want[e.where]; want > 0 {
				fmt.Fprintf(&text, "        exp_samples: [{labels: '{}', value: %d}]\n", want)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "keda.test.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}
