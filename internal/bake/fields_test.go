package bake_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/bake"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// fields are all that bake prints or reads of a target.
const fields = `description name matrix inherits annotations attest context contexts dockerfile dockerfile-inline
	args labels tags cache-from cache-to target secret ssh platforms output pull no-cache network no-cache-filter
	shm-size ulimits call entitlements extra-hosts policy`

// TestFields: what becomes of each field.
func TestFields(t *testing.T) {
	t.Parallel()
	tests := []struct {
		field, value string
		opts         bake.Options
		// want is the build that the field makes, with dir, ref, file or inline for what is
		// no part of it; refused or ignored a part of the reason.
		want, refused, ignored string
	}{
		{field: "description", value: `"the app"`, ignored: "is for people"},
		{field: "name", value: `"app-${v}"`, refused: "has not worked it out"},
		{field: "matrix", value: `{"v":["1"]}`, refused: "has not worked it out"},
		{field: "inherits", value: `["base"]`, refused: "has not worked it out"},
		{field: "annotations", value: `["a=b"]`, refused: "no annotations"},
		{field: "attest", value: `["type=provenance,mode=max"]`, refused: "no attestation (provenance)"},
		{field: "attest", value: `[{"type":"sbom"}]`, refused: "no attestation (sbom)"},
		{field: "attest", value: `["type=provenance,disabled=true",{"type":"sbom","disabled":"true"},{"type":"sbom","disabled":true}]`, want: `{}`},

		{field: "context", value: `"app"`, want: `{"dir":"app"}`},
		{field: "context", value: `"../a:b"`, want: `{"dir":"../a:b"}`},
		{field: "context", value: `"https://forge.example/a.tar.gz"`, want: `{"ref":"https://forge.example/a.tar.gz"}`},
		{field: "context", value: `"s3://bucket/a.tar"`, want: `{"ref":"s3://bucket/a.tar"}`},
		{field: "context", value: `"-"`, refused: "no context from stdin"},
		{field: "context", value: `"https://me:secret@forge.example/a.git#main:sub"`, refused: "fetches no git repositories"},
		{field: "context", value: `"https://forge.example/a#main"`, refused: "fetches no git repositories"},
		{field: "context", value: `"git@forge.example:a/b"`, refused: "fetches no git repositories"},
		{field: "context", value: `"me@forge.example:a/b"`, refused: "fetches no git repositories"},
		{field: "context", value: `"github.com/a/b"`, refused: "fetches no git repositories"},
		{field: "context", value: `"target:base"`, refused: "target: means something to bake alone"},
		{field: "context", value: `"docker-image://alpine"`, refused: "docker-image: means something to bake alone"},
		{field: "context", value: `"cwd://sub"`, refused: "cwd: means something to bake alone"},
		{field: "context", value: `"ftp://host/a.tar"`, refused: "begin with ftp://"},
		{field: "context", value: `"https://me:secret@forge.example/a.tar"`, refused: "credentials do not belong in a reference"},
		{field: "context", value: `["app"]`, refused: "a value that bake does not print"},

		{field: "contexts", value: `{"base":"target:base"}`, refused: "base is the result of another target (target:base), and jobs do not hand results on"},
		{field: "contexts", value: `{"alpine":"docker-image://alpine:3"}`, want: `{"contexts":{"alpine":"docker-image://alpine:3"}}`},
		{field: "contexts", value: `{"src":"../src"}`, want: `{"beside":{"src":"../src"}}`},
		{field: "contexts", value: `{"src":"https://host/a.tar"}`, refused: "src is neither an image (docker-image://) nor a directory"},
		{field: "contexts", value: `{"src":"oci-layout://x"}`, refused: "src is neither an image (docker-image://) nor a directory"},
		{field: "contexts", value: `{"SRC":"docker-image://alpine"}`, refused: "context_name_invalid"},
		{field: "contexts", value: `{"src":""}`, want: `{}`},

		{field: "dockerfile", value: `"deploy//Dockerfile"`, want: `{"file":"deploy/Dockerfile"}`},
		{field: "dockerfile", value: `"../Dockerfile"`, want: `{"file":"../Dockerfile"}`},
		{field: "dockerfile", value: `"-"`, refused: "no Dockerfile from stdin"},
		{field: "dockerfile", value: `"https://host/Dockerfile"`, refused: "it is https://"},
		{field: "dockerfile", value: `"cwd://Dockerfile"`, refused: "it is cwd://"},
		{field: "dockerfile-inline", value: `"FROM a\nRUN echo $${x} $y\n"`, want: `{"inline":"FROM a\nRUN echo ${x} $y\n"}`},
		{field: "dockerfile-inline", value: `"RUN echo ${x}"`, refused: "dockerfile-inline has ${, which bake writes as $${"},

		{field: "args", value: `{"A":"1","B":null,"C":"$${x}%%{y}$$${z}%"}`, want: `{"args":{"A":"1","C":"${x}%{y}$${z}%"}}`},
		{field: "args", value: `{"A":"${x}"}`, refused: "args.A has ${, which bake writes as $${"},
		{field: "args", value: `{"A":"%{x}"}`, refused: "args.A has %{, which bake writes as %%{"},
		{field: "args", value: `{"1 A":"x"}`, refused: "build_arg_name_invalid"},
		{field: "args", value: `{"A":1}`, refused: "a value that bake does not print"},
		{field: "labels", value: `{"org.example.text":"a b","none":null}`, want: `{"labels":{"org.example.text":"a b"}}`},
		{field: "labels", value: `{"slipway.job":"x"}`, refused: "are reserved"},
		{field: "tags", value: `["a:1","b:2","a:1",""]`, want: `{"tags":["a:1","b:2"]}`},
		{field: "tags", value: `["a:1"]`, opts: bake.Options{Push: true}, want: `{"tags":["a:1"],"push":true}`},
		{field: "tags", value: `["Bad Tag"]`, refused: "Bad Tag"},
		{field: "tags", value: `[]`, opts: bake.Options{Push: true}, want: `{}`, ignored: "built and not pushed"},

		{field: "cache-from", value: `["type=registry,ref=a:cache"]`, ignored: "the cache of its build hosts"},
		{field: "cache-from", value: `[{"type":"gha"}]`, ignored: "the cache of its build hosts"},
		{field: "cache-to", value: `[{"type":"inline"}]`, ignored: "exports no cache"},
		{field: "target", value: `"release"`, want: `{"target":"release"}`},

		{field: "secret", value: `["id=npm"]`, want: `{"secrets":[{"id":"npm"}]}`},
		{field: "secret", value: `[{"id":"npm","src":"/home/me/.npmrc"}]`, refused: "say so with --secret id=npm"},
		{field: "secret", value: `["type=env,id=npm,env=NPM_TOKEN"]`, refused: "npm is a file or variable of this machine"},
		{
			field: "secret", value: `[{"id":"npm","src":"/home/me/.npmrc"}]`, opts: bake.Options{Secrets: []jobs.Secret{{ID: "npm", Name: "npm-ro"}}},
			want: `{"secrets":[{"id":"npm","name":"npm-ro"}]}`,
		},
		{field: "secret", value: `["src=x"]`, refused: "a secret without id"},
		{field: "secret", value: `["id=x,mode=0400"]`, refused: "a key that is not known: id, mode"},
		{field: "ssh", value: `["default"]`, want: `{"ssh":[{"id":"default"}]}`},
		{field: "ssh", value: `[{"id":"deploy"}]`, want: `{"ssh":[{"id":"deploy"}]}`},
		{field: "ssh", value: `["deploy=/home/me/.ssh/id"]`, refused: "deploy is a key of this machine"},
		{field: "ssh", value: `[{"id":"deploy","paths":["/a","/b"]}]`, refused: "say so with --ssh id=deploy"},
		{field: "ssh", value: `["deploy=/a"]`, opts: bake.Options{SSH: []jobs.Secret{{ID: "deploy"}}}, want: `{"ssh":[{"id":"deploy"}]}`},

		{field: "platforms", value: `["linux/arm64"]`, want: `{"platform":"linux/arm64"}`},
		{field: "platforms", value: `["linux/amd64","linux/amd64"]`, want: `{"platform":"linux/amd64"}`},
		{field: "platforms", value: `["linux/amd64","linux/arm64"]`, refused: "one platform, and these are linux/amd64, linux/arm64"},
		{field: "platforms", value: `["local"]`, refused: "want os/arch"},

		{field: "output", value: `[{"type":"image"}]`, want: `{}`},
		{field: "output", value: `["type=image,push=false"]`, want: `{}`},
		{field: "output", value: `["type=docker"]`, ignored: "this machine gets none"},
		{field: "output", value: `["type=image,push=true"]`, refused: "when --push is given"},
		{field: "output", value: `["type=registry"]`, refused: "when --push is given"},
		{field: "output", value: `["type=registry"]`, opts: bake.Options{Push: true}, refused: "there is no tag to push"},
		{field: "output", value: `[{"type":"image","push":"true","compression":"zstd"}]`, refused: "compression of type=image cannot be set"},
		{field: "output", value: `["type=docker,dest=a.tar"]`, refused: "dest of type=docker cannot be set"},
		{field: "output", value: `["out"]`, refused: "local is no image"},
		{field: "output", value: `["type=cacheonly"]`, refused: "cacheonly is no image"},
		{field: "output", value: `["type=\"docker"]`, refused: "a value that bake does not print"},

		{field: "pull", value: `true`, want: `{"pull":true}`},
		{field: "pull", value: `false`, want: `{}`},
		{field: "no-cache", value: `true`, want: `{"no_cache":true}`},
		{field: "no-cache", value: `"yes"`, refused: "a value that bake does not print"},
		{field: "network", value: `"default"`, want: `{"network":"default"}`},
		{field: "network", value: `"none"`, want: `{"network":"none"}`},
		{field: "network", value: `"host"`, refused: `"host" is not one that a build can have`},
		{field: "no-cache-filter", value: `["build"]`, refused: "all steps anew"},
		{field: "shm-size", value: `"64m"`, refused: "limits of build steps"},
		{field: "ulimits", value: `["nofile=1"]`, refused: "limits of build steps"},
		{field: "call", value: `"build"`, want: `{}`},
		{field: "call", value: `"check"`, refused: `"check" builds no image`},
		{field: "entitlements", value: `["network.host"]`, refused: "rights and devices"},
		{field: "extra-hosts", value: `{"a":"10.0.0.1"}`, refused: "no host names"},
		{field: "policy", value: `[{"files":[]}]`, refused: "sets the policy"},

		{field: "compress", value: `true`, refused: "this version does not know it"},
		{field: "Tags", value: `["a"]`, refused: "this version does not know it"},
		{field: "compress", value: `null`, refused: "this version does not know it"},
		{field: "policy", value: `[ ]`, want: `{}`},
		{field: "tags", value: `null`, want: `{}`},
	}
	tried := map[string]bool{}
	for _, tt := range tests {
		tried[tt.field] = true
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			t.Parallel()
			f, err := bake.Read(fmt.Appendf(nil, `{"target":{"app":{%q:%s}}}`, tt.field, tt.value))
			if err != nil {
				t.Fatal(err)
			}
			got := f.Target("app", tt.opts)
			wantFinding(t, "refused", got.Refused, tt.field, tt.refused)
			wantFinding(t, "ignored", got.Ignored, tt.field, tt.ignored)
			if diff := cmp.Diff(orNothing(tt.want), made(t, got)); tt.refused == "" && diff != "" {
				t.Errorf("build differs (-want +got):\n%s", diff)
			}
		})
	}
	for _, name := range strings.Fields(fields) {
		if !tried[name] {
			t.Errorf("no test for %s", name)
		}
	}
}

func wantFinding(t *testing.T, what string, found []bake.Finding, field, reason string) {
	t.Helper()
	switch {
	case reason == "" && len(found) > 0:
		t.Errorf("%s: %+v; want nothing", what, found)
	case reason != "" && (len(found) != 1 || found[0].Field != field || !strings.Contains(found[0].Reason, reason)):
		t.Errorf("%s: %+v; want %s: %s", what, found, field, reason)
	case strings.Contains(fmt.Sprint(found), "secret@"):
		t.Errorf("%s: %+v tells a password", what, found)
	}
}

func orNothing(text string) map[string]any {
	m := map[string]any{}
	_ = json.Unmarshal([]byte(text), &m) // "" is nothing
	return m
}

// made is the build of a target, with what is no part of it.
func made(t *testing.T, got bake.Target) map[string]any {
	t.Helper()
	raw, err := json.Marshal(got.Build)
	if err != nil {
		t.Fatal(err)
	}
	m := orNothing(string(raw))
	for k, v := range map[string]string{"dir": got.Dir, "ref": got.Ref, "file": got.Dockerfile, "inline": string(got.Inline)} {
		if v != "" && !(k == "dir" && (v == "." || got.Ref != "")) {
			m[k] = v
		}
	}
	if len(got.Beside) > 0 {
		m["beside"] = anyMap(got.Beside)
	}
	return m
}

func anyMap(m map[string]string) map[string]any {
	all := map[string]any{}
	for k, v := range m {
		all[k] = v
	}
	return all
}

// What takes more than one field to tell.
func TestTogether(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, target string
		opts         bake.Options
		want         string
		refused      []bake.Finding
	}{
		{
			name:   "as bake prints it",
			target: `{"context":"app","dockerfile":"Dockerfile","tags":["reg.example/app:1"],"output":[{"type":"image","push":"true"}]}`,
			opts:   bake.Options{Push: true}, want: `{"dir":"app","file":"Dockerfile","tags":["reg.example/app:1"],"push":true}`,
		},
		{name: "inline counts before the default that is printed beside it", target: `{"dockerfile":"Dockerfile","dockerfile-inline":"FROM a"}`, want: `{"inline":"FROM a"}`},
		{name: "a Dockerfile in an archive", target: `{"context":"https://a.example/a.tar","dockerfile":"b/Dockerfile"}`, want: `{"ref":"https://a.example/a.tar","dockerfile":"b/Dockerfile"}`},
		{
			name: "a Dockerfile beside an archive", target: `{"context":"https://a.example/a.tar","dockerfile":"../Dockerfile"}`,
			refused: []bake.Finding{{"dockerfile", `found "../Dockerfile"; want a path inside the context (dockerfile_path_invalid)`}},
		},
		{
			name: "inline for an archive", target: `{"context":"https://a.example/a.tar","dockerfile-inline":"FROM a"}`,
			refused: []bake.Finding{{"dockerfile-inline", "its context is a reference, which the farm does not change; put the Dockerfile into that archive"}},
		},
		{
			name: "all of them are told", target: `{"network":"host","x":1,"shm-size":"1m"}`,
			refused: []bake.Finding{
				{"network", `the network "host" is not one that a build can have: want default or none`},
				{"x", "this version does not know it, and it may change the image"},
				{"shm-size", "the operator of the farm sets the limits of build steps"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := bake.Read([]byte(`{"target":{"app":` + tt.target + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			got := f.Target("app", tt.opts)
			if diff := cmp.Diff(tt.refused, got.Refused); diff != "" {
				t.Errorf("refused differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(orNothing(tt.want), made(t, got)); len(tt.refused) == 0 && diff != "" {
				t.Errorf("build differs (-want +got):\n%s", diff)
			}
		})
	}
}

// A target whose name no job can have is refused by it.
func TestName(t *testing.T) {
	t.Parallel()
	f, err := bake.Read([]byte(`{"target":{"App":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := f.Target("App", bake.Options{})
	wantFinding(t, "refused", got.Refused, "name", "want lower-case letters")
	if s := got.Spec(); !slices.Equal(got.Ignored, nil) || s.Name != "App" {
		t.Errorf("got %+v", got)
	}
}
