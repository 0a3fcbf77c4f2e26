package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// openapi.yaml has the routes of the table, with their scopes and parameters, and no others.
func TestContractHasTheRoutes(t *testing.T) {
	t.Parallel()
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	described := 0
	for _, item := range doc.Paths.Map() {
		described += len(item.Operations())
	}
	if described != len(routes()) {
		t.Errorf("openapi.yaml describes %d operations, and there are %d routes", described, len(routes()))
	}
	ids := map[string]bool{}
	for _, r := range routes() {
		item := doc.Paths.Find(strings.ReplaceAll(r.path, "...}", "}"))
		if item == nil || item.GetOperation(r.method) == nil {
			t.Errorf("openapi.yaml does not have %s %s", r.method, r.path)
			continue
		}
		op := item.GetOperation(r.method)
		if ids[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s %s: the operationId %q is not its own", r.method, r.path, op.OperationID)
		}
		ids[op.OperationID] = true
		if scope, _ := op.Extensions["x-scope"].(string); scope != string(r.scope) {
			t.Errorf("%s %s: x-scope is %q, want %q", r.method, r.path, scope, r.scope)
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != (r.scope == "") {
			t.Errorf("%s %s: open to all: %v, want %v", r.method, r.path, open, r.scope == "")
		}
		if farm := slices.Contains(op.Tags, "farm") || slices.Contains(op.Tags, "access") && r.path != "/v1/whoami"; farm != r.farm {
			t.Errorf("%s %s: by its tag it is about the whole farm: %v, want %v", r.method, r.path, farm, r.farm)
		}
		var params []string
		flags := 0
		for _, p := range op.Parameters {
			switch {
			case strings.HasPrefix(p.Ref, "#/components/parameters/flag."):
				flags++
			case p.Value.In == "query":
				params = append(params, p.Value.Name)
			}
		}
		want := slices.Concat(r.params, r.lists)
		slices.Sort(params)
		slices.Sort(want)
		if !slices.Equal(params, want) || (flags > 0) != r.flags {
			t.Errorf("%s %s: parameters %q and %d flags, want %q and flags: %v", r.method, r.path, params, flags, want, r.flags)
		}
		if (op.RequestBody != nil) != (r.body != 0) && !strings.HasSuffix(r.path, "/cancel") && !strings.HasSuffix(r.path, "/retry") &&
			!strings.HasSuffix(r.path, "/rerun") && r.path != "/v1/hosts/{host}/resume" {
			t.Errorf("%s %s: the description has a body: %v, the route: %v", r.method, r.path, op.RequestBody != nil, r.body != 0)
		}
	}
}

// The schemas have the fields of the types that answers are made of, and require those that
// are always there.
func TestContractHasTheFields(t *testing.T) {
	t.Parallel()
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]any{
		"Problem": Problem{}, "Finding": jobs.Problem{}, "Job": jobs.Job{}, "Container": jobs.Container{}, "Result": jobs.Result{},
		"JobFailure": jobs.Failure{}, "BaseImage": jobs.BaseImage{}, "Output": jobs.Output{}, "LogInfo": jobs.LogInfo{},
		"PastAttempt": jobs.PastAttempt{}, "ServiceStatus": jobs.ServiceStatus{}, "StageTime": jobs.StageTime{}, "BuiltBy": jobs.BuiltBy{},
		"Jobs": page{}, "Hosts": hostsDoc{}, "BulkJob": bulkDone{}, "LogEntry": entry{}, "Failure": summary{}, "Why": jobs.Why{}, "HostWhy": jobs.HostWhy{},
		"Event": jobs.Event{}, "Steps": stepsOf{}, "Step": buildlog.Step{}, "StoredContext": stored{}, "Host": jobs.KnownHost{},
		"HostOrder": jobs.HostOrder{}, "Queues": queuesDoc{}, "QueueLoad": jobs.QueueLoad{}, "Slots": jobs.Slots{}, "Pause": jobs.Pause{},
		"Weight": jobs.Weight{}, "Recipe": jobs.Recipe{}, "RecipeSettings": jobs.RecipeSettings{}, "Base": jobs.Base{},
		"BaseVersion": jobs.BaseVersion{}, "Rebuild": rebuildDoc{}, "RebuildQuestion": rebuild.Question{}, "RebuildRequest": rebuildRequest{}, "RebuildPlan": rebuild.Plan{}, "PlannedImage": rebuild.Image{},
		"RebuildReason": rebuild.Reason{}, "LeftOut": rebuild.LeftOut{}, "RebuildImage": jobs.RebuildImage{}, "TagMove": jobs.TagMove{},
		"BatchJob": batchDone{}, "News": news{}, "NewsPlace": newsPlace{}, "LogChunk": logChunk{}, "Learned": learned{}, "Change": change{}, "Webhook": jobs.Webhook{}, "WebhookFilter": jobs.HookFilter{}, "Call": jobs.HookCall{},
		"BaseMove": jobs.BaseMove{}, "Token": access.ShownToken{}, "Deed": access.Deed{}, "Principal": access.Principal{},
	}
	for name, v := range documents {
		ref := doc.Components.Schemas[name]
		if ref == nil {
			t.Errorf("openapi.yaml has no schema %s", name)
			continue
		}
		fields := map[string]bool{} // and whether it is always there
		fieldsOf(reflect.TypeOf(v), fields)
		if name == "Token" {
			delete(fields, "hash") // it is never shown
		}
		for field, always := range fields {
			if ref.Value.Properties[field] == nil {
				t.Errorf("schema %s has no %s", name, field)
			}
			if always != slices.Contains(ref.Value.Required, field) {
				t.Errorf("schema %s requires %s: %v, want %v", name, field, !always, always)
			}
		}
		for field := range ref.Value.Properties {
			if _, ok := fields[field]; !ok {
				t.Errorf("schema %s has %s, and the answers have not", name, field)
			}
		}
	}
}

func fieldsOf(t reflect.Type, fields map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if tagged && name != "-" && (f.IsExported() || f.Anonymous) {
			fields[name] = options == ""
		}
	}
	for i := range t.NumField() { // what is above hides what is below
		if f := t.Field(i); f.Anonymous && f.Tag.Get("json") == "" {
			below := map[string]bool{}
			fieldsOf(f.Type, below)
			for name, always := range below {
				if _, hidden := fields[name]; !hidden {
					fields[name] = always
				}
			}
		}
	}
}

// The words that the description lists are those of the farm.
func TestContractHasTheWords(t *testing.T) {
	t.Parallel()
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, want []string) {
		var got []string
		for _, v := range doc.Components.Schemas[name].Value.Enum {
			got = append(got, v.(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is one of %q, want %q", name, got, want)
		}
	}
	check("State", asStrings(jobs.States()))
	check("Scope", asStrings(access.Scopes()))
	seen := map[string]bool{}
	for _, k := range kinds() {
		seen[string(k)] = true
	}
	for _, p := range own() {
		if seen[p.Type] {
			t.Errorf("the problem %s is a kind, too", p.Type)
		}
		seen[p.Type] = true
	}
}
