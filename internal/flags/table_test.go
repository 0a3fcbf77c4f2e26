package flags

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// leaves are the fields of a document that are no struct, by their JSON pointers.
// A part that is not there has its fields' zero values.
func leaves(s jobs.Spec) map[string]any {
	found := map[string]any{}
	var walk func(pointer string, v reflect.Value)
	walk = func(pointer string, v reflect.Value) {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v = reflect.New(v.Type().Elem())
			}
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			found[pointer] = v.Interface()
			return
		}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			walk(pointer+"/"+name, v.Field(i))
		}
	}
	walk("", reflect.ValueOf(s))
	return found
}

// TestEveryFieldHasAFlag: a new field of the document needs a row of the table, or a
// reason why the command line does without.
func TestEveryFieldHasAFlag(t *testing.T) {
	t.Parallel()
	without := map[string]string{
		"/spec_version":          "only documents are written for a version",
		"/context/ref":           "it is the argument PATH",
		"/context/size":          "it is measured when the context is packed",
		"/build/hide_dockerfile": "packing finds out that .dockerignore names the Dockerfile",
		"/build/limits/cpus":     "docker buildx build has no such flag; documents have it",
		"/build/limits/memory":   "docker buildx build has no such flag; documents have it",
		"/cause/rebuild":         "only the farm sets it",
		"/cause/tags":            "only the farm sets it",
		"/cause/auto":            "only the farm sets it",
		"/run/command":           "it is what stands behind --",
		"/timeouts/fetch":        "rare enough to be written in a document",
		"/timeouts/push":         "rare enough to be written in a document",
	}
	set := map[string]string{}
	for f := range New(&Options{}, nil).Rows(func(Row) bool { return true }) {
		for _, p := range f.Pointers {
			set[p] = f.Name
		}
	}
	document := leaves(jobs.Spec{})
	for _, p := range slices.Sorted(maps.Keys(document)) {
		switch flag, reason := set[p], without[p]; {
		case flag == "" && reason == "":
			t.Errorf("no flag sets %s: add a row to the table of submit's flags", p)
		case flag != "" && reason != "":
			t.Errorf("--%s sets %s, which is listed as a field without a flag", flag, p)
		}
	}
	for p := range without {
		if _, ok := document[p]; !ok {
			t.Errorf("%s is listed as a field without a flag, and is no field", p)
		}
	}
}

// TestRowsSetTheirPointers: each flag changes the document at the pointers of its
// row and nowhere else, and a row without pointers changes nothing.
func TestRowsSetTheirPointers(t *testing.T) {
	t.Parallel()
	before := leaves(specWith(t, ""))
	for f := range New(&Options{}, nil).Rows(func(Row) bool { return true }) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			for _, p := range f.Pointers {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(before)), func(field string) bool { return Within(field, p) }) {
					t.Errorf("--%s sets %s, which is no field of the document", f.Name, p)
				}
			}
			changed := 0
			for p, v := range leaves(specWith(t, f.Name)) {
				if reflect.DeepEqual(v, before[p]) {
					continue
				}
				changed++
				if !slices.ContainsFunc(f.Pointers, func(top string) bool { return Within(p, top) }) {
					t.Errorf("--%s changed %s; its row has %q", f.Name, p, f.Pointers)
				}
			}
			if changed == 0 && len(f.Pointers) > 0 {
				t.Errorf("--%s changed nothing; its row has %q", f.Name, f.Pointers)
			}
		})
	}
}

// specWith is a document that builds and runs, changed by one flag with some value.
func specWith(t *testing.T, flag string) jobs.Spec {
	t.Helper()
	o := &Options{}
	flags := New(o, nil)
	fs := pflag.NewFlagSet("submit", pflag.ContinueOnError)
	for _, g := range flags.Declare() {
		fs.AddFlagSet(g.Flags)
	}
	if flag != "" {
		if err := fs.Set(flag, someValue(fs.Lookup(flag).Value.Type())); err != nil {
			t.Fatal(err)
		}
	}
	r := Request{Options: o, Table: flags, Changed: fs.Changed, Dockerfile: o.File, Base: jobs.Spec{
		Context: &jobs.Context{}, Build: &jobs.Build{}, Run: &jobs.Run{Ready: &jobs.Ready{HTTP: "/", Port: 80}},
	}}
	s, err := r.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// someValue is one that a flag of this type takes.
func someValue(kind string) string {
	some := map[string]string{
		"bool": "true", "int": "3", "int64": "3", "float64": "1.5", "bytes": "64m", "duration": "5s", "key=value": "disk=ssd",
		"[host:]port": "81", "name=soft[:hard]": "nofile=1", "path[:size=n]": "/tmp", "id=..[,name=..]": "id=npm", "group=n": "deploy=1",
	}
	if v, ok := some[kind]; ok {
		return v
	}
	first, _, _ := strings.Cut(kind, "|") // one of the words of a choice
	return first
}
