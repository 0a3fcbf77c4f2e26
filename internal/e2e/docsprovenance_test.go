//go:build integration

package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/slipway-farm/slipway/internal/doctest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// The page about provenance says what enqueue verifies of an image that a worker with the key
// of the page has pushed. Its registry is one on the host.
func TestProvenancePage(t *testing.T) {
	t.Parallel()
	h := hosttest.StartHost(t, "e2e-prov")
	hosttest.Busybox(t, h)
	registry := hosttest.StartDistribution(t, h)
	base := registry + "/debian:12"
	docker(t, h, "tag", hosttest.BusyboxTag, base)
	docker(t, h, "push", "-q", base)
	o := siteOnFreshHost(t, h)
	o.Dir = contextDir(t, map[string]string{"app/Dockerfile": "FROM " + base + "\nRUN echo app >/app\n"})
	o.Replace = []string{"pkg:docker/" + registry + "/debian", "pkg:docker/debian", registry, "registry.example"}
	o.NotRun = map[string]string{
		"worker --provenance --provenance-key key.pem":              "does not end by itself; this test starts worker dev so",
		"jq -r .payload envelope.json | base64 -d > statement.json": "begins with what a client of the registry has found",
	}
	stop := func() {}
	o.Before = map[string]func(){
		"$ enqueue provenance registry.example/team/app:1 --key key.pub": func() {
			stop = dev(t, o, "--provenance", "--provenance-key", filepath.Join(o.Dir, "key.pem"))
			asReader(t, o, "submit", "--push", "-t", registry+"/team/app:1", filepath.Join(o.Dir, "app"))
		},
	}
	doctest.Run(t, "../../docs/provenance.md", o)
	stop()
}
