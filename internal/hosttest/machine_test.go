//go:build integration

package hosttest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// A machine has a name, an address, files and units of its own, and another one reaches it.
func TestMachine(t *testing.T) {
	t.Parallel()
	n := hosttest.StartNetwork(t)
	a := hosttest.StartMachine(t, n, "alfa", "10.9.0.1", "redis-server.service")
	b := hosttest.StartMachine(t, n, "bravo", "10.9.0.2")
	run := func(m *hosttest.Machine, script string) string {
		t.Helper()
		out, err := m.Command(t.Context(), "bash", "-euc", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s on %s: %v\n%s", script, m.Name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := run(a, "hostname; pwd; systemctl is-active redis-server"); got != "alfa\n/root\nactive" {
		t.Errorf("a machine says %q", got)
	}
	if err := a.Write(t.Context(), "/etc/slipway-test/file", []byte("one\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := run(a, "cat /etc/slipway-test/file; stat -c %a /etc/slipway-test/file"); got != "one\n640" {
		t.Errorf("the file is %q", got)
	}
	if _, err := os.Stat("/etc/slipway-test"); !os.IsNotExist(err) {
		t.Errorf("this machine has the file, too: %v", err)
	}
	if got := run(b, "redis-cli -h 10.9.0.1 ping || true; ! systemctl is-active redis-server"); !strings.Contains(got, "DENIED") && !strings.Contains(got, "refused") {
		t.Errorf("the other machine says %q", got)
	}
	run(b, "nft add table inet t; echo 1 >/proc/sys/net/ipv4/ip_forward; ! echo 1 >/proc/sys/vm/swappiness")
}
