package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/policy"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	p, err := policy.Load("")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Context.Limits(), contexts.Defaults(); got != want {
		t.Errorf("limits %+v, want those of package artifacts, %+v", got, want)
	}
	again, err := policy.Parse([]byte(p.String()))
	if err != nil {
		t.Fatalf("the defaults as a file: %v\n%s", err, p)
	}
	if diff := cmp.Diff(p.String(), again.String()); diff != "" {
		t.Errorf("the defaults differ after a round trip:\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`# an operator's file
version: 1
context:
  schemes: [cas, s3, https]
  require_digest: true
  max_compressed: 1GiB
  max_unpacked: "2g"
  stall_timeout: 5s
  http:
    hosts: ["artifacts.example.com"]
    networks: [10.1.2.0/24]
    credentials:
      ci: {hosts: [artifacts.example.com], bearer_file: /etc/slipway/ci}
  s3:
    - {buckets: ["builds-*"], endpoint: "https://s3.example.com", region: eu, access_key_file: /a, secret_key_file: /s}
images: {pull: always, from: ["registry.example.com/*"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Context
	if !c.RequireDigest || c.MaxCompressed != 1<<30 || c.MaxUnpacked != 2<<30 || time.Duration(c.StallTimeout) != 5*time.Second || c.MaxEntries != 200_000 ||
		c.S3[0].Buckets[0] != "builds-*" || c.HTTP.Credentials["ci"].BearerFile != "/etc/slipway/ci" || p.Images.Pull != "always" || len(p.Dockerfile.Frontends) == 0 {
		t.Errorf("got %+v", p)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, says string }{
		{"no version", "context: {}\n", "version: found 0; want 1"},
		{"empty", "", `it is empty; write at least "version: 1"`},
		{"nothing in it", "{}\n", "version: found 0; want 1"},
		{"two documents", "version: 1\n---\nversion: 1\n", "more than one document"},
		{"a word for a number", "version: 1\ncontext:\n  max_entries: many\n", `line 3:16: context.max_entries: "many" is not a whole number`},
		{"a fraction", "version: 1\ncontext: {max_ratio: 1.5}\n", `context.max_ratio: "1.5" is not`},
		{"an octal number", "version: 1\ncontext: {max_name: 010}\n", `context.max_name: "010" is not`},
		{"a word for a yes", "version: 1\ncontext:\n  require_digest: yes\n", "line 3:19: found a text where true or false is wanted"},
		{"a size of something", "version: 1\ncontext:\n  max_compressed: 5 potatoes\n", `line 3:19: context.max_compressed: "5 potatoes" is not a size`},
		{"a time without a unit", "version: 1\ncontext:\n  stall_timeout: 30\n", `line 3:18: context.stall_timeout: "30" is not a duration`},
		{"tabs", "version: 1\ncontext:\n\tmax_depth: 3\n", "line 3:1: found character '\t' that cannot start any token; indent with spaces"},
		{"a URL for a host", "version: 1\ncontext: {http: {hosts: [\"https://a.example/\"]}}\n", `context.http.hosts: found "https://a.example/"; want the name of a host`},
		{"version of tomorrow", "version: 2\n", "version: found 2; want 1"},
		{"unknown field", "version: 1\ncontext:\n  max_entires: 5\n", "line 3:3: unknown field \"max_entires\""},
		{"duplicate field", "version: 1\nversion: 1\n", "line 2:1: "},
		{"a pattern without quotes", "version: 1\nimages: {from: [*]}\n", "; put a * in quotes, without them it is an alias"},
		{"not YAML", "version: [1\n", "line 1:"},
		{"wrong type", "version: 1\ncontext: {max_entries: many}\n", "line 2:"},
		{"bad size", "version: 1\ncontext: {max_unpacked: 4 apples}\n", "4 apples"},
		{"bad duration", "version: 1\ncontext: {stall_timeout: 30}\n", "30s"},
		{"unknown scheme", "version: 1\ncontext: {schemes: [gopher]}\n", `context.schemes: unknown scheme "gopher": want cas, file, http, https or s3`},
		{"nothing may come", "version: 1\ncontext: {max_unpacked: 0}\n", "context.max_unpacked: want more than 0"},
		{"relative root", "version: 1\ncontext: {file_roots: [builds]}\n", `"builds" is not an absolute path`},
		{"bad scheme of webhooks", "version: 1\nwebhooks: {schemes: [ftp]}\n", "webhooks.schemes"},
		{"bad host of webhooks", "version: 1\nwebhooks: {hosts: [\"ci.lan:8080\"]}\n", "webhooks.hosts"},
		{"bad network of webhooks", "version: 1\nwebhooks: {networks: [10.1.2.3]}\n", "webhooks.networks"},
		{"bad network", "version: 1\ncontext: {http: {networks: [10.1.2.3]}}\n", "context.http.networks"},
		{"credential without hosts", "version: 1\ncontext: {http: {credentials: {ci: {bearer_file: /x}}}}\n", "context.http.credentials.ci: want hosts"},
		{"half a key", "version: 1\ncontext: {s3: [{buckets: [b], access_key_file: /x}]}\n", "context.s3[0]"},
		{"endpoint without scheme", "version: 1\ncontext: {s3: [{buckets: [b], endpoint: s3.example.com}]}\n", "context.s3[0].endpoint"},
		{"a ulimit that is none", "version: 1\nrun: {ulimits: {nofiles: 5}}\n", `run.ulimits: unknown ulimit "nofiles": want core`},
		{"a limit below none", "version: 1\nrun: {ulimits: {nofile: -2}}\n", `"-2" is no limit; want a whole number, or -1 for none`},
		{"a word for a limit", "version: 1\nrun: {pids: lots}\n", `"lots" is no limit`},
		{"no processes", "version: 1\nrun: {pids: 0}\n", "run.pids: want more than 0"},
		{"port 0", "version: 1\nports:\n  host: [0]\n", `line 3:`},
		{"port of a service", "version: 1\nports: {host: [http]}\n", `"http" is not a port such as 8080 or a range such as 8000-8999`},
		{"port that is too large", "version: 1\nports: {host: [65536]}\n", `"65536" is not a port`},
		{"range from the end", "version: 1\nports: {host: [9000-8000]}\n", `"9000-8000" is not a port`},
		{"range without an end", "version: 1\nports: {host: [8000-]}\n", `"8000-" is not a port`},
		{"octal port", "version: 1\nports: {host: [0443]}\n", `"0443" is not a port`},
		{"URL for a registry", "version: 1\nimages: {registries: [\"https://registry.lan\"]}\n", `images.registries: found "https://registry.lan"`},
		{"repository for a registry", "version: 1\nimages: {registries: [registry.lan/team]}\n", `images.registries: found "registry.lan/team"`},
		{"part of an address", "version: 1\nimages: {registries: [\"10.1.*\"]}\n", `images.registries: found "10.1.*"`},
		{"part of a name", "version: 1\nimages: {registries: [\"reg*.lan\"]}\n", `images.registries: found "reg*.lan"`},
		{"no registry", "version: 1\nimages: {registries: [\"\"]}\n", `images.registries: found ""`},
		{"pull sometimes", "version: 1\nimages: {pull: sometimes}\n", "images.pull"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := policy.Load(file)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with the file and %q", err, tt.says)
			}
		})
	}
	if _, err := policy.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no such file: got nil")
	}
}

// A file that bounds one ulimit opens no other.
func TestUlimits(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte("version: 1\nrun: {pids: 4096, ulimits: {memlock: 65536, nice: -1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"memlock": 65536, "nice": -1, "rtprio": 0, "nofile": -1} {
		if got := p.Run.Ulimit(name); got != want {
			t.Errorf("%s: %d; want %d", name, got, want)
		}
	}
	if p.Run.Pids != 4096 {
		t.Errorf("pids %d", p.Run.Pids)
	}
}

// TestExample: deploy's example is the default, and what it shows in comments
// can be taken as it stands. A # before a setting has no space after it.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/policy.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy.Defaults().String(), p.String()); diff != "" {
		t.Errorf("the example is not the default:\n%s", diff)
	}
	open := regexp.MustCompile(`(?m)^( *)#(\S)`).ReplaceAll(text, []byte("$1$2"))
	p, err = policy.Parse(open)
	if err != nil {
		t.Fatalf("with everything that stands in comments: %v", err)
	}
	if own, others := p.Tenants["acme"], p.Tenants[policy.OtherTenants]; len(own.Queues) == 0 || len(own.Push) == 0 || len(own.Secrets) == 0 || others.Push == nil {
		t.Errorf("of tenants the example shows %+v", p.Tenants)
	}
	p.Tenants = nil
	for _, key := range []string{"file_roots", "hosts", "networks", "credentials", "s3", "add_hosts", "from", "push", "registries", "tag", "replace"} {
		if strings.Contains(p.String(), key+": []") || strings.Contains(p.String(), key+": {}") {
			t.Errorf("the example does not show %s", key)
		}
	}
}
