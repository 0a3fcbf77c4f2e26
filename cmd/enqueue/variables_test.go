package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/commandline"
)

// A variable that looks like one of the program is told of, but not those who asked for quiet.
func TestMistypedVariable(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{})
	for _, tt := range []struct {
		args string
		want bool
	}{{"ls", true}, {"ls -q", false}, {"__complete status", false}, {"--version", false}} {
		var out, errs bytes.Buffer
		a := f.app(process{
			getenv: noEnv, environ: commandline.Environment{"SLIPWAY_SERVR=http://x"}, stdin: strings.NewReader(""), stdout: &out, stderr: &errs,
		})
		code := a.run(t.Context(), strings.Fields(tt.args))
		told := strings.Contains(errs.String(), "warning: unknown environment variable SLIPWAY_SERVR: did you mean SLIPWAY_SERVER?\n")
		if code != 0 || told != tt.want {
			t.Errorf("enqueue %s ended with %d and said %q; want 0, and the warning: %t", tt.args, code, errs.String(), tt.want)
		}
	}
}
