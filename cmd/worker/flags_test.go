package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// parse runs a command line up to the point where something would be opened.
func parse(t *testing.T, env map[string]string, args ...string) (config, error) {
	t.Helper()
	c := defaults()
	cmd := &cobra.Command{Use: "worker", SilenceUsage: true, SilenceErrors: true}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return prepare(cmd, &c, func(k string) string { return env[k] })
	}
	c.bind(cmd.Flags())
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return c, err
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	t.Parallel()
	env := map[string]string{"SLIPWAY_SLOTS": "7", "SLIPWAY_LOG_LIMIT": "1m", "SLIPWAY_LABEL": "disk=ssd", "SLIPWAY_BUILD_TIMEOUT": "90s"}
	c, err := parse(t, env, "--slots", "3")
	if err != nil {
		t.Fatal(err)
	}
	w := c.Worker
	if w.Slots != 3 || w.LogCap != 1<<20 || w.Labels["disk"] != "ssd" || w.Timeouts.Build.D() != 90*time.Second || w.Timeouts.Run.D() != time.Hour || w.Name == "" {
		t.Errorf("config %+v; want the flag, then the environment, then the default", w)
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"a value", nil, []string{"--slots", "0"}, "want 1 to 1000"},
		{"size", nil, []string{"--log-limit", "lots"}, `"lots" is not a size`},
		{"environment", map[string]string{"SLIPWAY_SLOTS": "many"}, nil, `SLIPWAY_SLOTS="many"`},
		{"unknown flag", nil, []string{"--slot", "1"}, "unknown flag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(t, tt.env, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want it to say %q", err, tt.want)
			}
		})
	}
}
