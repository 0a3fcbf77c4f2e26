package main

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/commandline/commandlinetest"
)

// The server in Kubernetes has settings that exist.
func TestServerInKubernetes(t *testing.T) {
	t.Parallel()
	known := commandlinetest.StoreVariables() // and those that the program asks for
	getenv := func(name string) string {
		known = append(known, name)
		return ""
	}
	a := newApp(process{getenv: getenv})
	for _, c := range commandlinetest.Containers(t, "enqueue", filepath.Join("..", "..", "deploy", "kubernetes", "server.yaml")) {
		commandlinetest.Check(t, a.rootCmd(), c.Command)
		for _, name := range c.Env {
			if !slices.Contains(known, name) {
				t.Errorf("%s: enqueue knows no %s", c.Where, name)
			}
		}
		if c.Grace < 30*time.Second {
			t.Errorf("%s: %v to end", c.Where, c.Grace)
		}
	}
}
