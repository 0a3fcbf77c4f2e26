//go:build integration

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// packages makes Debian packages of these versions.
func packages(t *testing.T, versions ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	arch, err := exec.CommandContext(t.Context(), "dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		bin := filepath.Join(t.TempDir(), version)
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=v"+version, "-o", bin+"/", "../../cmd/worker", "../../cmd/enqueue")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		deb := exec.CommandContext(t.Context(), "../../scripts/deb.sh", version, strings.TrimSpace(string(arch)), bin, dir)
		deb.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1000000000", "COMPRESSION=none")
		for _, cmd := range []*exec.Cmd{build, deb} {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
			}
		}
		if err := os.Rename(filepath.Join(dir, "slipway_"+version+"_"+strings.TrimSpace(string(arch))+".deb"), filepath.Join(dir, "slipway_"+version+"_amd64.deb")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return dir
}

// machine starts a machine as the pages find it: names, keys for ssh, and the packages.
func (w *walk) machine(n *hosttest.Network, debs, name, address string, units ...string) {
	w.t.Helper()
	m := hosttest.StartMachine(w.t, n, name, address, append(units, "ssh.service")...)
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	must(m.Write(w.t.Context(), "/etc/hosts", []byte("127.0.0.1 localhost\n10.0.0.10 hub\n10.0.0.21 anvil\n10.0.0.22 boiler\n10.0.0.23 crane\n10.0.0.50 desk\n"), 0o644))
	if name != "desk" {
		all, err := filepath.Glob(filepath.Join(debs, "*.deb"))
		must(err)
		for _, file := range all {
			content, err := os.ReadFile(file)
			must(err)
			must(m.Write(w.t.Context(), "/root/"+filepath.Base(file), content, 0o644))
		}
	}
	for _, unit := range units {
		if unit == "docker.service" {
			layer, err := hosttest.BusyboxLayer(w.t.Context())
			must(err)
			cmd := m.Command(w.t.Context(), "docker", "import", "-c", `CMD ["sh"]`, "-c", "ENV PATH=/bin", "-", hosttest.BusyboxTag)
			cmd.Stdin = bytes.NewReader(layer)
			out, err := cmd.CombinedOutput()
			if err != nil {
				w.t.Fatalf("docker import on %s: %v\n%s", name, err, out)
			}
		}
	}
	w.terminals[name] = open(w.t, m)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			out, _ := m.Command(context.Background(), "journalctl", "--no-pager", "-n", "30", "-u", "slipway-*", "-u", "redis-server", "-u", "versitygw").CombinedOutput()
			w.t.Logf("the journal of %s:\n%s", name, out)
		}
	})
}

// installS3 puts the S3 server of the tests on a machine.
func (w *walk) installS3(machine string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.t.Context(), "../../scripts/tool.sh", "versitygw", "--version").CombinedOutput(); err != nil {
		w.t.Fatalf("build versitygw: %v\n%s", err, out)
	}
	built, err := filepath.Glob("../../.tools/versitygw-*")
	if err != nil || len(built) != 1 {
		w.t.Fatalf("found %q, %v; want the S3 server", built, err)
	}
	program, err := os.ReadFile(built[0])
	if err == nil {
		err = w.terminals[machine].machine.Write(w.t.Context(), "/usr/local/bin/versitygw", program, 0o755)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// trust lets root on one machine reach root on the others with ssh.
func (w *walk) trust(from string, to ...string) {
	w.t.Helper()
	key := w.on(from, `mkdir -p ~/.ssh; [ -e ~/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
printf 'StrictHostKeyChecking no\nLogLevel ERROR\n' >~/.ssh/config; cat ~/.ssh/id_ed25519.pub`)
	for _, machine := range to {
		w.on(machine, "mkdir -p ~/.ssh; echo '"+key+"' >>~/.ssh/authorized_keys")
	}
}

// A farm of several machines is set up and changed with the commands
// of the documentation and no others.
func TestWalkThrough(t *testing.T) {
	t.Parallel()
	debs := packages(t, "1.0.0", "1.1.0")
	n := hosttest.StartNetwork(t)
	w := &walk{t: t, terminals: map[string]*terminal{}, blocks: commands(t, "many-hosts.md")}
	w.machine(n, debs, "hub", "10.0.0.10", "redis-server.service")
	w.machine(n, debs, "anvil", "10.0.0.21", "containerd.service", "docker.service")
	w.machine(n, debs, "boiler", "10.0.0.22", "containerd.service", "docker.service")
	w.machine(n, debs, "desk", "10.0.0.50")
	w.installS3("hub")
	w.trust("hub", "anvil", "boiler", "desk")

	for _, name := range []string{
		"An authority", "Redis", "The store", "The server", "The firewall of hub", "A build host", "The first job",
	} {
		w.section(name)
	}

	w.machine(n, debs, "crane", "10.0.0.23", "containerd.service", "docker.service")
	w.trust("hub", "crane")
	w.part("Another host", 1)
	w.again("many-hosts.md", "A build host", "anvil", "crane")
	w.section("Another host")

	leaving, kept := w.counting("anvil", 3), w.counting("anvil", 600, "--keep", "10m", "--stop-timeout", "1")
	w.section("A host goes")
	w.succeeded(leaving, 1)
	if got := w.status(kept, "{{.result.service.state}}"); got != "cancelled" {
		t.Errorf("the service of the host that went is %s; want cancelled", got)
	}

	through := []string{w.counting("boiler", 40), w.counting("crane", 40)}
	w.section("Upgrading one by one")
	old := w.on("hub", "cat redis.worker")
	w.section("A new password")
	if got := w.on("hub", "REDISCLI_AUTH="+old+" redis-cli --tls -h hub --user worker --no-auth-warning ping 2>&1 || true"); !strings.Contains(got, "WRONGPASS") {
		t.Errorf("the old password: %s; want it refused", got)
	}
	w.section("New certificates")
	for _, id := range through {
		w.succeeded(id, 1)
	}
	if len(w.blocks) > 0 {
		t.Errorf("%s and what follows has not been run", w.blocks[0])
	}
}

// counting submits a job that counts the seconds on a host.
func (w *walk) counting(host string, seconds int, args ...string) string {
	w.t.Helper()
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i; sleep 1; done", seconds)
	return w.submit(append(args, "--requires", "host="+host, "--image", hosttest.BusyboxTag, "--", "sh", "-c", script)...)
}

// submit submits a job from desk and returns its ID.
func (w *walk) submit(args ...string) string {
	w.t.Helper()
	for i, a := range args {
		args[i] = "'" + a + "'"
	}
	return w.on("desk", "enqueue submit -d -q "+strings.Join(args, " "))
}

// status is a field of a job's record.
func (w *walk) status(id, template string) string {
	w.t.Helper()
	return w.on("desk", "enqueue status "+id+" -o 'template="+template+"'")
}

// succeeded waits for the end of a job, which has to be good, in its attempt of this number.
func (w *walk) succeeded(id string, attempt int) {
	w.t.Helper()
	w.on("desk", "enqueue wait --timeout 100s "+id)
	if got, want := w.status(id, "{{.state}} {{.attempt}}"), fmt.Sprintf("succeeded %d", attempt); got != want {
		w.t.Errorf("job %s: %s; want %s", id, got, want)
	}
}
