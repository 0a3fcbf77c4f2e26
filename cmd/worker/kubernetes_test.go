package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/commandline/commandlinetest"
)

// Workers in Kubernetes have settings that exist, and more time to end than they take to drain.
func TestWorkersInKubernetes(t *testing.T) {
	t.Parallel()
	deploy := filepath.Join("..", "..", "deploy")
	files, err := filepath.Glob(filepath.Join(deploy, "k*", "*.yaml")) // kubernetes, and KEDA's
	if err != nil {
		t.Fatal(err)
	}
	containers := commandlinetest.Containers(t, "worker", files...)
	if len(containers) != 3 {
		t.Errorf("%d kinds of workers; want those on nodes, those with a daemon of their own, and KEDA's", len(containers))
	}
	for _, c := range containers {
		root := rootCommand(commandline.Environment{}, t.Context())
		commandlinetest.Check(t, root, c.Command)
		if drain, err := root.Flags().GetDuration("drain"); err != nil || c.Grace <= drain {
			t.Errorf("%s: %v to end, and --drain is %v, %v", c.Where, c.Grace, drain, err)
		}
		for _, name := range c.Env {
			flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "SLIPWAY_"), "_", "-"))
			if root.Flags().Lookup(flag) == nil && !slices.Contains(commandlinetest.StoreVariables(), name) {
				t.Errorf("%s: the worker knows no %s", c.Where, name)
			}
		}
	}
}
