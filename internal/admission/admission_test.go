package admission_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/admission"
	"github.com/slipway-farm/slipway/internal/bake"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/contexts/filesource"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/registries"
)

// fetcher opens the files that a policy allows.
func fetcher(p policy.Policy) (*contexts.Fetcher, error) {
	o := contexts.Options{Limits: p.Context.Limits()}
	if !slices.Contains(p.Context.Schemes, "file") {
		return contexts.NewFetcher(o), nil
	}
	files, err := filesource.New(p.Context.FileRoots)
	if err != nil {
		return nil, err
	}
	return contexts.NewFetcher(o, files), nil
}

// A policy is in force for the next job after its file has changed; one that is
// no good changes nothing, and is told once.
func TestPolicyIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, root := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	content := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\n"))
	if err := os.WriteFile(filepath.Join(root, "c.tar"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("version: 1\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	write("")
	a, err := admission.Open(slog.New(slog.NewTextHandler(&log, nil)), file, registries.Options{}, fetcher)
	if err != nil {
		t.Fatal(err)
	}
	fetch := func() jobs.Kind {
		t.Helper()
		got, err := a.Context(t.Context(), jobs.Context{Ref: "file://" + filepath.Join(root, "c.tar")}, "Dockerfile")
		if err != nil {
			return jobs.AsFailure(err).Kind
		}
		if err := got.Close(); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	from := func(image string) jobs.Kind {
		_, err := a.Build(t.Context(), jobs.Spec{}, jobs.Build{}, dockerfile.File{Name: "Dockerfile", Content: []byte("FROM " + image + "\n")})
		if err != nil {
			return jobs.AsFailure(err).Kind
		}
		return ""
	}
	for _, step := range []struct {
		text           string
		fetch, busybox jobs.Kind
		logs           string
	}{
		{"", jobs.KindFileOutsideRoots, "", ""},
		{"context: {file_roots: [" + root + "]}\n", "", "", "loaded the changed policy file"},
		{"context: {file_rots: []}\n", "", "", "loading the changed policy file failed"},
		{"context: {file_roots: [" + filepath.Join(dir, "missing") + "]}\n", "", "", "loading the changed policy file failed"},
		{"context: {file_roots: [" + root + "], max_unpacked: 1KiB}\nimages: {from: [golang]}\n", jobs.KindContextTooLarge, jobs.KindImageNotAllowed, "loaded the changed policy file"},
		{"context: {schemes: [cas]}\n", jobs.KindSchemeNotAllowed, "", "loaded the changed policy file"},
	} {
		write(step.text)
		log.Reset()
		if got := fetch(); got != step.fetch {
			t.Errorf("%q: the fetch ends as %q, want %q", step.text, got, step.fetch)
		}
		if got := from("busybox"); got != step.busybox {
			t.Errorf("%q: the build ends as %q, want %q", step.text, got, step.busybox)
		}
		if step.logs != "" && strings.Count(log.String(), step.logs) != 1 {
			t.Errorf("%q: the log says %q, want once %q", step.text, log.String(), step.logs)
		}
		if err := a.Rejected(t.Context()); (err != nil) != strings.Contains(step.logs, "failed") {
			t.Errorf("%q: rejected: %v", step.text, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); got != jobs.KindSchemeNotAllowed || !strings.Contains(log.String(), "loading the changed policy file failed") {
		t.Errorf("without its file: the fetch ends as %q, the log says %q", got, log.String())
	}
	if a.Rejected(t.Context()) == nil {
		t.Error("a file that is gone is the policy in force")
	}
}

// What a document asks for is judged before there is a context: all images that the
// daemon would get, and ports. A push that the policy forbids is told as that.
func TestJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.yaml")
	text := "version: 1\nimages: {registries: [\"registry.lan:5000\"], push: [\"registry.lan:5000/*\", \"10.0.0.1/*\"]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := registries.Options{Own: []int{6379}, Named: func() []string { return []string{"probe.lan"} }}
	a, err := admission.Open(slog.New(slog.DiscardHandler), file, o, fetcher)
	if err != nil {
		t.Fatal(err)
	}
	run := func(image string, ports ...jobs.Port) jobs.Spec {
		return jobs.Spec{Run: &jobs.Run{Image: image, Ports: ports}}
	}
	build := func(b jobs.Build) jobs.Spec { return jobs.Spec{Build: &b} }
	for _, tt := range []struct {
		name  string
		job   jobs.Spec
		kind  jobs.Kind
		stage jobs.Stage
	}{
		{"run of the Hub's", run("busybox"), "", ""},
		{"run of a named registry's", run("registry.lan:5000/x"), "", ""},
		{"run of the probe's registry", run("probe.lan/x"), "", ""},
		{"run of another's", run("10.0.0.1/x"), jobs.KindRegistryNotAllowed, jobs.StageRun},
		{"run of a farm's port", run("127.0.0.1:6379/x"), jobs.KindRegistryNotAllowed, jobs.StageRun},
		{"port", run("busybox", jobs.Port{Container: 80, Host: 8080}), "", ""},
		{"port below 1024", run("busybox", jobs.Port{Container: 80, Host: 80}), jobs.KindPortNotAllowed, jobs.StageRun},
		{"port of the farm", run("busybox", jobs.Port{Container: 80, Host: 6379}), jobs.KindPortNotAllowed, jobs.StageRun},
		{"port of what is built", jobs.Spec{Build: &jobs.Build{}, Run: &jobs.Run{Ports: []jobs.Port{{Container: 80, Host: 80}}}}, jobs.KindPortNotAllowed, jobs.StageRun},
		{"build", build(jobs.Build{Tags: []string{"10.0.0.1/x"}}), "", ""},
		{"cache", build(jobs.Build{CacheFrom: []string{"busybox", "10.0.0.1/x"}}), jobs.KindRegistryNotAllowed, jobs.StageBuild},
		{"push", build(jobs.Build{Tags: []string{"registry.lan:5000/x"}, Push: true}), "", ""},
		{"push to what is not open", build(jobs.Build{Tags: []string{"registry.lan:5000/x", "10.0.0.1/x"}, Push: true}), jobs.KindRegistryNotAllowed, jobs.StagePush},
		{"push that the policy forbids", build(jobs.Build{Tags: []string{"10.0.0.2/x"}, Push: true}), jobs.KindRegistryNotAllowed, jobs.StagePush},
	} {
		err := a.Job(t.Context(), tt.job)
		if err == nil && tt.kind == "" {
			continue
		}
		if f := jobs.AsFailure(err); err == nil || f.Kind != tt.kind || f.Stage != tt.stage {
			t.Errorf("%s: got %v; want %q at stage %q", tt.name, err, tt.kind, tt.stage)
		}
	}
	for _, text := range []string{
		"FROM 10.0.0.1/x\n", "FROM busybox\nCOPY --from=10.0.0.1/x / /\n", "FROM busybox\nRUN --mount=from=10.0.0.1/x,target=/x true\n",
		"ARG R=10.0.0.1\nFROM $R/x\n", "FROM 10.0.0.1/x AS unused\nFROM busybox\n",
	} {
		_, err := a.Build(t.Context(), jobs.Spec{}, jobs.Build{}, dockerfile.File{Name: "Dockerfile", Content: []byte(text)})
		if f := jobs.AsFailure(err); err == nil || f.Kind != jobs.KindRegistryNotAllowed || f.Stage != jobs.StageBuild {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if err := a.Images(t.Context(), "docker.io/library/busybox", "10.0.0.1/x"); jobs.AsFailure(err).Kind != jobs.KindRegistryNotAllowed {
		t.Errorf("what a build stood on: got %v", err)
	}
}

// A job gets what it asks for up to what the operator allows.
func TestPolicyOfLimits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrun: {pids: 4096, disk: 1GiB, ulimits: {memlock: 65536}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file   string
		limits jobs.Limits
		want   string
	}{
		{"", jobs.Limits{Pids: -1, Ulimits: map[string]jobs.Ulimit{"memlock": {Soft: -1, Hard: -1}, "core": {Soft: 0, Hard: -1}}}, ""},
		{"", jobs.Limits{Ulimits: map[string]jobs.Ulimit{"rtprio": {Soft: 0, Hard: 1}}}, "run.limits.ulimits.rtprio: the job asks for 1, and the operator allows 0"},
		{"", jobs.Limits{Ulimits: map[string]jobs.Ulimit{"nice": {Soft: -1, Hard: -1}}}, "run.limits.ulimits.nice: the job asks for no limit"},
		{file, jobs.Limits{}, ""}, // the operator's default is not the job's wish
		{file, jobs.Limits{Pids: 4096, Ulimits: map[string]jobs.Ulimit{"memlock": {Soft: 0, Hard: 65536}, "nofile": {Soft: 9, Hard: 1 << 20}}}, ""},
		{"", jobs.Limits{Disk: 1 << 40}, ""},
		{file, jobs.Limits{Disk: 1 << 30}, ""},
		{file, jobs.Limits{Disk: 1<<30 + 1<<20}, "run.limits.disk: the job asks for 1025MiB, and the operator allows 1GiB"},
		{file, jobs.Limits{Pids: 4097}, "run.limits.pids: the job asks for 4097, and the operator allows 4096"},
		{file, jobs.Limits{Pids: -1}, "run.limits.pids: the job asks for no limit, and the operator allows 4096"},
		{file, jobs.Limits{Ulimits: map[string]jobs.Ulimit{"memlock": {Soft: 0, Hard: -1}}}, "run.limits.ulimits.memlock: the job asks for no limit, and the operator allows 65536"},
	} {
		a, err := admission.Open(slog.New(slog.DiscardHandler), tt.file, registries.Options{}, func(policy.Policy) (*contexts.Fetcher, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		err = a.Job(t.Context(), jobs.Spec{Build: &jobs.Build{}, Run: &jobs.Run{Limits: tt.limits}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || jobs.AsFailure(err).Kind != jobs.KindLimitNotAllowed || jobs.AsFailure(err).Stage != jobs.StageRun || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v; want %q", tt.limits, err, tt.want)
		}
	}
}

// What a tenant may not name is refused before anything else is judged, in a document of
// a person as in one that was made of a bake file.
func TestPolicyOfTenants(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	text := `version: 1
images: {registries: ["registry.lan"]}
tenants:
  acme: {queues: [builds], push: [registry.lan/acme/], secrets: [acme-*]}
  "*": {queues: [public]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := admission.Open(slog.New(slog.DiscardHandler), file, registries.Options{}, func(policy.Policy) (*contexts.Fetcher, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	baked := func(name string) jobs.Spec {
		t.Helper()
		f, err := bake.Read([]byte(`{"target":{"app":{"tags":["registry.lan/acme/app"],"secret":["id=npm"]}}}`))
		if err != nil {
			t.Fatal(err)
		}
		target := f.Target("app", bake.Options{Push: true, Secrets: []jobs.Secret{{ID: "npm", Name: name}}})
		if len(target.Refused) > 0 {
			t.Fatalf("the bake file is refused: %v", target.Refused)
		}
		spec := target.Spec()
		spec.Tenant = "acme"
		return spec.Normalize()
	}
	other := baked("acme-npm")
	other.Build.Tags = append(other.Build.Tags, "registry.lan/blue/app")
	nameless := baked("acme-npm")
	nameless.Tenant = ""
	for _, tt := range []struct {
		name  string
		job   jobs.Spec
		stage jobs.Stage // "" for none that refuses it
	}{
		{"its own", baked("acme-npm"), ""},
		{"another's secret", baked("blue-npm"), jobs.StageBuild},
		{"another's tag", other, jobs.StagePush},
		{"without its tenant", nameless, jobs.StageQueue},
		{"without anything", jobs.Spec{Run: &jobs.Run{Image: "busybox"}}, jobs.StageQueue},
		{"in the queue for all", jobs.Spec{Queue: "public", Run: &jobs.Run{Image: "busybox"}}, ""},
		{"before its ports are judged", jobs.Spec{Tenant: "acme", Queue: "public", Run: &jobs.Run{Image: "busybox", Ports: []jobs.Port{{Container: 80, Host: 80}}}}, jobs.StageQueue},
	} {
		err := a.Job(t.Context(), tt.job)
		if err == nil && tt.stage == "" {
			continue
		}
		if f := jobs.AsFailure(err); err == nil || f.Kind != jobs.KindTenantNotAllowed || f.Stage != tt.stage {
			t.Errorf("%s: got %v; want a refusal at stage %q", tt.name, err, tt.stage)
		}
	}
}
