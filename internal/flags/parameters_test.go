package flags

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The description of the HTTP API lists the parameters that submissions take, and no others.
func TestParametersAreDescribed(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "api", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^    flag\.([\w-]+): \{name: ([\w-]+), `).FindAllStringSubmatch(string(raw), -1) {
		if m[1] != m[2] {
			t.Errorf("flag.%s is called %s", m[1], m[2])
		}
		described = append(described, m[1])
	}
	want := Parameters()
	slices.Sort(described)
	slices.Sort(want)
	if !slices.Equal(described, want) {
		t.Errorf("openapi.yaml describes\n%q\nwant\n%q", described, want)
	}
	for _, name := range want { // used in both routes
		if n := strings.Count(string(raw), "'#/components/parameters/flag."+name+"'"); n != 2 {
			t.Errorf("flag.%s is used in %d operations, want 2", name, n)
		}
	}
}

// Parameters change a document as the flags of submit do.
func TestFromParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, base, want string }{
		{"", `{"name":"a"}`, `{"name":"a"}`},
		{"tag=app:1&tag=app:2&run", `{"build":{}}`, `{"build":{"tags":["app:1","app:2"]},"run":{}}`},
		{"tag=b:2", `{"build":{"tags":["a:1"]}}`, `{"build":{"tags":["a:1","b:2"]}}`},
		{"run=true&push=&no-cache=false", `{"build":{}}`, `{"build":{"push":true},"run":{}}`},
		{
			"image=alpine&command=echo&command=hello+world&env=A=b%3Dc&timeout=10m&memory=512m&cpus=1.5&publish=8080:80", `{}`,
			`{"run":{"image":"alpine","command":["echo","hello world"],"env":{"A":"b=c"},"limits":{"cpus":1.5,"memory":536870912},"ports":[{"host":8080,"container":80}]},"timeouts":{"run":"10m"}}`,
		},
		{
			"context=https://example.com/a.tar&digest=sha256:x&file=d/Dockerfile&build-arg=V=1&label=a=b", `{}`,
			`{"labels":{"a":"b"},"context":{"ref":"https://example.com/a.tar","digest":"sha256:x"},"build":{"dockerfile":"d/Dockerfile","args":{"V":"1"},"labels":{"a":"b"}}}`,
		},
		{"platform=linux/arm64", `{"build":{}}`, `{"build":{"platform":"linux/arm64"}}`},
		{"platform=linux/arm64&image=a", `{}`, `{"requires":{"platform":"linux/arm64"},"run":{"image":"a"}}`},
		{"keep=1h&publish=80", `{"build":{}}`, `{"build":{},"run":{"ports":[{"container":80}],"keep":"1h","ready":{"tcp":true,"port":80}}}`},
		{"tag=a:1", `{}`, `{"build":{"tags":["a:1"]}}`}, // refused later: it has no context
	} {
		base := spec(t, tt.base)
		got, err := FromParameters(base, query(t, tt.query))
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		if a, b := marshalled(t, got), marshalled(t, spec(t, tt.want)); a != b {
			t.Errorf("%s makes\n%s\nwant\n%s", tt.query, a, b)
		}
		if a, b := marshalled(t, base), marshalled(t, spec(t, tt.base)); a != b {
			t.Errorf("%s changed the document that it began with to %s", tt.query, a)
		}
	}
}

func TestFromParametersRefuses(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "hunter2")
	for text, want := range map[string]string{
		"push=perhaps":                            `push: found "perhaps"; want true or false`,
		"retries=many":                            `retries: found "many"; want a number`,
		"timeout=soon":                            "timeout: ",
		"memory=lots":                             "memory: ",
		"priority=urgent":                         "priority: ",
		"env=SECRET_OF_THE_SERVER&image=a":        "env: ", // it is none of the client's
		"build-arg=SECRET_OF_THE_SERVER":          "build-arg: ",
		"secret=id=a,src=/etc/passwd":             "secret: ",
		"context=https://a/b&context=https://c/d": "context: ",
	} {
		_, err := FromParameters(jobs.Spec{}, query(t, text))
		var param *ParameterError
		if !errors.As(err, &param) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// No parameter reads a file or the environment of the server, or is about the client's own
// doings.
func TestParametersAreOfTheDocument(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"spec", "batch", "bake", "dry-run", "detach", "quiet", "output", "progress", "keep-git", "modes", "no-limits", "cache-dir", "no-cache-dir", "exit-code-from"} {
		if slices.Contains(Parameters(), name) {
			t.Errorf("%s is a parameter", name)
		}
	}
}

func query(t *testing.T, text string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func spec(t *testing.T, text string) jobs.Spec {
	t.Helper()
	s, err := jobs.DecodeSpec([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func marshalled(t *testing.T, s jobs.Spec) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
