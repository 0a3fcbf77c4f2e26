//go:build integration

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/doctest"
	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// The page about rebuilds says what a farm does when its base gets a new version. Its registry
// is one on the host.
func TestRebuildsPage(t *testing.T) {
	t.Parallel()
	h := hosttest.StartHost(t, "e2e-page")
	hosttest.Busybox(t, h)
	registry := hosttest.StartDistribution(t, h)
	base := registry + "/debian:12"
	publish := func(version string) {
		dir := contextDir(t, map[string]string{
			"Dockerfile": "FROM busybox\nCOPY status /var/lib/dpkg/status\n",
			"status":     fmt.Sprintf("Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n\n", version),
		})
		docker(t, h, "build", "-q", "-t", base, dir)
		docker(t, h, "push", "-q", base)
	}
	o := siteOnFreshHost(t, h)
	o.Dir = contextDir(t, map[string]string{
		"base/Dockerfile": "FROM " + base + "\nRUN echo base >/base\n",
		"app/Dockerfile":  "FROM " + registry + "/base:1\nRUN echo app >/app\n",
	})
	o.Replace = []string{base, "debian:12", registry, "registry.example"}
	o.Before = map[string]func(){
		"$ enqueue recipes ls": func() {
			farmtest.Until(t, time.Minute, "the farm has learned the recipes", func() bool {
				return strings.Count(asReader(t, o, "recipes", "ls", "-o", "name"), "\n") == 2
			})
		},
		"$ enqueue bases check": func() {
			asReader(t, o, "bases", "check") // the farm has seen the version of before
			publish("3.0.17-1~deb12u2")
		},
	}
	publish("3.0.15-1~deb12u1")
	stop := dev(t, o, "--watch-bases", "1h")
	doctest.Run(t, "../../docs/rebuilds.md", o)
	stop()
}
