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
	"time"

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

// A farm of several machines is set up, changed, backed up and restored with the commands
// of the documentation and no others.
func TestWalkThrough(t *testing.T) {
	t.Parallel()
	debs := packages(t, "1.0.0", "1.1.0")
	n := hosttest.StartNetwork(t)
	w := &walk{t: t, terminals: map[string]*terminal{}, blocks: append(commands(t, "many-hosts.md"), commands(t, "backup.md")...)}
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
	w.closed("anvil")

	w.machine(n, debs, "crane", "10.0.0.23", "containerd.service", "docker.service")
	w.trust("hub", "crane")
	w.part("Another host", 1)
	w.again("many-hosts.md", "A build host", "anvil", "crane")
	w.section("Another host")

	kept := w.counting("anvil", 600, "--keep", "10m", "--stop-timeout", "1")
	w.succeeded(kept, 1)
	leaving := w.runs(w.counting("anvil", 5))
	w.section("A host goes")
	w.succeeded(leaving, 1)
	if got := w.status(kept, "{{.result.service.state}}"); got != "cancelled" {
		t.Errorf("the service of the host that went is %s; want cancelled", got)
	}

	through := []string{w.runs(w.counting("boiler", 30)), w.runs(w.counting("crane", 30))}
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

	w.backupAndRestore()
	if len(w.blocks) > 0 {
		t.Errorf("%s and what follows has not been run", w.blocks[0])
	}
}

// closed checks that it is the firewall of a build host that keeps jobs and builds from Redis.
func (w *walk) closed(host string) {
	w.t.Helper()
	const probe = "nc -w 2 10.0.0.10 6379 </dev/null"
	w.on("desk", "mkdir -p probe; printf 'FROM busybox\nRUN "+probe+"\n' >probe/Dockerfile")
	run := "enqueue submit --requires host=" + host + " --image busybox --network bridge -- sh -c '" + probe + "'"
	build := "enqueue submit --requires host=" + host + " --no-cache -t probe probe"
	both := run + " && r=open || r=closed; " + build + " && b=open || b=closed; echo a job: $r, a build: $b"
	if got := w.on("desk", both); !strings.HasSuffix(got, "a job: closed, a build: closed") {
		w.t.Errorf("Redis from %s: %s", host, got)
	}
	w.on(host, "nft flush chain inet slipway forward")
	if got := w.on("desk", both); !strings.HasSuffix(got, "a job: open, a build: open") {
		w.t.Errorf("Redis from %s, without a firewall: %s; want it reached, or the check before proves nothing", host, got)
	}
	w.on(host, "nft -f /etc/nftables.conf")
}

// past is what the farm did before and after its backup.
type past struct {
	// ended, waiting, running and kept are jobs at the time of the backup, as is long, which
	// runs all the time.
	ended, kept, long string
	waiting           []string
	running           map[string]string // by host
	// over is a service that was up, and is ended after the backup.
	over string
	// container is that of kept.
	container string
	// began is when long did.
	began time.Time
	// revoked is a token that is revoked after the backup; late ones are made after it.
	revoked, lateToken string
	late               string
}

// beforeBackup has the farm run jobs, keep services and leave jobs waiting.
func (w *walk) beforeBackup() *past {
	w.t.Helper()
	p := &past{ended: w.submit("--image", hosttest.BusyboxTag, "--", "echo", "said before the backup"), running: map[string]string{}}
	w.succeeded(p.ended, 1)
	p.kept = w.counting("boiler", 600, "--keep", "10m", "--stop-timeout", "1")
	p.over = w.counting("crane", 600, "--keep", "10m", "--stop-timeout", "1")
	w.succeeded(p.kept, 1)
	w.succeeded(p.over, 1)
	p.container = w.status(p.kept, "{{.result.container_id}}")
	p.began, p.long = time.Now(), w.counting("boiler", 300)
	for _, host := range []string{"boiler", "crane"} {
		p.running[host] = w.submit("--requires", "host="+host, "--image", hosttest.BusyboxTag, "--", "sh", "-c", "until [ -e /go ]; do sleep 0.1; done; sleep 2; echo gone") // docker exec returns before its end
	}
	for _, id := range []string{p.long, p.running["boiler"], p.running["crane"]} {
		w.runs(id)
	}
	w.on("hub", "enqueue queues pause builds --reason 'the backup is looked at'")
	for i := range 5 {
		w.on("desk", fmt.Sprintf("echo '# %d' >>hello/Dockerfile", i)) // a context of its own
		p.waiting = append(p.waiting, w.submit("-t", fmt.Sprintf("waiting:%d", i), "--run", "hello"))
	}
	p.revoked = w.on("hub", "enqueue tokens create early")
	return p
}

// letGo lets the jobs go that ran at the time of the backup. Each ends in an attempt.
func (w *walk) letGo(p *past, attempt int) {
	w.t.Helper()
	for host, id := range p.running {
		w.on(host, "until docker exec $(docker ps -q --filter label=slipway.job="+id+") touch /go; do sleep 0.2; done")
		w.succeeded(id, attempt)
	}
}

// afterBackup has the farm go on, so that a restore takes it back.
func (w *walk) afterBackup(p *past) {
	w.t.Helper()
	w.on("hub", "enqueue queues resume builds; enqueue tokens revoke "+tokenID(p.revoked))
	p.lateToken = w.on("hub", "enqueue tokens create late")
	w.letGo(p, 1)
	for _, id := range p.waiting {
		w.succeeded(id, 1)
	}
	w.on("desk", "enqueue cancel "+p.over+"; until [ -z \"$(enqueue ls --up --host crane -o name)\" ]; do sleep 0.2; done")
	p.late = w.counting("crane", 600, "--idempotency-key", "late")
	w.succeeded(w.counting("crane", 600, "--keep", "10m", "--stop-timeout", "1"), 1)
	w.on("crane", "until [ $(docker ps -q | wc -l) = 2 ]; do sleep 0.2; done")
}

// backupAndRestore makes a backup while jobs run and wait, lets the farm go on, takes its
// data away, and restores it.
func (w *walk) backupAndRestore() {
	w.t.Helper()
	p := w.beforeBackup()
	w.section("A backup")
	w.afterBackup(p)
	w.on("hub", "systemctl kill -s KILL redis-server versitygw; systemctl stop redis-server versitygw; rm -rf /var/lib/redis/* /var/lib/versitygw")

	w.part("A restore", 2)
	if got := w.on("hub", "enqueue tokens ls"); !strings.Contains(got, tokenID(p.revoked)) {
		w.t.Errorf("the tokens are %s; want the one that was revoked after the backup, to be revoked again", got)
	}
	w.on("hub", "enqueue tokens revoke "+tokenID(p.revoked))
	w.section("A restore")
	w.asBefore(p)
	w.forgotten(p)
}

// asBefore checks that what was acknowledged before the backup is there, and ends once.
func (w *walk) asBefore(p *past) {
	w.t.Helper()
	// The lease, of 90 s, lasts: longer on a machine that is not too busy.
	soon := time.Since(p.began) < time.Minute
	if got := w.status(p.long, "{{.state}} {{.attempt}}"); soon && got != "running 1" {
		w.t.Errorf("the job that runs all the time: %s; want it undisturbed", got)
	}
	w.on("desk", "enqueue cancel "+p.long+"; enqueue wait "+p.long+" || [ $? = 5 ]")
	if got := w.on("hub", "enqueue queues ls -o json"); !strings.Contains(got, "the backup is looked at") {
		w.t.Errorf("the queues are %s; want them paused as at the time of the backup", got)
	}
	w.on("hub", "enqueue queues resume builds")
	w.letGo(p, 2)
	for _, id := range append([]string{p.ended}, p.waiting...) {
		w.succeeded(id, 1)
	}
	for _, id := range append([]string{p.running["boiler"], p.running["crane"]}, p.waiting...) {
		if got := w.on("hub", "sh redis.sh xrange slipway:{ended}:stream - + | grep -cx "+id+" || true"); got != "1" {
			w.t.Errorf("the end of job %s was announced %s times", id, got)
		}
	}
	w.on("hub", "systemctl restart redis-server; until sh redis.sh ping; do sleep 0.2; done")
	w.on("desk", "until enqueue ls; do sleep 0.2; done") // the server has connections that were closed
	logs := map[string]string{p.ended: "said before the backup", p.running["boiler"]: "gone"}
	for _, id := range p.waiting {
		logs[id] = "hello"
	}
	for id, want := range logs {
		if got := w.on("desk", "enqueue logs "+id); !strings.HasSuffix(got, want) {
			w.t.Errorf("the log of job %s is %q; want %s", id, got, want)
		}
	}
	if got := w.on("boiler", "docker ps -q --no-trunc"); got != p.container || w.status(p.kept, "{{.result.service.state}}") != "up" {
		w.t.Errorf("boiler runs %q; want the service that is up, %s", got, p.container)
	}
	if got := w.status(p.over, "{{.result.service.state}}"); got != "cancelled" {
		w.t.Errorf("the service that was ended after the backup is %s; want its end recorded again", got)
	}
}

// forgotten checks what becomes of that which the farm does not know any more.
func (w *walk) forgotten(p *past) {
	w.t.Helper()
	if got := w.on("crane", "docker ps -aq | wc -l"); got != "0" {
		w.t.Errorf("%s containers are left on crane; want none of jobs that the farm does not know", got)
	}
	if got := w.on("desk", "enqueue status "+p.late+" 2>&1 || echo exit code $?"); !strings.Contains(got, "exit code 2") {
		w.t.Errorf("a job of after the backup: %s; want it unknown", got)
	}
	w.succeeded(w.submit("--idempotency-key", "late", "--image", hosttest.BusyboxTag, "--", "true"), 1)
	for token, want := range map[string]string{w.on("desk", "cat farm/token.desk"): "200", p.revoked: "401", p.lateToken: "401"} {
		if got := w.on("desk", "curl -s -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer "+token+"' https://hub:8470/v1/jobs"); got != want {
			w.t.Errorf("the token %s: status %s; want %s", tokenID(token), got, want)
		}
	}
}

// tokenID is the part of a token that names it.
func tokenID(text string) string { return strings.Split(text, "_")[1] }

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

// runs waits until a job runs, and returns its ID.
func (w *walk) runs(id string) string {
	w.t.Helper()
	w.on("desk", "until [ \"$(enqueue status "+id+" -o 'template={{.state}}')\" = running ]; do sleep 0.2; done")
	return id
}

// succeeded waits for the end of a job, which has to be good, in its attempt of this number.
func (w *walk) succeeded(id string, attempt int) {
	w.t.Helper()
	w.on("desk", "enqueue wait --timeout 100s "+id)
	if got, want := w.status(id, "{{.state}} {{.attempt}}"), fmt.Sprintf("succeeded %d", attempt); got != want {
		w.t.Errorf("job %s: %s; want %s", id, got, want)
	}
}
