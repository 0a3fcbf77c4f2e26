//go:build integration

package e2e_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// sharedSituations are about what hosts share besides Redis, and what is outside the farm.
func sharedSituations() []situation {
	return []situation{{
		name:    "the store is not mounted",
		prepare: (*incident).mountStore, breaks: func(s *incident) { s.must(unix.Unmount(s.store, unix.MNT_DETACH)) },
		until:  []string{"slipway_store_up 0"},
		status: "FAIL", check: "store.owner", words: "is it mounted?",
		alerts: []string{"SlipwayStoreAway"}, also: []string{"SlipwayNoHostTakesJobs"},
	}, {
		name: "the disk of the store is full",
		prepare: func(s *incident) {
			s.must(os.Mkdir(s.store, 0o750))
			mountTmpfs(s.t, s.store, "16m")
		},
		breaks: func(s *incident) { fillUpTo(s.t, s.store, 64<<10) },
		until:  []string{"slipway_worker_ready 0", `slipway_disk_least_bytes{directory="store"} *`},
		status: "FAIL", check: "disk.store", words: "free",
		alerts: []string{"SlipwayDiskFillsUp"}, also: []string{"SlipwayWorkerUnfit", "SlipwayNoHostTakesJobs"},
	}, {
		name:    "a registry refuses the worker's login",
		prepare: (*incident).expiredLogin, breaks: func(s *incident) { s.push(s.registry+"/app", 5) },
		until:  []string{`slipway_jobs_total{fault="user",kind="registry_denied",outcome="failed",queue="builds"} 5`},
		status: "FAIL", check: "registry-logins", words: "pulls and pushes there fail",
		alerts: []string{"SlipwayRegistryDenies"},
	}, {
		name:    "a registry is out of order",
		prepare: func(s *incident) { s.registry = hosttest.StartFaulty(s.t, s.host).Addr },
		breaks:  func(s *incident) { s.push(s.registry+"/publish-503/app", 1) },
		until:   []string{`slipway_jobs_total{fault="infra",kind="push_failed",outcome="failed",queue="builds"} N`},
		noLine:  "a registry without a login is not asked by the doctor; `worker doctor --probe-push NAME` pushes to it",
		alerts:  []string{"SlipwayInfraFailures"},
	}, {
		name:    "a webhook's secret is missing",
		prepare: (*incident).openLoopback,
		breaks: func(s *incident) {
			s.hook("--secret", "ci")
			s.succeed(6)
		},
		until:  []string{`slipway_webhook_calls_total{result="retry"} M`},
		status: "FAIL", check: "webhooks", words: "ci",
		alerts: []string{"SlipwayWebhooksFail"},
	}}
}

// mountStore has the worker's store be a mount of the farm's.
func (s *incident) mountStore() {
	real := filepath.Join(s.dir, "real-store")
	s.must(errors.Join(os.Mkdir(real, 0o750), os.Mkdir(s.store, 0o750), unix.Mount(real, s.store, "", unix.MS_BIND, "")))
	s.t.Cleanup(func() { _ = unix.Unmount(s.store, unix.MNT_DETACH) })
}

// expiredLogin gives the worker a login that its registry refuses.
func (s *incident) expiredLogin() {
	s.registry = hosttest.StartRegistry(s.t, s.host, hosttest.Login{User: "farm", Password: "new"})
	file := filepath.Join(s.dir, "config.json")
	login := base64.StdEncoding.EncodeToString([]byte("farm:old"))
	s.must(os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.registry, login), 0o600))
	s.args = append(s.args, "--registry-auth", file)
}

// push submits builds that are pushed.
func (s *incident) push(name string, n int) {
	s.t.Helper()
	for i := range n {
		dir := contextDir(s.t, map[string]string{"Dockerfile": "FROM scratch\nCOPY n /n\n", "n": fmt.Sprint(i)})
		s.submit("--push", "-t", fmt.Sprintf("%s:%d", name, i), dir)
	}
}

// openLoopback lets the worker call webhooks of this host.
func (s *incident) openLoopback() {
	s.args = append(s.args, s.policy("webhooks: {schemes: [http], hosts: ['*'], networks: [127.0.0.0/8]}\n"), "--secrets", s.t.TempDir())
}

// hook adds a webhook to an address where no program listens.
func (s *incident) hook(args ...string) {
	s.t.Helper()
	if a := s.program(nil, "enqueue", append([]string{"webhooks", "add", "ci", "http://127.0.0.1:1/"}, args...)...); a.code != 0 {
		s.t.Fatalf("webhooks add: exit code %d\n%s", a.code, a.stderr)
	}
}

// succeed has jobs run to their end.
func (s *incident) succeed(n int) {
	s.t.Helper()
	for range n {
		s.submit("--image", hosttest.BusyboxTag, "--", "true")
	}
}
