package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/policy"
)

// An empty list and no list are two things, in a file as in what is printed of it.
func TestTenantsAreKept(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`version: 1
tenants:
  acme: # the first one
    queues: [builds, acme-*] # and a comment
    push:
      - registry.example/acme/ # all below
      - "registry.example:5000/tools"
    secrets: [acme-npm, "Acme_*", "*"]
  blue: {queues: [], push: [], secrets: []}
  7.x: {}
  "*":
    push: []
`))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Tenants{
		"acme": {
			Queues: []string{"builds", "acme-*"}, Push: []string{"registry.example/acme/", "registry.example:5000/tools"},
			Secrets: []string{"acme-npm", "Acme_*", "*"},
		},
		"blue": {Queues: []string{}, Push: []string{}, Secrets: []string{}},
		"7.x":  {},
		"*":    {Push: []string{}},
	}
	if diff := cmp.Diff(want, p.Tenants); diff != "" {
		t.Errorf("read as (-want +got):\n%s", diff)
	}
	again, err := policy.Parse([]byte(p.String()))
	if err != nil {
		t.Fatalf("what is printed is no policy: %v\n%s", err, p)
	}
	if diff := cmp.Diff(want, again.Tenants); diff != "" {
		t.Errorf("printed and read again (-want +got):\n%s", diff)
	}
	if p := policy.Defaults(); p.Tenants != nil || strings.Contains(p.String(), "tenants") {
		t.Errorf("the default has rules for tenants:\n%s", p)
	}
}

// A refusal has the line, and what to write in its place.
func TestTenantsRefuse(t *testing.T) {
	t.Parallel()
	acme := func(lists string) string { return "version: 1\ntenants:\n  acme: " + lists + "\n" }
	for _, tt := range []struct{ name, text, says string }{
		{"nothing below", "version: 1\ntenants:\nports: {}\n", "line 2:9: tenants: it has nothing below it; name a tenant"},
		{"no tenant", "version: 1\ntenants: {}\n", "line 2:10: tenants: no tenant is named, and so no job could be taken"},
		{"a list of tenants", "version: 1\ntenants: [acme]\n", "line 2:10: tenants: want the tenants by their names"},
		{"twice", "version: 1\ntenants:\n  acme: {}\n  acme: {}\n", "line 4:3: "},
		{"upper case", "version: 1\ntenants:\n  Acme: {}\n", `line 3:3: tenants.Acme: "Acme" is no name of a tenant; want lower-case`},
		{"pattern", "version: 1\ntenants:\n  \"acme-*\": {}\n", `"acme-*" is no name of a tenant; want lower-case`},
		{"no name", "version: 1\ntenants:\n  \"\": {}\n", `"" is no name of a tenant`},
		{"others without quotes", "version: 1\ntenants:\n  *: {}\n", "; put a * in quotes"},
		{"all without quotes", "version: 1\ntenants:\n  acme: {secrets: [*]}\n", "; put a * in quotes"},
		{"merge", "version: 1\ntenants:\n  acme: &a {}\n  <<: *a\n", "tenants.acme: want queues, push and secrets"},
		{"merge key", "version: 1\ntenants:\n  <<: {acme: {}}\n", "write the entries out"},

		{"nothing below a tenant", acme(""), "line 3:9: tenants.acme: want queues, push and secrets; {} has none"},
		{"list below a tenant", acme("[builds]"), "tenants.acme: want queues, push and secrets"},
		{"unknown list", acme("{queue: [builds]}"), `line 3:10: tenants.acme.queue: unknown list "queue": want queues, push or secrets`},
		{"list without a value", acme("{push: }"), "tenants.acme.push: want a list in [ ]; [] allows none"},
		{"word for a list", acme("{push: registry.example/acme/}"), "line 3:16: tenants.acme.push: want a list in [ ]"},
		{"list in a list", acme("{queues: [[builds]]}"), "tenants.acme.queues[0]: want one word"},
		{"null in a list", acme("{queues: [builds, ~]}"), "tenants.acme.queues[1]: want one word"},

		{"no queue", acme(`{queues: [""]}`), `"" is no name of a queue`},
		{"queue in upper case", acme("{queues: [builds, Acme]}"), `line 3:27: tenants.acme.queues[1]: "Acme" is no name of a queue; want lower-case letters, digits and -, at most 32, and * only at the end`},
		{"pattern in a queue", acme(`{queues: ["*-acme"]}`), `"*-acme" is no name of a queue`},
		{"pattern in a secret", acme("{secrets: [ac*me]}"), `"ac*me" is no name of a secret; want letters, digits and . _ -`},
		{"two stars", acme("{secrets: [acme-**]}"), `"acme-**" is no name of a secret`},
		{"path for a secret", acme("{secrets: [../acme]}"), `"../acme" is no name of a secret`},
		{"long secret", acme("{secrets: [" + strings.Repeat("a", 65) + "]}"), "at most 64"},

		{"prefix in upper case", acme("{push: [Registry.example/acme/]}"), `line 3:17: tenants.acme.push[0]: "Registry.example/acme/" has upper-case letters; write "registry.example/acme/"`},
		{"pattern for a prefix", acme("{push: [registry.example/acme/*]}"), `"registry.example/acme/*" has a *; leave it out`},
		{"no prefix", acme(`{push: [""]}`), `"" is no beginning of names`},
		{"slash", acme("{push: [/]}"), `"/" is no beginning of names`},
		{"registry without a slash", acme("{push: [registry.example]}"), `"registry.example" is no beginning of names of images; want a registry and a path`},
		{"part of a path", acme("{push: [registry.example/acme-]}"), "is no beginning of names"},
		{"two slashes", acme("{push: [registry.example/acme//]}"), "is no beginning of names"},
		{"tag", acme("{push: [\"registry.example/acme:1\"]}"), "is no beginning of names"},
		{"URL", acme("{push: [\"https://registry.example/acme\"]}"), "is no beginning of names"},
		{"no registry", acme("{push: [acme/]}"), `"acme/" has no registry, or not its usual name; write "docker.io/acme/"`},
		{"other name of the Hub", acme("{push: [index.docker.io/acme]}"), `write "docker.io/acme"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := policy.Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "line ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with its number and %q\n%s", err, tt.says, p)
			}
		})
	}
}
