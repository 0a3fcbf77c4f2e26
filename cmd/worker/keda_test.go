package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/commandline"
)

// scaler is a document for KEDA, as far as it is held to the worker.
type scaler struct {
	Kind string
	Spec struct {
		Triggers []struct {
			Type     string
			Metadata struct{ Query string }
		}
		JobTargetRef struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Args []string
						Env  []struct{ Name string }
					}
				}
			}
		} `yaml:"jobTargetRef"`
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

// The workers that KEDA starts have settings that exist, and end by themselves.
func TestScaledJob(t *testing.T) {
	t.Parallel()
	flags := rootCommand(commandline.Environment{}, context.Background()).Flags()
	found := false
	for _, c := range scalers(t)["scaledjob.yaml"].Spec.JobTargetRef.Template.Spec.Containers {
		for _, arg := range c.Args[1:] {
			name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if err := flags.Set(name, value); err != nil {
				t.Errorf("%s: %v", arg, err)
			}
			found = found || name == "idle-exit"
		}
		for _, v := range c.Env {
			name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v.Name, "SLIPWAY_"), "_", "-"))
			if flags.Lookup(name) == nil {
				t.Errorf("the worker knows no %s", v.Name)
			}
		}
	}
	if !found {
		t.Error("no worker has --idle-exit")
	}
}
