package flags

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Value is a flag whose text is parsed by set. Repeating the flag calls set
// again.
type Value struct {
	kind string
	set  func(string) error
	text string
}

var _ pflag.Value = (*Value)(nil)

// String implements pflag.Value.
func (v *Value) String() string { return v.text }

// Type implements pflag.Value; help shows it.
func (v *Value) Type() string { return v.kind }

// Set implements pflag.Value.
func (v *Value) Set(s string) error {
	if err := v.set(s); err != nil {
		return err
	}
	v.text = s
	return nil
}

// From is the flag with what help shows as its default, which its variable has already.
func (v *Value) From(d fmt.Stringer) *Value {
	v.text = d.String()
	return v
}

// NewValue is a flag whose text set reads.
func NewValue(kind string, set func(string) error) *Value { return &Value{kind: kind, set: set} }

// bytesVar is a size such as 512m.
func bytesVar(p *jobs.Bytes) *Value {
	return &Value{kind: "bytes", set: func(s string) (err error) {
		*p, err = jobs.ParseBytes(s)
		return err
	}}
}

// Duration is one such as 90s. Zero is refused: in a document it
// would mean the operator's default, and a user who writes 0 means something else.
func Duration(p *jobs.Duration) *Value {
	return &Value{kind: "duration", set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a duration; write it as 90s or 10m", s)
		}
		if d <= 0 {
			return fmt.Errorf("found %s; want more than 0 (leave the flag out for the operator's default)", s)
		}
		*p = jobs.Duration(d)
		return nil
	}}
}

// concurrencyVar is a group with its limit.
func concurrencyVar(c *jobs.Concurrency) *Value {
	return &Value{kind: "group=n", set: func(s string) error {
		group, limit, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(limit)
		if err != nil || !jobs.IsName(group) || n < 1 {
			return fmt.Errorf("found %q; want GROUP=N, such as deploy=1: a name of lower-case letters, digits and . _ -, and how many of its jobs may run at once", s)
		}
		c.Group, c.Limit = group, n
		return nil
	}}
}

// Days is a duration that may be a number of days, such as 30d, or 0 for none.
func Days(p *jobs.Duration) *Value {
	v := Duration(p)
	parse := v.set
	v.set = func(s string) error {
		if s == "0" {
			*p = 0
			return nil
		}
		if days, ok := strings.CutSuffix(s, "d"); ok {
			n, err := strconv.Atoi(days)
			if err != nil || n <= 0 || n > 36500 {
				return fmt.Errorf("%q is no number of days; write it as 30d", s)
			}
			s = strconv.Itoa(24*n) + "h"
		}
		return parse(s)
	}
	return v
}

// Time is a time, or how long ago that was.
func Time(p *time.Time) *Value {
	return &Value{kind: "time", set: func(s string) error {
		var ago jobs.Duration
		if err := Days(&ago).Set(s); err == nil {
			*p = time.Now().Add(-ago.D())
			return nil
		}
		for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
			if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
				*p = t
				return nil
			}
		}
		return fmt.Errorf("found %q; want how long ago, such as 90m, 2h or 7d, or a time, such as 2026-01-31, '2026-01-31 15:04:05' or 2026-01-31T15:04:05Z", s)
	}}
}

// secondsVar is a duration, or a number of seconds as docker has it.
func secondsVar(p *jobs.Duration) *Value {
	v := Duration(p)
	parse := v.set
	v.set = func(s string) error {
		if _, err := strconv.Atoi(s); err == nil {
			s += "s"
		}
		return parse(s)
	}
	return v
}

// pairsVar is KEY=VALUE, repeatable. With a lookup, KEY alone takes its value
// from the environment and is left out when it is not set there, as in docker.
func pairsVar(p *map[string]string, lookup func(string) string) *Value {
	return &Value{kind: "key=value", set: func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if k == "" {
			return fmt.Errorf("found %q; want KEY=VALUE", s)
		}
		if !ok {
			if lookup == nil {
				return fmt.Errorf("found %q; want KEY=VALUE", s)
			}
			if v = lookup(k); v == "" {
				return nil
			}
		}
		put(p, k, v)
		return nil
	}}
}

// distinctPairsVar is KEY=VALUE, repeatable, where no key has two values.
func distinctPairsVar(p *map[string]string) *Value {
	v := pairsVar(p, nil)
	parse := v.set
	v.set = func(s string) error {
		key, value, _ := strings.Cut(s, "=")
		if before, ok := (*p)[key]; ok && before != value {
			return fmt.Errorf("found %s=%s and %s=%s; both cannot be true of one host", key, before, key, value)
		}
		return parse(s)
	}
	return v
}

// put sets a key of a map that may not be there yet.
func put[V any](m *map[string]V, k string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[k] = v
}

// portsVar is [HOST:]CONTAINER[/PROTOCOL], repeatable.
func portsVar(p *[]jobs.Port) *Value {
	return &Value{kind: "[host:]port", set: func(s string) error {
		rest, proto, _ := strings.Cut(s, "/")
		parts := strings.Split(rest, ":")
		if len(parts) > 2 {
			return fmt.Errorf("found %q; want [HOST:]CONTAINER[/udp]: the address is the operator's choice", s)
		}
		port := jobs.Port{Protocol: proto}
		var err error
		if port.Container, err = portNumber(parts[len(parts)-1]); err != nil {
			return err
		}
		if len(parts) == 2 && parts[0] != "" {
			if port.Host, err = portNumber(parts[0]); err != nil {
				return err
			}
		}
		*p = append(*p, port)
		return nil
	}}
}

func portNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port: want a number from 1 to 65535; port ranges are not supported", s)
	}
	return n, nil
}

// ulimitsVar is NAME=SOFT[:HARD], repeatable.
func ulimitsVar(p *map[string]jobs.Ulimit) *Value {
	return &Value{kind: "name=soft[:hard]", set: func(s string) error {
		name, rest, ok := strings.Cut(s, "=")
		softText, hardText, both := strings.Cut(rest, ":")
		if !both {
			hardText = softText
		}
		soft, err1 := strconv.ParseInt(softText, 10, 64)
		hard, err2 := strconv.ParseInt(hardText, 10, 64)
		if !ok || name == "" || err1 != nil || err2 != nil {
			return fmt.Errorf("found %q; want NAME=SOFT[:HARD], such as nofile=1024:4096", s)
		}
		put(p, name, jobs.Ulimit{Soft: soft, Hard: hard})
		return nil
	}}
}

// tmpfsVar is PATH[:size=SIZE], repeatable.
func tmpfsVar(p *map[string]jobs.Bytes) *Value {
	return &Value{kind: "path[:size=n]", set: func(s string) error {
		path, Options, _ := strings.Cut(s, ":")
		var size jobs.Bytes
		if Options != "" {
			text, ok := strings.CutPrefix(Options, "size=")
			if !ok {
				return fmt.Errorf("unknown option %q: want size", Options)
			}
			var err error
			if size, err = jobs.ParseBytes(text); err != nil {
				return err
			}
		}
		put(p, path, size)
		return nil
	}}
}

// secretsVar is id=ID[,name=NAME], repeatable. docker's src= and env= are
// refused: the value of a secret never travels with a job.
func secretsVar(p *[]jobs.Secret) *Value {
	return &Value{kind: "id=..[,name=..]", set: func(s string) error {
		var secret jobs.Secret
		for _, field := range strings.Split(s, ",") {
			k, v, _ := strings.Cut(field, "=")
			switch k {
			case "id":
				secret.ID = v
			case "name":
				secret.Name = v
			case "src", "source", "env":
				return fmt.Errorf("%s= is not taken: a secret's value never travels; the operator gives it to the workers, and name= says which one", k)
			default:
				return fmt.Errorf("found %q; want id=ID[,name=NAME]", field)
			}
		}
		if secret.ID == "" {
			return fmt.Errorf("found %q; want id=ID[,name=NAME]", s)
		}
		*p = append(*p, secret)
		return nil
	}}
}

// notifyVar is URL[,secret=NAME][,state=STATE]..., repeatable. A comma may be a part of the URL.
func notifyVar(p *[]jobs.Notify) *Value {
	return &Value{kind: "url[,secret=..][,state=..]", set: func(s string) error {
		var n jobs.Notify
		for i, field := range strings.Split(s, ",") {
			secret, isSecret := strings.CutPrefix(field, "secret=")
			state, isState := strings.CutPrefix(field, "state=")
			switch {
			case isSecret && i > 0:
				n.Secret = secret
			case isState && i > 0:
				n.States = append(n.States, jobs.State(state))
			case i > 0:
				n.URL += "," + field
			default:
				n.URL = field
			}
		}
		*p = append(*p, n)
		return nil
	}}
}

// Choice is one of a few words; what names them in the error.
func Choice(p *string, what string, words ...string) *Value {
	return &Value{kind: strings.Join(words, "|"), set: func(s string) error {
		for _, w := range words {
			if s == w {
				*p = s
				return nil
			}
		}
		hint := ""
		if n := jobs.Nearest(s, words); n != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", n)
		}
		return fmt.Errorf("unknown %s %q: want %s%s", what, s, jobs.Either(words), hint)
	}}
}

// NotValue says why a flag does not take a value, of what pflag says about that.
func NotValue(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	cause := cmp.Or(errors.Unwrap(invalid), err)
	if _, ok := errors.AsType[*strconv.NumError](cause); !ok {
		return cause
	}
	if invalid.GetFlag().Value.Type() == "bool" {
		return fmt.Errorf("found %q; want true or false", invalid.GetValue())
	}
	return fmt.Errorf("found %q; want a number", invalid.GetValue())
}
