package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Duration is a time.Duration written in JSON as a Go duration string ("90s").
type Duration time.Duration

// D is the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes the shortest form without zero units: 1h, not 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Or is d, or def when d is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON implements json.Unmarshaler; only strings are accepted, and
// null, which changes nothing.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`want a duration in quotes, such as "90s" or "10m"`)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is not a duration; write it as "90s" or "10m"`, Clip(s))
	}
	*d = Duration(v)
	return nil
}

// Bytes is an amount of bytes, written in JSON as a number or as a string with
// a unit: "512MiB", "64m", "1g". All units are powers of 1024, as in docker.
type Bytes int64

// ParseBytes reads an amount with an optional unit (b, k, m, g, t, each also
// with a trailing b or ib; any case).
func ParseBytes(s string) (Bytes, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	digits := strings.TrimRight(t, "abcdefghijklmnopqrstuvwxyz ")
	unit := strings.TrimSpace(t[len(digits):])
	shift, ok := map[string]uint{
		"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
	}[unit]
	v, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || math.IsNaN(v) || v < 0 || v*float64(int64(1)<<shift) >= math.MaxInt64 {
		return 0, fmt.Errorf(`%q is not a size; write it as "512m" or "1g"`, Clip(s))
	}
	return Bytes(v * float64(int64(1)<<shift)), nil
}

// String writes the amount with the largest unit that divides it.
func (b Bytes) String() string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := int64(1) << (40 - 10*i); b != 0 && int64(b)%n == 0 {
			return strconv.FormatInt(int64(b)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// UnmarshalJSON implements json.Unmarshaler; null changes nothing.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return errors.New(`want a whole number of bytes or a size such as "512m"`)
		}
		*b = Bytes(n)
		return nil
	}
	v, err := ParseBytes(s)
	*b = v
	return err
}

// Clip shortens what is quoted back to a user to 200 bytes, and leaves no half of a
// character at the end.
func Clip(s string) string {
	if len(s) <= 200 {
		return s
	}
	end := 200
	for end > 200-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// Wildcard compares with a pattern in which * stands for any characters.
func Wildcard(pattern, s string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	for parts := strings.Split(rest, "*"); ok && len(parts) > 0; parts = parts[1:] {
		if len(parts) == 1 {
			return strings.HasSuffix(s, parts[0])
		}
		_, s, ok = strings.Cut(s, parts[0])
	}
	return false
}

// Age is a duration in its largest unit, such as 5m, for tables that people read.
func Age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
