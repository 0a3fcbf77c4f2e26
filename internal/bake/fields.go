package bake

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// row is a field of a target and what becomes of it.
type row struct {
	name string
	// pointer is where the document has it, "" when the document has no place for it.
	pointer string
	// judge takes a value that is not empty over, or says why not.
	judge func(t *Target, raw json.RawMessage)
}

// rows are all fields that bake knows, in its order.
func rows() []row {
	const unprinted = "bake has not worked it out; " + asPrinted
	return []row{
		ignored("description", "it is for people, and no part of a job"),
		refused("name", unprinted),
		refused("matrix", unprinted),
		refused("inherits", unprinted),
		refused("annotations", "the farm sets no annotations of a manifest; labels are a part of the image"),
		field("attest", "", attestations),
		field("context", "/context", mainContext),
		field("contexts", "/build/contexts", namedContexts),
		field("dockerfile", "/build/dockerfile", dockerfile),
		field("dockerfile-inline", "", func(t *Target, v string) {
			if text, ok := t.plain("dockerfile-inline", "", v); ok {
				t.Inline = []byte(text)
			}
		}),
		field("args", "/build/args", func(t *Target, v map[string]*string) { t.Build.Args = t.pairs("args", v) }),
		field("labels", "/build/labels", func(t *Target, v map[string]*string) { t.Build.Labels = t.pairs("labels", v) }),
		field("tags", "/build/tags", func(t *Target, v []string) { t.Build.Tags = distinct(v) }),
		ignored("cache-from", "the farm builds with the cache of its build hosts"),
		ignored("cache-to", "the farm exports no cache; it builds with the cache of its build hosts"),
		field("target", "/build/target", func(t *Target, v string) { t.Build.Target = v }),
		field("secret", "/build/secrets", secrets),
		field("ssh", "/build/ssh", sshKeys),
		field("platforms", "/build/platform", platforms),
		field("output", "/build/push", outputs),
		field("pull", "/build/pull", func(t *Target, v bool) { t.Build.Pull = v }),
		field("no-cache", "/build/no_cache", func(t *Target, v bool) { t.Build.NoCache = v }),
		field("network", "/build/network", func(t *Target, v string) {
			if v != "default" && v != "none" {
				t.refuse("network", "the network %q is not one that a build can have: want default or none", jobs.Clip(v))
				return
			}
			t.Build.Network = v
		}),
		refused("no-cache-filter", "the farm builds all steps anew (no-cache), or none"),
		refused("shm-size", "the operator of the farm sets the limits of build steps"),
		refused("ulimits", "the operator of the farm sets the limits of build steps"),
		field("call", "", func(t *Target, v string) {
			if v != "build" {
				t.refuse("call", "%q builds no image", jobs.Clip(v))
			}
		}),
		refused("entitlements", "builds have the farm's network, rights and devices"),
		refused("extra-hosts", "the farm gives no host names to a build; a step can write them to /etc/hosts for itself"),
		refused("policy", "the operator of the farm sets the policy of builds"),
	}
}

// field is a row whose value is a T.
func field[T any](name, pointer string, take func(t *Target, v T)) row {
	return row{name, pointer, func(t *Target, raw json.RawMessage) {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			t.refuse(name, "it has a value that bake does not print: %s", jobs.Clip(string(raw)))
			return
		}
		take(t, v)
	}}
}

func refused(name, reason string) row {
	return row{name: name, judge: func(t *Target, _ json.RawMessage) { t.refuse(name, "%s", reason) }}
}

func ignored(name, reason string) row {
	return row{name: name, judge: func(t *Target, _ json.RawMessage) { t.ignore(name, "%s", reason) }}
}

// empty reports whether a value asks for nothing.
func empty(raw json.RawMessage) bool {
	var compact bytes.Buffer
	return json.Compact(&compact, raw) == nil && slices.Contains([]string{"null", `""`, "false", "[]", "{}"}, compact.String())
}

// pairs are the values of a map; a key without one is left out, as in bake.
func (t *Target) pairs(field string, values map[string]*string) map[string]string {
	m := map[string]string{}
	for k, v := range values {
		if v == nil {
			continue
		}
		if text, ok := t.plain(field, k, *v); ok {
			m[k] = text
		}
	}
	return m
}

// plain undoes what bake does to a text when it prints it, so that a bake that reads it
// finds no variables there: ${ stands for $${ and %{ for %%{.
func (t *Target) plain(field, key, text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, "$${"), strings.HasPrefix(rest, "%%{"):
			b.WriteString(rest[1:3])
			i += 2
		case strings.HasPrefix(rest, "${"), strings.HasPrefix(rest, "%{"):
			what := field
			if key != "" {
				what += "." + key
			}
			t.refuse(field, "%s has %s, which bake writes as %s when it means the text; %s", jobs.Clip(what), rest[:2], rest[:1]+rest[:2], asPrinted)
			return "", false
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), true
}

func platforms(t *Target, v []string) {
	v = distinct(v)
	if len(v) > 1 {
		t.refuse("platforms", "a job builds for one platform, and these are %s; make a target of each", jobs.Clip(strings.Join(v, ", ")))
		return
	}
	t.Build.Platform = strings.Join(v, "")
}

// distinct is a list without repetitions and empty texts, as bake understands it.
func distinct(list []string) []string {
	var all []string
	for _, v := range list {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
