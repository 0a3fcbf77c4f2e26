package jobs_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(jobs.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("job.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("job.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bySchema is what the schema has against a document.
func bySchema(t *testing.T, s *jsonschema.Schema, doc []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("%.200s: %v", doc, err)
	}
	return s.Validate(v)
}

// The schema takes every document that the farm takes. Of those that the farm refuses, it
// takes only some that no schema can tell.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	s := compiledSchema(t)
	// How many of the documents with a finding the schema takes: durations and sizes are texts
	// to it, it adds nothing up, cleans no path, and compares no two fields.
	want := map[string]int{
		"command_invalid":         2,
		"command_missing":         1,
		"command_too_large":       1,
		"context_digest_conflict": 1,
		"context_dir_invalid":     1,
		"context_name_invalid":    1,
		"context_ref_invalid":     5,
		"context_value_invalid":   1,
		"dockerfile_path_invalid": 1,
		"env_too_large":           1,
		"image_ref_invalid":       4,
		"keep_invalid":            1,
		"labels_too_large":        2,
		"limit_below_minimum":     1,
		"limit_invalid":           1,
		"notify_duplicate":        1,
		"output_on_mount":         8,
		"outputs_with_keep":       1,
		"path_invalid":            3,
		"port_duplicate":          1,
		"ports_without_network":   1,
		"ready_invalid":           7,
		"secret_invalid":          2,
		"stop_grace_invalid":      1,
		"timeout_invalid":         6,
		"tmpfs_invalid":           5,
		"ulimit_invalid":          3,
		"url_invalid":             1,
		"user_invalid":            3,
	}
	missed := map[string]int{}
	for _, d := range documents() {
		err := bySchema(t, s, []byte(d.doc))
		switch {
		case d.want == "" && err != nil:
			t.Errorf("%.200s: the farm takes it, and the schema does not: %v", d.doc, err)
		case d.want != "" && err == nil:
			code, _, _ := strings.Cut(d.want, " ")
			missed[code]++
		}
	}
	if !maps.Equal(missed, want) {
		t.Errorf("the schema takes documents with %v; want %v", missed, want)
	}
	examples, err := filepath.Glob("../../examples/*.json")
	if err != nil || len(examples) < 3 {
		t.Fatalf("examples %q, %v", examples, err)
	}
	for _, file := range append(examples, "testdata/full.json") {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchema(t, s, doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaHasEveryField: a field of the document is in the schema with a sentence, and
// nothing else is.
func TestSchemaHasEveryField(t *testing.T) {
	t.Parallel()
	var root map[string]any
	if err := json.Unmarshal(jobs.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	defs, _ := root["$defs"].(map[string]any)
	resolve := func(m map[string]any) map[string]any {
		if ref, ok := m["$ref"].(string); ok {
			found, _ := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			return found
		}
		return m
	}
	var walk func(at string, schema map[string]any, v reflect.Type)
	walk = func(at string, schema map[string]any, v reflect.Type) {
		for v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.Slice:
			items, _ := schema["items"].(map[string]any)
			walk(at+"/0", resolve(items), v.Elem())
			return
		case reflect.Map:
			values, _ := schema["additionalProperties"].(map[string]any)
			walk(at+"/*", resolve(values), v.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		properties, _ := schema["properties"].(map[string]any)
		var fields []string
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Field(i).Tag.Get("json"), ",")
			if at == "" && name == "cause" { // only the farm sets it
				continue
			}
			fields = append(fields, name)
			p, ok := properties[name].(map[string]any)
			if text, _ := p["description"].(string); !ok || len(text) < 5 {
				t.Errorf("the schema has no %s/%s, or no description of it", at, name)
				continue
			}
			walk(at+"/"+name, resolve(p), v.Field(i).Type)
		}
		for name := range properties {
			if !slices.Contains(fields, name) {
				t.Errorf("the schema has %s/%s, and the document does not", at, name)
			}
		}
		if schema["additionalProperties"] != false {
			t.Errorf("the schema of %s takes other fields", at)
		}
	}
	walk("", root, reflect.TypeFor[jobs.Spec]())
}
