//go:build integration

package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// The doctor tries what containers reach: the metadata address and a neighbour's port, where
// there are such. It leaves nothing behind.
func TestDoctorTriesWhatContainersReach(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "reach")
	before := baseline(t, p.host)
	p.says(p.doctor(), "OK", "docker.reach", "neither the metadata address nor ports that others publish (tried: 0)")
	clean(t, p.host, before)

	if out, err := p.host.Command(t.Context(), "ip", "addr", "add", "169.254.169.254/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("add the address: %v: %s", err, out)
	}
	l, err := p.host.Listen(t.Context(), "tcp", "169.254.169.254:80")
	p.must(err)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // it ends with Close
	t.Cleanup(func() { _ = server.Close() })
	docker(t, p.host, "run", "-d", "--name", "web", "-p", "8099:80", hosttest.BusyboxTag, "httpd", "-f", "-p", "80")
	docker(t, p.host, "run", "-d", "--name", "private", "-p", "127.0.0.1:8098:80", hosttest.BusyboxTag, "httpd", "-f", "-p", "80")
	before = baseline(t, p.host)
	a := p.doctor()
	p.says(a, "WARN", "docker.reach", "containers with a network reach the cloud's metadata address 169.254.169.254, port 8099 of this host, which container web publishes")
	if a.code != 0 {
		t.Errorf("exit code %d for a warning", a.code)
	}
	clean(t, p.host, before)
	docker(t, p.host, "rm", "-f", "web", "private")
}
