package bake

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// entry is a member of a list such as output: key=value pairs, which an older bake prints
// as one text and a newer one as an object. A text without = has the key "".
type entry map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (e *entry) UnmarshalJSON(raw []byte) error {
	*e = entry{}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return e.read(text)
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return err
	}
	for k, v := range object {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		var texts []string
		for _, v := range list {
			texts = append(texts, fmt.Sprint(v))
		}
		(*e)[k] = strings.Join(texts, ",")
	}
	return nil
}

func (e *entry) read(text string) error {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return fmt.Errorf("read %q: %w", jobs.Clip(text), err)
	}
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			k, v = "", f
		}
		(*e)[strings.ToLower(strings.TrimSpace(k))] = v
	}
	return nil
}

// others are the keys that are not among known, in order.
func (e entry) others(known ...string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e)), func(k string) bool { return slices.Contains(known, k) })
}

// attestations are refused but for those that the target does without, as all jobs do.
func attestations(t *Target, v []entry) {
	for _, e := range v {
		if e["disabled"] != "true" {
			t.refuse("attest", "the farm makes no attestation (%s); set it to disabled", jobs.Clip(e["type"]))
		}
	}
}

// outputs may ask for what each job does: leave an image, and push it with --push.
func outputs(t *Target, v []entry) {
	for _, e := range v {
		typ := e["type"]
		if typ == "" {
			typ = "local" // a path alone
		}
		pushes := typ == "registry" || typ == "image" && e["push"] == "true"
		switch others := e.others("type", "push"); {
		case !slices.Contains([]string{"docker", "image", "registry"}, typ):
			t.refuse("output", "%s is no image, and an image is all that a build leaves", jobs.Clip(typ))
		case len(others) > 0:
			t.refuse("output", "%s of type=%s cannot be set", jobs.Clip(strings.Join(others, ", ")), typ)
		case pushes && !t.opts.Push:
			t.refuse("output", "it pushes, which a job does when --push is given")
		case typ == "docker":
			t.ignore("output", "the image stays on the build host; this machine gets none")
		}
		t.pushes = t.pushes || pushes
	}
}

// secrets are those of the workers. A value that this machine has never travels.
func secrets(t *Target, v []entry) {
	for _, e := range v {
		id := e["id"]
		if others := e.others("id", "src", "source", "env", "type"); id == "" || len(others) > 0 {
			t.refuse("secret", "found a secret without id, or with a key that is not known: %s", jobs.Clip(strings.Join(slices.Sorted(maps.Keys(e)), ", ")))
			continue
		}
		held, ok := heldBy(t.opts.Secrets, id)
		if !ok && e["src"]+e["source"]+e["env"] != "" {
			t.refuse("secret", "%s is a file or variable of this machine, and a secret's value never travels; have the operator give it to the workers, and say so with --secret id=%[1]s", jobs.Clip(id))
			continue
		}
		t.Build.Secrets = append(t.Build.Secrets, held)
	}
}

// sshKeys are those of the workers, too. In a text the ID is the key before the paths.
func sshKeys(t *Target, v []entry) {
	for _, e := range v {
		id, paths := e["id"], e["paths"]
		if id == "" {
			id = e[""]
			for _, k := range e.others("", "id", "paths") { // id=path, or id=path,path
				id, paths = k, e[k]
			}
		}
		if id == "" {
			id = "default"
		}
		held, ok := heldBy(t.opts.SSH, id)
		if !ok && paths != "" {
			t.refuse("ssh", "%s is a key of this machine, and keys never travel; have the operator give it to the workers, and say so with --ssh id=%[1]s", jobs.Clip(id))
			continue
		}
		t.Build.SSH = append(t.Build.SSH, held)
	}
}

// heldBy is the secret of the workers that the command line names for an ID, or the one
// of that name.
func heldBy(held []jobs.Secret, id string) (jobs.Secret, bool) {
	for _, s := range held {
		if s.ID == id {
			return s, true
		}
	}
	return jobs.Secret{ID: id}, false
}
