package bake_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/bake"
)

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"empty", "", "it ends too early"},
		{"no JSON", "group \"default\" {}", "not valid JSON"},
		{"half a file", `{"target":{"a":{`, "it ends too early"},
		{"a list", "[]", "no JSON object"},
		{"more behind it", `{"target":{"a":{}}} {}`, "more behind the end"},
		{"no target", `{"group":{"default":{"targets":[]}}}`, "it has no target"},
		{"a bake file that was not printed", `{"variable":{"TAG":{}},"target":{"a":{}}}`, `it has "variable", and bake prints group and target`},
		{"a target twice", `{"target":{"a":{},"a":{}}}`, `the key "a" stands twice`},
		{"a field twice", `{"target":{"a":{"tags":[],"tags":["x"]}}}`, `target "a": the key "tags" stands twice`},
		{"an unknown field of a group", `{"target":{"a":{}},"group":{"g":{"target":[]}}}`, `group "g": json: unknown field "target"`},
		{"a target that is none", `{"target":{"a":1}}`, `target "a": found no JSON object`},
		{"too large", strings.Repeat(" ", bake.MaxBytes+1), "more than 16MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := bake.Read([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	const text = `{"group":{
		"default":{"targets":["web","all"]}, "all":{"targets":["api","db","all"],"description":"all of it"},
		"left":{"targets":["all"]}, "both":{"targets":["left","all"]},
		"ring":{"targets":["gnir"]}, "gnir":{"targets":["ring"]}, "same":{"targets":["same","db"]}, "lost":{"targets":["bd"]}},
		"target":{"web":{},"api":{},"db":{},"same":{},"web-2":{}}}`
	f, err := bake.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, args, want string }{
		{"the default group", "", "!no target and no group \"all\""},
		{"a target", "api", "api"},
		{"each once, in order", "db api db", "db api"},
		{"a group with a target of its name", "same", "same db"},
		{"a pattern", "web*", "web web-2"},
		{"a pattern for nothing", "x*", "!called like \"x*\""},
		{"no pattern", "[", "!is no pattern"},
		{"an unknown name", "web-22", `!no target and no group "web-22" (did you mean "web-2"?)`},
		{"an unknown name in a group", "lost", `!no target and no group "bd"`},
		{"a ring", "ring", `!no target and no group "ring"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := f.Pick(strings.Fields(tt.args))
			if want, fails := strings.CutPrefix(tt.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, %v; want the error %q", got, err, want)
				}
				return
			}
			if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// Groups that share a group have its targets once.
func TestPickSharedGroup(t *testing.T) {
	t.Parallel()
	f, err := bake.Read([]byte(`{"group":{"default":{"targets":["l","r"]},"l":{"targets":["g"]},"r":{"targets":["g","z"]},"g":{"targets":["x","y"]}},
		"target":{"x":{},"y":{},"z":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Pick(nil); err != nil || !slices.Equal(got, []string{"x", "y", "z"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// FuzzRead: no file makes it panic or loop, and no target is taken over that no farm takes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"group":{"default":{"targets":["a"]}},"target":{"a":{"context":".","dockerfile-inline":"FROM $${x}","tags":["a:1"],"secret":["id=x"],"ssh":["default"],"output":["type=docker"]}}}`))
	f.Add([]byte(`{"target":{"a":{"args":{"X":null},"platforms":["linux/amd64"],"contexts":{"b":"target:b"},"attest":[{"type":"sbom","disabled":true}]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := bake.Read(data)
		if err != nil {
			return
		}
		names, _ := file.Pick([]string{"*"}) // a ring, or a name that is not there
		for _, name := range names {
			got := file.Target(name, bake.Options{Push: true})
			if err := got.Spec().Normalize().Validate(); len(got.Refused) == 0 && err != nil {
				t.Errorf("%s is taken over: %v", name, err)
			}
		}
	})
}
