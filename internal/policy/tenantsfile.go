package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// UnmarshalYAML implements the interface of the YAML library. It goes through the part
// by itself: to the library a list without a value is one that is not there, and here
// that would take the rule away.
func (t *Tenants) UnmarshalYAML(n ast.Node) error {
	*t = Tenants{}
	err := entries(n, "the tenants by their names", func(key, value ast.Node) error {
		name := word(key)
		if !jobs.IsName(name) && name != OtherTenants {
			return at(key, fmt.Errorf(`%q is no name of a tenant; want lower-case letters, digits and . _ -, at most 64, or "*" for all that are not named`, name))
		}
		tenant, err := readTenant(value)
		(*t)[name] = tenant
		return err
	})
	if err == nil && len(*t) == 0 {
		err = at(n, errors.New("no tenant is named, and so no job could be taken; name one, or leave tenants out to have no rules"))
	}
	return err
}

func readTenant(n ast.Node) (Tenant, error) {
	var t Tenant
	return t, entries(n, "queues, push and secrets", func(key, value ast.Node) error {
		name := word(key)
		list := t.list(name)
		if list == nil {
			return at(key, fmt.Errorf("unknown list %q: want queues, push or secrets", name))
		}
		seq, ok := value.(*ast.SequenceNode)
		if !ok {
			return at(value, errors.New("want a list in [ ]; [] allows none, and without the list there is no rule"))
		}
		*list = []string{}
		for _, entry := range seq.Values {
			if err := checkEntry(name, entry); err != nil {
				return err
			}
			*list = append(*list, word(entry))
		}
		return nil
	})
}

// entries calls do for each entry of a mapping that is written out.
func entries(n ast.Node, want string, do func(key, value ast.Node) error) error {
	m, ok := n.(ast.MapNode)
	if !ok {
		return at(n, fmt.Errorf("want %s; {} has none", want))
	}
	for i := m.MapRange(); i.Next(); {
		if i.Key().IsMergeKey() {
			return at(i.Key(), errors.New("write the entries out; << is not read here"))
		}
		if err := do(i.Key(), i.Value()); err != nil {
			return err
		}
	}
	return nil
}

// word is a scalar of the file without its quotes and comments.
func word(n ast.Node) string { return n.GetToken().Value }

func checkEntry(list string, n ast.Node) error {
	entry := word(n)
	if _, ok := n.(ast.ScalarNode); !ok || n.Type() == ast.NullType || n.Type() == ast.LiteralType {
		return at(n, errors.New("want one word for each entry"))
	}
	valid, noun, letters := jobs.IsQueue, "queue", "lower-case letters, digits and -, at most 32"
	switch list {
	case pushList:
		return at(n, checkPrefix(entry))
	case secretsList:
		valid, noun, letters = jobs.IsSecret, "secret", "letters, digits and . _ -, at most 64"
	}
	if beginning := strings.TrimSuffix(entry, "*"); !valid(beginning) && entry != "*" {
		return at(n, fmt.Errorf("%q is no name of a %s; want %s, and * only at the end, for any characters", entry, noun, letters))
	}
	return nil
}

// checkPrefix wants what names of images begin with as the farm compares it: with its
// registry, in lower case.
func checkPrefix(prefix string) error {
	const below = "x/x" // the Hub's official images have a folder that is not written
	base := strings.TrimSuffix(prefix, "/")
	switch {
	case strings.Contains(prefix, "*"):
		return fmt.Errorf("%q has a *; leave it out, as what ends with / covers all names below it", prefix)
	case strings.ContainsFunc(prefix, unicode.IsUpper):
		return fmt.Errorf("%q has upper-case letters; write %q", prefix, strings.ToLower(prefix))
	case !strings.Contains(prefix, "/") || !imagename.IsName(base+"/"+below):
		return fmt.Errorf("%q is no beginning of names of images; want a registry and a path without tag, such as registry.example.com/team/, or registry.example.com/ for all of it", prefix)
	}
	if full := imagename.Repository(base + "/" + below); full != base+"/"+below {
		return fmt.Errorf("%q has no registry, or not its usual name; write %q", prefix, strings.TrimSuffix(full, "/"+below)+strings.TrimPrefix(prefix, base))
	}
	return nil
}

// checkTenantsGiven refuses a key that has nothing below it, which the library takes for
// one that is not there: all rules would be gone without a word.
func checkTenantsGiven(file []byte) error {
	path, err := yaml.PathString("$.tenants")
	if err != nil {
		return fmt.Errorf("find tenants: %w", err)
	}
	n, err := path.ReadNode(bytes.NewReader(file))
	if err != nil || n.Type() != ast.NullType { // there is none, or the decoder says what is wrong
		return nil
	}
	return at(n, errors.New("it has nothing below it; name a tenant, or leave tenants out to have no rules"))
}
