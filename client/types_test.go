package client

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// The types have the fields that the farm's own have, under their names and of their kinds, so
// that nothing of a record is lost on the way.
func TestTypesAreTheFarms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ ours, farms any }{
		{Job{}, jobs.Job{}},
		{Document{}, jobs.Spec{}},
		{Finding{}, jobs.Problem{}},
		{Plan{}, rebuild.Plan{}},
		{RebuildImage{}, jobs.RebuildImage{}},
	} {
		compare(t, reflect.TypeOf(tt.ours).Name(), reflect.TypeOf(tt.ours), reflect.TypeOf(tt.farms))
	}
}

func compare(t *testing.T, at string, ours, farms reflect.Type) {
	t.Helper()
	if ours.Kind() != farms.Kind() {
		t.Errorf("%s is a %s, and the farm has a %s", at, ours, farms)
		return
	}
	switch ours.Kind() {
	case reflect.Pointer, reflect.Slice:
		compare(t, at, ours.Elem(), farms.Elem())
	case reflect.Map:
		compare(t, at+" (key)", ours.Key(), farms.Key())
		compare(t, at, ours.Elem(), farms.Elem())
	case reflect.Struct:
		if ours == farms { // time.Time
			return
		}
		own, theirs := fields(ours), fields(farms)
		for tag, f := range theirs {
			if _, ok := own[tag]; !ok {
				t.Errorf("%s has no field `json:%q`, which the farm's %s has", at, tag, farms)
				continue
			}
			compare(t, at+"."+own[tag].Name, own[tag].Type, f.Type)
		}
		for tag := range own {
			if _, ok := theirs[tag]; !ok {
				t.Errorf("%s has a field `json:%q`, which the farm's %s has not", at, tag, farms)
			}
		}
	default:
		if json := reflect.TypeFor[json.Marshaler](); ours.Implements(json) != farms.Implements(json) {
			t.Errorf("%s: %s is not written as %s is", at, ours, farms)
		}
	}
}

// fields are those of a struct by their tags.
func fields(t reflect.Type) map[string]reflect.StructField {
	all := map[string]reflect.StructField{}
	for i := range t.NumField() {
		if tag, ok := t.Field(i).Tag.Lookup("json"); ok && tag != "-" && t.Field(i).IsExported() {
			all[tag] = t.Field(i)
		}
	}
	return all
}

// What the API adds to the farm's types is as its description has it.
func TestTypesAreTheDescribed(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../internal/api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"Problem": Problem{}, "Finding": Finding{}, "LogEntry": Entry{}, "StoredContext": Stored{}, "RebuildQuestion": RebuildQuestion{}, "RebuildRequest": RebuildRequest{}, "Rebuild": Rebuild{}} {
		want := doc.Components.Schemas[name].Properties
		if len(want) == 0 {
			t.Errorf("openapi.yaml has no schema %s", name)
		}
		got := map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if tag, ok := f.Tag.Lookup("json"); ok {
				field, _, _ := strings.Cut(tag, ",")
				got[field] = true
				if want[field] == nil {
					t.Errorf("%s has %s, and the description has not", name, field)
				}
			}
		}
		for field := range want {
			if !got[field] {
				t.Errorf("%s does not have %s", name, field)
			}
		}
	}
}

// The states that the client takes for ended are those that the farm does, and a document
// means the same to both.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, s := range jobs.States() {
		if got := State(s).Ended(); got != s.Terminal() {
			t.Errorf("%s has ended: %v, want %v", s, got, s.Terminal())
		}
	}
	raw, err := json.Marshal(Document{
		Name: "a", Build: &Build{Tags: []string{"a:1"}, Limits: BuildLimits{Memory: 64 << 20}},
		Context: &Context{Ref: "cas:sha256:" + strings.Repeat("0", 64)}, Timeouts: Timeouts{Build: Duration(90 * time.Second)},
		Run: &Run{Ports: []Port{{Container: 80}}, Keep: Duration(time.Hour), Tmpfs: map[string]Bytes{"/tmp": 1 << 20}},
	})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := jobs.DecodeSpec(raw)
	if err == nil {
		err = spec.Normalize().Validate()
	}
	if err != nil || spec.Timeouts.Build.D() != 90*time.Second || spec.Run.Keep.D() != time.Hour || spec.Run.Tmpfs["/tmp"] != 1<<20 {
		t.Errorf("the farm reads %s as %+v (%v)", raw, spec, err)
	}
	var back Document
	if raw, err = json.Marshal(spec.Normalize()); err == nil {
		err = json.Unmarshal(raw, &back)
	}
	if err != nil || back.Timeouts.Build != Duration(90*time.Second) {
		t.Errorf("the client reads %s as %+v (%v)", raw, back, err)
	}
}

func TestErr(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		job  Job
		want string
	}{
		{Job{State: Running}, "<nil>"},
		{Job{State: Succeeded, Result: &Result{}}, "<nil>"},
		{Job{ID: "a", State: Cancelled}, "job a is cancelled"},
		{Job{ID: "a", State: Failed, Result: &Result{Failure: &Failure{Kind: "oom", Message: "too much", Hint: "use less"}}}, "job a is failed: oom: too much (use less)"},
	} {
		if got := fmt.Sprint(tt.job.Err()); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
