package jobs_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{time.Second, "1s"},
		{10 * time.Second, "10s"},
		{time.Minute, "1m"},
		{10 * time.Minute, "10m"},
		{90 * time.Second, "1m30s"},
		{time.Hour, "1h"},
		{time.Hour + 10*time.Minute, "1h10m"},
		{time.Hour + 10*time.Second, "1h0m10s"},
		{100 * time.Hour, "100h"},
		{-time.Minute, "-1m"},
		{1500 * time.Millisecond, "1.5s"},
		{math.MaxInt64, "2562047h47m16.854775807s"},
		{math.MinInt64, "-2562047h47m16.854775808s"},
	} {
		d := jobs.Duration(tt.d)
		if got := d.String(); got != tt.want {
			t.Errorf("%s: got %q; want %q", tt.d, got, tt.want)
		}
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back jobs.Duration
		if err := json.Unmarshal(raw, &back); err != nil || back != d {
			t.Errorf("%s: read back %s, %v", raw, back, err)
		}
	}
	if got := jobs.Duration(0).Or(time.Hour); got != time.Hour {
		t.Errorf("0 or an hour: got %s", got)
	}
	if got := jobs.Duration(time.Second).Or(time.Hour); got != time.Second {
		t.Errorf("a second or an hour: got %s", got)
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want jobs.Bytes
		text string // what String makes of it
	}{
		{"0", 0, "0B"},
		{"17", 17, "17B"},
		{"17b", 17, "17B"},
		{"1k", 1 << 10, "1KiB"},
		{"1KB", 1 << 10, "1KiB"},
		{"64m", 64 << 20, "64MiB"},
		{"512MiB", 512 << 20, "512MiB"},
		{" 1 GB ", 1 << 30, "1GiB"},
		{"1.5g", 1536 << 20, "1536MiB"},
		{"2TiB", 2 << 40, "2TiB"},
		{"1e3", 1000, "1000B"},
		{"1025", 1025, "1025B"},
	} {
		got, err := jobs.ParseBytes(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
		if s := got.String(); s != tt.text {
			t.Errorf("%d: got %q; want %q", got, s, tt.text)
		}
		if again, err := jobs.ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", got, again, err, got)
		}
	}
	for _, in := range []string{"", "m", "-1", "-1m", "1x", "1 m b", "nan", "inf", "1e400", "8388608t", "9223372036854775808", "0x10", "1,5g"} {
		if got, err := jobs.ParseBytes(in); err == nil {
			t.Errorf("ParseBytes(%q) = %d; want an error", in, got)
		}
	}
	var b jobs.Bytes
	for _, in := range []string{`1.5`, `true`, `[]`, `"x"`, `9223372036854775808`} {
		if err := json.Unmarshal([]byte(in), &b); err == nil {
			t.Errorf("%s: got %d; want an error", in, b)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"command", "entrypoint", "env", "image", "limits", "network", "ports", "queue", "user"}
	for _, tt := range []struct{ in, want string }{
		{"comand", "command"},
		{"commnad", "command"},
		{"COMMAND", "command"},
		{"que", "queue"},
		{"port", "ports"},
		{"envs", "env"},
		{"netwrok", "network"},
		{"privileged", ""},
		{"", ""},
		{"x", ""},
	} {
		if got := jobs.Nearest(tt.in, known); got != tt.want {
			t.Errorf("Nearest(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
	if got := jobs.Nearest("x", nil); got != "" {
		t.Errorf("Nearest of nothing = %q", got)
	}
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "example.com", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "acb", false},
		{"ab*ba", "aba", false},
		{"a**c", "abc", true},
		{"", "", true},
		{"", "a", false},
	} {
		if got := jobs.Wildcard(tt.pattern, tt.s); got != tt.want {
			t.Errorf("Wildcard(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 199)
	for in, want := range map[string]string{
		long + "b":    long + "b",
		long + "bc":   long + "b...",
		long + "é":    long + "...",
		long + "😀":    long + "...",
		"é" + long:    "é" + long[:198] + "...",
		long + "\x80": long + "\x80",
	} {
		if got := jobs.Clip(in); got != want {
			t.Errorf("Clip(%q) = %q, want %q", in, got, want)
		}
	}
}
