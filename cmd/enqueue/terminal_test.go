package main

import (
	"os"
	"strings"
	"testing"

	"github.com/moby/buildkit/util/progress/progressui"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		m[k] = v
	}
	return func(k string) string { return m[k] }
}

func TestColored(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, flag string
		env        func(string) string
		want       bool
	}{
		{"no terminal", "auto", env(), false},
		{"always", "always", env("NO_COLOR=1"), true},
		{"never", "never", env("FORCE_COLOR=1"), false},
		{"NO_COLOR wins over force", "auto", env("NO_COLOR=1", "FORCE_COLOR=1"), false},
		{"FORCE_COLOR", "auto", env("FORCE_COLOR=1"), true},
		{"CLICOLOR_FORCE", "auto", env("CLICOLOR_FORCE=1"), true},
		{"CLICOLOR_FORCE=0", "auto", env("CLICOLOR_FORCE=0"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(process{getenv: tt.env})
			a.color = tt.flag
			if got := a.colored(&buffer{}); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestProgressMode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, flag string
		env        func(string) string
		want       progressui.DisplayMode
		fails      string
	}{
		{name: "no terminal", env: env(), want: progressui.PlainMode},
		{name: "auto", flag: "auto", env: env("SLIPWAY_PROGRESS=rawjson"), want: progressui.PlainMode},
		{name: "ours before BuildKit's", env: env("SLIPWAY_PROGRESS=rawjson", "BUILDKIT_PROGRESS=quiet"), want: progressui.RawJSONMode},
		{name: "BuildKit's", env: env("BUILDKIT_PROGRESS=quiet"), want: progressui.QuietMode},
		{name: "flag first", flag: "plain", env: env("SLIPWAY_PROGRESS=rawjson"), want: progressui.PlainMode},
		{name: "tty without one", flag: "tty", env: env(), want: progressui.PlainMode},
		{name: "the variable is named", env: env("SLIPWAY_PROGRESS=loud"), fails: `SLIPWAY_PROGRESS: unknown display "loud": want auto, tty, plain, rawjson or quiet`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := newApp(process{getenv: tt.env, stderr: &buffer{}}).progressMode(tt.flag, false)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %q, %v; want error %q", got, err, tt.fails)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestStripSGR(t *testing.T) {
	t.Parallel()
	in := "\x1b[2K\x1b[1;34mname\x1b[0m\x1b[3A"
	if got, want := string(stripSGR([]byte(in))), "\x1b[2Kname\x1b[3A"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDefaultStore(t *testing.T) {
	t.Parallel()
	root := os.Geteuid() == 0
	for name, tt := range map[string]struct {
		env        func(string) string
		root, user string
	}{
		"variable": {env("SLIPWAY_STORE=/s"), "/s", "/s"},
		"data":     {env("XDG_DATA_HOME=/x", "HOME=/h"), "/var/lib/slipway/store", "/x/slipway/store"},
		"home":     {env("HOME=/h"), "/var/lib/slipway/store", "/h/.local/share/slipway/store"},
	} {
		want := tt.user
		if root {
			want = tt.root
		}
		if got := newApp(process{getenv: tt.env}).defaultStore(); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
