//go:build integration

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// Prometheus takes the rules, and each alert fires when it should.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", rulesFile())
	tests := strings.Replace(rulesFile(), ".rules.yaml", ".rules.test.yaml", 1)
	promtool(t, "test", "rules", tests)
	text, err := os.ReadFile(tests)
	if err != nil {
		t.Fatal(err)
	}
	alerts, _ := rules(t, exposed(t))
	for _, a := range alerts {
		name, isAlert := strings.CutPrefix(a.where, "the rule Slipway")
		if fires := "alertname: Slipway" + name + "\n"; isAlert && !strings.Contains(string(text), fires) {
			t.Errorf("no test has Slipway%s fire", name)
		}
	}
}
