//go:build integration

package e2e_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

// What a worker pushes has its provenance at the registry, and enqueue verifies it there.
func TestProvenance(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	login := hosttest.Login{User: "builder", Password: "pass-4711:word"}
	f := newFarm(t)
	registry := hosttest.StartRegistry(t, hostA, login)
	logins := f.logins(registry, login)
	home := t.TempDir() // what docker login leaves for the user
	if text, err := os.ReadFile(logins); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(filepath.Join(home, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.at, f.vars = hostA, []string{"DOCKER_CONFIG=" + home}
	keys := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		file := filepath.Join(keys, name)
		if err == nil {
			err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private := write("key.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	public := write("key.pub", "PUBLIC KEY", der, err)
	f.worker(hostA, "one", "--registry-auth", logins, "--provenance", "--provenance-key", private)

	tag := registry + "/team/app:1"
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nARG WHAT\nRUN echo $WHAT >/built\n"})
	job, a := f.run("--push", "-t", tag, "--build-arg", "WHAT=provenance", dir)
	if job.State != jobs.Succeeded || a.code != 0 {
		t.Fatalf("job is %s, exit code %d\n%s", job.State, a.code, a.stderr)
	}
	if !strings.Contains(a.stderr, "attached the provenance to "+job.Result.RepoDigests[0]) {
		t.Errorf("the log does not say so:\n%s", a.stderr)
	}
	shown := f.enqueue("provenance", tag, "--key", public)
	t.Log(shown.stdout)
	if shown.code != jobs.ExitOK || !strings.Contains(shown.stdout, job.ID+"-a1\n") {
		t.Errorf("exit code %d: %s", shown.code, shown.stderr)
	}
	var doc struct {
		Image      string
		Provenance []struct {
			Verified  bool
			Statement provenance.Statement
		}
	}
	if a = f.enqueue("provenance", tag, "--key", public, "-o", "json"); a.code != jobs.ExitOK {
		t.Fatalf("exit code %d: %s", a.code, a.stderr)
	}
	if err := json.Unmarshal([]byte(a.stdout), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Image != job.Result.RepoDigests[0] || len(doc.Provenance) != 1 || !doc.Provenance[0].Verified {
		t.Fatalf("document %s", a.stdout)
	}
	s := doc.Provenance[0].Statement
	asked, deps := s.Predicate.BuildDefinition.ExternalParameters, s.Predicate.BuildDefinition.ResolvedDependencies
	if asked.Build == nil || asked.Build.Args["WHAT"] != "provenance" || asked.Context == nil || asked.Context.Ref != job.Spec.Context.Ref {
		t.Errorf("the job asked for %+v", asked)
	}
	if len(deps) != 2 || deps[0].URI != job.Spec.Context.Ref || deps[1].URI != "pkg:docker/busybox@latest" || "sha256:"+deps[1].Digest["sha256"] != job.Result.Bases[0].Digest {
		t.Errorf("dependencies %+v; the result has %+v", deps, job.Result.Bases)
	}
	run := s.Predicate.RunDetails
	if run.Builder.ID != provenance.BuilderID("default", job.Result.Host) || !run.Metadata.StartedOn.Equal(job.Claimed.Truncate(time.Second)) || run.Metadata.FinishedOn.After(job.Finished) {
		t.Errorf("run details %+v; the job ran from %s to %s", run, job.Claimed, job.Finished)
	}
	f.wantNowhere("the registry password", login.Password)
}
