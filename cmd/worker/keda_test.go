package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/commandline/commandlinetest"
)

// scaler is a document for KEDA, as far as it is held to the worker.
type scaler struct {
	Kind string
	Spec struct {
		Triggers []struct {
			Type     string
			Metadata struct{ Query string }
		}
	}
}

// scalers are the documents by the names of their files.
func scalers(t *testing.T) map[string]scaler {
	t.Helper()
	all := map[string]scaler{}
	for _, name := range []string{"scaledjob.yaml", "scaledobject.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "keda", name))
		if err != nil {
			t.Fatal(err)
		}
		var s scaler
		if err := yaml.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = s
	}
	return all
}

// triggers are what KEDA asks Prometheus.
func triggers(t *testing.T) (all []expression) {
	t.Helper()
	for name, s := range scalers(t) {
		for _, trigger := range s.Spec.Triggers {
			all = append(all, expression{name, trigger.Metadata.Query, ""})
		}
	}
	return all
}

// KEDA asks for metrics and labels that workers have.
func TestScalers(t *testing.T) {
	t.Parallel()
	metrics, asked := exposed(t), triggers(t)
	if len(asked) != 2 {
		t.Fatalf("%d queries; want one of each file", len(asked))
	}
	for _, e := range asked {
		for _, problem := range problems(e, metrics) {
			t.Error(problem)
		}
		if strings.Count(e.query, `job="slipway"`) != len(metric.FindAllString(e.query, -1)) {
			t.Errorf("%s: %s; want each metric of one farm", e.where, e.query)
		}
	}
}

// The workers that KEDA starts end by themselves.
func TestScaledJob(t *testing.T) {
	t.Parallel()
	for _, c := range commandlinetest.Containers(t, "worker", filepath.Join("..", "..", "deploy", "keda", "scaledjob.yaml")) {
		if !slices.ContainsFunc(c.Args, func(arg string) bool { return strings.HasPrefix(arg, "--idle-exit=") }) {
			t.Errorf("%s: %q has no --idle-exit", c.Where, c.Args)
		}
	}
}
