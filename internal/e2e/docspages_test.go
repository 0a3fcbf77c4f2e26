//go:build integration

package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slipway-farm/slipway/internal/doctest"
)

// notRun are the blocks of each page that TestPages does not run, by their first lines, and why.
// A page whose commands have a test of their own is not here.
func notRun() map[string]map[string]string {
	const (
		service = "does not end by itself"
		outside = "needs a machine or a registry outside of this one"
		changes = "changes the machine that it is read on"
		doctor  = "TestDoctor runs the doctor"
		buildx  = "needs buildx; submit_bake_paused.txtar submits what it prints"
		store   = "the store of worker dev is of no farm: TestStores"
	)
	return map[string]map[string]string{
		"alerts.md":   {"worker doctor": "TestSituations runs the doctor in each of them"},
		"ci.md":       {},
		"contexts.md": {},
		"guarantees.md": {
			"enqueue submit --push -t registry.lan/app:cache --build-arg BUILDKIT_INLINE_CACHE=1 .   # publishes the cache": outside,
		},
		"installing.md": {
			"apt-get install ./slipway_1.0.0_amd64.deb":                                                         changes,
			"systemd-run --pipe --wait --collect -p User=slipway -p EnvironmentFile=/etc/slipway/worker.env \\": changes,
			"tar -xzf slipway_1.0.0_linux_amd64.tar.gz":                                                         changes,
			"docker compose -p slipway -f deploy/compose.yaml --profile api up -d --build":                      "make compose-check, which CI runs",
		},
		"operating.md": {
			"SLIPWAY_REDIS='rediss+cluster://worker:..@a:6379?addr=b:6379&ca=/etc/slipway/ca.pem&cert=/etc/slipway/client.pem&key=/etc/slipway/client.key'": outside,
			"SLIPWAY_STORE=s3://builds/farm":                                                                 outside,
			"worker doctor             # as the worker's user, with the worker's settings":                   doctor,
			"enqueue serve --listen 0.0.0.0:8470 --tls-cert cert.pem --tls-key key.pem --policy policy.yaml": service,
			"worker rename-farm NEW         # then start each worker again with --farm NEW":                  "TestFarmName",
			"install -d -o slipway -g slipway -m 2770 /var/lib/slipway/store":                                changes,
			"groupadd --system --gid 970 slipway":                                                            changes,
			"install -d -o slipway -g slipway -m 2770 /srv/slipway/store":                                    outside,
			"echo 'hub:/srv/slipway/store /mnt/slipway-store nfs4 hard,_netdev 0 0' >>/etc/fstab":            outside,
			"worker gc --dry-run    # what it would delete":                                                  store,
			"worker store                  # is the store at --store the farm's?":                            store,
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example.com:4318 worker":                           service,
		},
		"producers.md": {
			"digest=sha256:$(zstd -dc app.tar.zst | sha256sum | cut -d' ' -f1)": outside,
			"$ docker buildx bake --print >bake.json":                           buildx,
			"enqueue wait nightly-2026-11-23          # right after the push":   "a program pushes this job: TestPlainProducer",
		},
		"webhooks.md": {
			"enqueue webhooks test ci            # sends slipway.webhook.test, and says what the receiver answered": "calls a machine outside: TestWebhook, webhooks.txtar",
			"umask 077; mkdir -p /etc/slipway/secrets/webhooks":                                                     changes,
		},
	}
}

// Each page with commands is run, one after the other on one farm, but for the blocks with a
// reason not to be.
func TestPages(t *testing.T) {
	t.Parallel()
	own := []string{"api.md", "backup.md", "many-hosts.md", "provenance.md", "rebuilds.md", "tour.md"} // these have tests of their own
	h := hosts.Take(t)
	before := baseline(t, h)
	o := siteOnFreshHost(t, h)
	stop := dev(t, o)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	left := notRun()
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(page)
		reasons, listed := left[name]
		delete(left, name)
		if !listed && (slices.Contains(own, name) || !doctest.HasCommands(string(text))) {
			continue
		}
		on := o
		on.NotRun = reasons
		t.Run(name, func(t *testing.T) { doctest.Run(t, page, on) })
	}
	for name := range left {
		t.Errorf("there is no page %s", name)
	}
	cmd := o.Command(t.Context(), "sh", "-c", "enqueue ls --up -q | xargs -r enqueue cancel")
	cmd.Env = o.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("end the services: %v\n%s", err, out)
	}
	leave(t, h, before, stop)
}
