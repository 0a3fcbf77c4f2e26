package provenance_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

var update = flag.Bool("update", false, "rewrite testdata/statement.json")

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// example is a build with something of everything.
func example() provenance.Build {
	claimed := time.Date(2026, 11, 30, 9, 12, 44, 123456789, time.FixedZone("", 3600))
	return provenance.Build{
		Job: jobs.Job{ID: "019a0b1c-2d40-7a11-9c5e-0f1e2d3c4b5a", Spec: jobs.Spec{
			Name:    "app",
			Context: &jobs.Context{Ref: "https://ann:hunter2@example.com/src%20a.tar.gz?X-Amz-Signature=hunter2#hunter2", Credential: "forge", Dir: "*"},
			Build: &jobs.Build{
				Dockerfile: "Dockerfile", Args: map[string]string{"VERSION": "1 <2>"}, Push: true,
				Tags:    []string{"registry.example/app:1", "registry.example/app:latest", "ann/app:1"},
				Secrets: []jobs.Secret{{ID: "npm", Name: "npm-token"}}, SSH: []jobs.Secret{{ID: "default", Name: "deploy"}},
			},
			Run: &jobs.Run{Image: "unrelated"},
		}},
		Result: jobs.Result{
			RepoDigests: []string{"registry.example/app@" + digest("a"), "registry.example/app@" + digest("a"), "ann/app@" + digest("b")},
			Context:     digest("c"), Engine: "docker 29.1.0", Worker: "one", Host: "host-1", Attempt: 2,
			Bases: []jobs.BaseImage{
				{Ref: "docker.io/library/debian:12", Role: jobs.RoleFrom, Digest: digest("d"), PlatformDigest: digest("e")},
				{Ref: "registry.example/tools/go@" + digest("f"), Role: jobs.RoleStage, Digest: digest("f"), Pinned: true},
				{Ref: "docker.io/library/ours:latest", Role: jobs.RoleCopy, Digest: digest("1"), Local: true},
				{Ref: "docker.io/library/unknown:latest", Role: jobs.RoleMount},
			},
		},
		Farm: "default", Version: "v1.2.3",
		Began: claimed, Ended: claimed.Add(90 * time.Second),
	}
}

// A statement is what the golden file has, each time, without a secret, and the library of
// the specification reads it.
func TestStatement(t *testing.T) {
	t.Parallel()
	s := provenance.New(example())
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "statement.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the statement is\n%s\nwant\n%s", got, want)
	}
	if bytes.Contains(got, []byte("hunter2")) {
		t.Error("the statement has a secret")
	}
	for d, want := range map[string]bool{digest("a"): true, digest("b"): true, digest("c"): false, "sha256:": false, "": false} {
		if s.Of(d) != want {
			t.Errorf("Of(%q) is %t", d, !want)
		}
	}

	var read intoto.Statement
	if err := protojson.Unmarshal(got, &read); err != nil {
		t.Fatal(err)
	}
	if err := read.Validate(); err != nil {
		t.Error(err)
	}
	predicate, err := protojson.Marshal(read.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var built slsa.Provenance
	if err := protojson.Unmarshal(predicate, &built); err != nil {
		t.Fatal(err)
	}
	if err := built.Validate(); err != nil {
		t.Error(err)
	}
}

// An image that a job took over is said to be built by who built it.
func TestStatementOnTheBuildOfAnother(t *testing.T) {
	t.Parallel()
	b := example()
	want := provenance.New(b).Predicate
	b.Job.ID, b.Result.Attempt, b.Result.Host, b.Result.Engine = "another", 1, "host-2", "docker 20.10.24"
	b.Began, b.Ended = b.Began.Add(time.Hour), b.Ended.Add(time.Hour)
	of := example()
	b.Result.BuiltBy = &jobs.BuiltBy{Job: of.Job.ID, Attempt: of.Result.Attempt, Host: of.Result.Host, Engine: of.Result.Engine, Began: of.Began, Ended: of.Ended}
	if diff := cmp.Diff(want, provenance.New(b).Predicate); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"cas:" + digest("a"):                       "cas:" + digest("a"),
		"file:///srv/a%2Fb.tar":                    "file:///srv/a%2Fb.tar",
		"s3://bucket/key":                          "s3://bucket/key",
		"https://u:p@h:8443/x.tgz?sig=secret#frag": "https://h:8443/x.tgz",
		"https://h/%zz?sig=secret":                 "https:",
	} {
		if got := provenance.Public(ref); got != want {
			t.Errorf("Public(%q) = %q, want %q", ref, got, want)
		}
	}
}

// An archive in the artifact store has its digest in the reference.
func TestContextInStore(t *testing.T) {
	t.Parallel()
	b := example()
	b.Job.Spec.Context, b.Result.Context = &jobs.Context{Ref: "cas:" + digest("9")}, ""
	got := provenance.New(b).Predicate.BuildDefinition.ResolvedDependencies[0]
	if got.URI != "cas:"+digest("9") || "sha256:"+got.Digest["sha256"] != digest("9") {
		t.Errorf("the context is %+v", got)
	}
}
