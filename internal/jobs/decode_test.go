package jobs_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// problemsOf returns "code pointer" of each finding, in order.
func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *jobs.Invalid
	if !errors.As(err, &invalid) || !errors.Is(err, jobs.ErrInvalid) {
		t.Fatalf("error %v is no *Invalid", err)
	}
	out := make([]string, len(invalid.Problems))
	for i, p := range invalid.Problems {
		out[i] = strings.TrimSpace(p.Code + " " + p.Pointer)
		if p.Message == "" || strings.ContainsFunc(p.String(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("problem %q must have a message without control characters", p.String())
		}
	}
	return out
}

func TestDecodeSpec(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, doc string
		want      string // "code pointer", "" when the document is read
		message   string // a part of the message
	}{
		{"empty object", `{}`, "", ""},
		{"null is absent", `{"name":null,"run":{"limits":{"memory":null},"stop_grace":null,"env":null},"timeouts":null}`, "", ""},
		{"unknown field", `{"comand":["x"],"run":{"comand":["x"]}}`, "spec_unknown_field /comand|spec_unknown_field /run/comand", `unknown field "comand" (did you mean "command"?)`},
		{"unknown field, nothing near", `{"sidecars":[]}`, "spec_unknown_field /sidecars", `unknown field "sidecars"`},
		{"other case", `{"Name":"x"}`, "spec_unknown_field /Name", `did you mean "name"?`},
		{"unknown in a list", `{"run":{"ports":[{"container":1},{"containr":1}]}}`, "spec_unknown_field /run/ports/1/containr", `did you mean "container"?`},
		{"unknown in a map's value", `{"run":{"limits":{"ulimits":{"nofile":{"sofd":1}}}}}`, "spec_unknown_field /run/limits/ulimits/nofile/sofd", `did you mean "soft"?`},
		{"what is unknown is not judged", `{"x":{"y":[1,{"z":true}],"y":1}}`, "spec_unknown_field /x|spec_duplicate_key /x/y", "unknown"},
		{"privileged is not in the schema", `{"run":{"privileged":true}}`, "spec_unknown_field /run/privileged", "unknown"},
		{"a pointer escapes / and ~", `{"a/b~c":1}`, "spec_unknown_field /a~1b~0c", "unknown"},
		{"a key with a terminal escape", `{"\u001b[31m":1}`, "spec_unknown_field /\x1b[31m", "unknown"},
		{"a long key", `{"` + long + `":1}`, "spec_unknown_field /" + long[:200] + "...", "unknown"},

		{"duplicate key", `{"name":"a","name":"b"}`, "spec_duplicate_key /name", "stands twice"},
		{"duplicate key, written otherwise", `{"name":"a","\u006eame":"b"}`, "spec_duplicate_key /name", "stands twice"},
		{"duplicate key in a map", `{"run":{"env":{"A":"1","A":"2"}}}`, "spec_duplicate_key /run/env/A", "stands twice"},

		{"number for text", `{"name":1}`, "spec_wrong_type /name", "found the number 1, want text"},
		{"text for number", `{"retries":"3"}`, "spec_wrong_type /retries", `found the text "3", want a whole number`},
		{"fraction for a whole number", `{"retries":1.5}`, "spec_wrong_type /retries", "want a whole number"},
		{"exponent for a whole number", `{"retries":1e3}`, "spec_wrong_type /retries", "want a whole number"},
		{"number out of range", `{"context":{"size":9223372036854775808}}`, "spec_wrong_type /context/size", "want a whole number"},
		{"float out of range", `{"run":{"limits":{"cpus":1e309}}}`, "spec_wrong_type /run/limits/cpus", "want a number"},
		{"text for bool", `{"build":{"pull":"yes"}}`, "spec_wrong_type /build/pull", "want true or false"},
		{"bool for text", `{"name":true}`, "spec_wrong_type /name", "found true, want text"},
		{"text for list", `{"run":{"command":"echo hi"}}`, "spec_wrong_type /run/command", "want a list"},
		{"list for text", `{"name":["x"]}`, "spec_wrong_type /name", "found a list, want text"},
		{"list for object", `{"run":[]}`, "spec_wrong_type /run", "found a list, want an object"},
		{"object for list", `{"run":{"ports":{"container":1}}}`, "spec_wrong_type /run/ports", "found an object, want a list"},
		{"number in a list of text", `{"run":{"command":["a",2]}}`, "spec_wrong_type /run/command/1", "want text"},
		{"number in a map of text", `{"labels":{"a":2}}`, "spec_wrong_type /labels/a", "want text"},
		{"duration as number", `{"timeouts":{"run":90}}`, "spec_wrong_type /timeouts/run", "want a duration in quotes"},
		{"duration without unit", `{"timeouts":{"run":"5"}}`, "spec_wrong_type /timeouts/run", `"5" is not a duration`},
		{"duration as object", `{"timeouts":{"run":{}}}`, "spec_wrong_type /timeouts/run", "want a duration"},
		{"size as text without sense", `{"run":{"limits":{"memory":"lots"}}}`, "spec_wrong_type /run/limits/memory", `"lots" is not a size`},
		{"size as fraction", `{"run":{"limits":{"memory":1.5}}}`, "spec_wrong_type /run/limits/memory", "whole number of bytes"},
		{"size as list", `{"run":{"limits":{"memory":[]}}}`, "spec_wrong_type /run/limits/memory", "want a size"},
		{"several at once", `{"name":1,"quue":"x","retries":"2"}`, "spec_wrong_type /name|spec_unknown_field /quue|spec_wrong_type /retries", ""},
		{"not an object", `"x"`, "spec_wrong_type", "want an object"},
		{"a list of documents", `[{}]`, "spec_wrong_type", "found a list, want an object"},

		{"a byte that is no text", "{\n\"run\":{\"command\":[\"a\xff\"]}}", "text_invalid", `line 2, column 21: the byte "\xff" is not UTF-8`},
		{"a key that is no text", "{\"labels\":{\"\xc3\":\"a\"}}", "text_invalid", "line 1, column 13"},
		{"half of a character", `{"name":"\ud800"}`, "text_invalid", "line 1, column 10: the escape is half of a character"},
		{"the other half", `{"name":"\udc00\ud800"}`, "text_invalid", "line 1, column 10"},
		{"halves that do not fit", `{"name":"\ud800\u0041"}`, "text_invalid", "line 1, column 10"},
		{"both halves", `{"run":{"command":["\ud83d\ude00 \\ud800 \u00e4 \""]}}`, "", ""},
		{"the character that stands for none", "{\"run\":{\"command\":[\"\uFFFD\\ufffd\"]}}", "", ""},
		{"nothing", ``, "spec_invalid", "line 1, column 1: not valid JSON: the document ends too early"},
		{"cut", "{\n  \"name\": \"x", "spec_invalid", "line 2, column 13: not valid JSON: the document ends too early"},
		{"not JSON", "{\n  name: 1}", "spec_invalid", "line 2, column 3: not valid JSON: invalid character 'n'"},
		{"comma too many", `{"name":"x",}`, "spec_invalid", "line 1, column 13: not valid JSON"},
		{"YAML", "name: x\n", "spec_invalid", "line 1, column 2: not valid JSON"},
		{"only the syntax counts", `{"nme":1,"name":}`, "spec_invalid", "line 1, column 17"},
		{"control character", "{\"name\":\"a\x1b\"}", "spec_invalid", `invalid character '\x1b'`},
		{"trailing data", "{}\n\n  {}", "spec_invalid", "line 3, column 3: more data after the end"},
		{"trailing brace", `{}}`, "spec_invalid", "line 1, column 3: more data after the end"},
		{"trailing NUL", "{}\x00", "spec_invalid", "line 1, column 3: more data after the end"},
		{"trailing space", "{}\r\n\t ", "", ""},

		{"deep", `{"x":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, "spec_unknown_field /x", ""},
		{"too deep", `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "spec_invalid", "nested deeper than 32 levels"},
		{"depth bomb", strings.Repeat(`{"a":`, 20000), "spec_invalid", "nested deeper than 32 levels"},
		{"as large as may be", `{"name":"x"}` + strings.Repeat(" ", jobs.MaxSpecBytes-12), "", ""},
		{"too large", `{"name":"x"}` + strings.Repeat(" ", jobs.MaxSpecBytes-11), "spec_too_large", "262145 bytes; the limit is 262144"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := jobs.DecodeSpec([]byte(tt.doc))
			got := strings.Join(problemsOf(t, err), "|")
			if got != tt.want {
				t.Errorf("got problems %q; want %q (%v)", got, tt.want, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("got message %q; want %q in it", err, tt.message)
			}
		})
	}
}

// fullDocuments have every field of the schema between them: not all go together.
var fullDocuments = []string{"full.json", "full_outputs.json", "full_image.json", "full_health.json"}

// Every field of the schema arrives where it belongs.
func TestDecodeSpecFull(t *testing.T) {
	t.Parallel()
	for _, name := range fullDocuments {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := jobs.DecodeSpec(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != strings.TrimSpace(string(raw)) {
			t.Errorf("%s changed on its way:\n%s", name, got)
		}
	}
}

// TestFullHasEveryField: a new field of the schema belongs in one of the full documents,
// or nothing would test that it arrives.
func TestFullHasEveryField(t *testing.T) {
	t.Parallel()
	found := map[string]bool{} // pointers of the schema, with whether a document has them
	var walk func(at string, typ reflect.Type, doc any)
	walk = func(at string, typ reflect.Type, doc any) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			if list, ok := doc.([]any); ok && len(list) > 0 {
				doc = list[0]
			}
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		object, _ := doc.(map[string]any)
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				continue
			}
			found[at+"/"+name] = found[at+"/"+name] || object[name] != nil
			walk(at+"/"+name, f.Type, object[name])
		}
	}
	for _, name := range fullDocuments {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		walk("", reflect.TypeFor[jobs.Spec](), doc)
	}
	for pointer, ok := range found {
		if !ok && !strings.HasPrefix(pointer, "/cause") { // which no producer's document has
			t.Errorf("none of %q has %s", fullDocuments, pointer)
		}
	}
	if len(found) < 60 {
		t.Errorf("the schema has %d fields only", len(found))
	}
}

func TestDecodeEnvelope(t *testing.T) {
	t.Parallel()
	e, err := jobs.DecodeEnvelope([]byte(`{"id":"job-1"}`))
	if err != nil || e.ID != "job-1" || e.Spec != nil {
		t.Errorf("a ticket: got %+v, %v; want only its ID", e, err)
	}
	e, err = jobs.DecodeEnvelope([]byte(`{"id":"job-1","spec":{"run":{"image":"busybox"}}}`))
	if err != nil || e.Spec == nil || e.Spec.Run.Image != "busybox" {
		t.Errorf("a document: got %+v, %v; want it with its image", e, err)
	}
	_, err = jobs.DecodeEnvelope([]byte(`{"id":"job-1","spec":{"rum":{}}}`))
	if got, want := problemsOf(t, err), []string{"spec_unknown_field /spec/rum"}; !slices.Equal(got, want) {
		t.Errorf("got problems %q; want %q", got, want)
	}
}

// What DecodeSpec accepts survives being written and read again; what it
// refuses is refused with a finding, and nothing makes it panic.
func FuzzDecodeSpec(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, doc := range []string{
		string(full), `{}`, `null`, `{"run":{"limits":{"memory":"1.5g","shm":-1}}}`, `{"timeouts":{"run":"-2540400h10m"}}`,
		`{"name":"\ud800","labels":{"":""}}`, `{"run":{"command":[null],"ports":[null]}}`, `[[[[`, `{"a":{"a":1,"a":2}}`, "{\"\x80\":1}",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := jobs.DecodeSpec(doc)
		if err != nil {
			var invalid *jobs.Invalid
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("error %v has no findings", err)
			}
			return
		}
		_ = s.Validate()
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("marshal what was accepted: %v", err)
		}
		if len(first) > jobs.MaxSpecBytes {
			return // escapes made it grow
		}
		again, err := jobs.DecodeSpec(first)
		if err != nil {
			t.Fatalf("decode %s again: %v", first, err)
		}
		second, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			t.Fatalf("written, read and written again:\n%s\n%s", first, second)
		}
	})
}
