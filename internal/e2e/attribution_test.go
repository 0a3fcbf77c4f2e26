//go:build integration

package e2e_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// cause is one thing that goes wrong with a job, and what it has to come to.
type cause struct {
	name string
	// files make a context, which is submitted when there are any; one that is
	// called jobFile is a document.
	files map[string]string
	args  []string
	want  verdict
}

// jobPort is a port of the host that a job has already.
const jobPort = "18099"

// jobFile is a job document among a cause's files.
const jobFile = "job.json"

// verdict is what became of a job, and whom it is put down to.
type verdict struct {
	state jobs.State // "" when no job was made of it
	kind  jobs.Kind
	fault jobs.Fault
	tries int
	exit  int // of the command line
	// last is what the last try was lost to where the farm gave up.
	last jobs.Kind
	// says matches a part of what its owner is told: message, cause and hint.
	says string
}

// mistake is a failure of the job's own, which is not tried again by itself.
func mistake(kind jobs.Kind, says string) verdict {
	return verdict{state: jobs.Failed, kind: kind, fault: jobs.UserFault, tries: 1, exit: jobs.ExitFailed, says: says}
}

// denial is missing credentials or rights at a registry.
func denial(says string) verdict {
	return verdict{state: jobs.Failed, kind: jobs.KindRegistryDenied, fault: jobs.UserFault, tries: 1, exit: jobs.ExitAuth, says: says}
}

// refusal is a job that no worker can do as it is written.
func refusal(kind jobs.Kind, says string) verdict {
	return verdict{state: jobs.Refused, kind: kind, fault: jobs.UserFault, tries: 1, exit: jobs.ExitUsage, says: says}
}

// unacceptable is a document of which no job is made.
func unacceptable(says string) verdict { return verdict{exit: jobs.ExitUsage, says: says} }

// ranOut is a limit of time that the job sets itself.
func ranOut(kind jobs.Kind, says string) verdict {
	return verdict{state: jobs.Failed, kind: kind, fault: jobs.UserFault, tries: 1, exit: jobs.ExitTimeout, says: says}
}

// lost is what the farm tries again, until it gives up.
func lost(kind jobs.Kind, says string) verdict {
	return verdict{state: jobs.Failed, kind: jobs.KindPoisoned, last: kind, fault: jobs.InfraFault, tries: jobs.MaxLosses, exit: jobs.ExitInfra, says: says}
}

// notPushed is a registry that was asked again and again in one try: what is built
// is not built again.
func notPushed(says string) verdict {
	return verdict{state: jobs.Failed, kind: jobs.KindPush, fault: jobs.InfraFault, tries: 1, exit: jobs.ExitInfra, says: says}
}

// recovered is what the farm lost, and did again.
func recovered(kind jobs.Kind, says string) verdict {
	return verdict{state: jobs.Succeeded, fault: jobs.InfraFault, last: kind, tries: 2, says: says}
}

// works is what other engines refuse.
func works() verdict { return verdict{state: jobs.Succeeded, tries: 1} }

// A failure is put down to whom it belongs to: to the job what the job asks for, to
// the farm or a registry what is wrong with those. Only what may pass is tried again.
func TestAttribution(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	registry := hosttest.StartFaulty(t, hostA)
	engine := engineVersion(t, hostA)
	root := f.archives()
	policy := f.policy(fmt.Sprintf(`context: {file_roots: [%s]}
dockerfile: {frontends: ["docker/dockerfile:*", "%s/manifest-*/fe:*"]}
run: {ulimits: {nofile: -1}}
`, root, registry.Addr))
	// Jobs wait without a slot between two tries, but not between two pushes.
	f.worker(hostA, "one", policy, "--slots", "24", "--secrets", t.TempDir(), "--push-timeout", "90s", "--build-timeout", "40s", "--build-memory", "256m")
	seed(t, hostA, registry.Addr+"/seed/app:1")
	service := f.submit("-p", jobPort+":80", "--keep", "10m", "--image", "busybox", "--", "httpd", "-f", "-p", "80")
	f.ended(service)

	all := []cause{{
		"job that is cancelled",
		map[string]string{"Dockerfile": "FROM busybox\nRUN echo it begins; sleep 600\n"},
		[]string{"--build-timeout", "10m"},
		verdict{state: jobs.Cancelled, kind: jobs.KindCancelled, fault: jobs.UserFault, tries: 1, exit: jobs.ExitCancelled, says: `^cancelled by \S+ during build`},
	}}
	// What waits longest comes first.
	all = append(all, registryCauses(registry.Addr, engine, containerdStore(t, hostA))...)
	all = append(all, frontendCauses(registry.Addr, engine)...)
	all = append(all, containerCauses()...)
	all = append(all, buildCauses(root, engine)...)
	submitted := make([]answer, len(all))
	for i, c := range all {
		args := append([]string{"submit", "-d", "-q"}, c.args...)
		switch {
		case c.files[jobFile] != "":
			args = append(args, "-f", filepath.Join(contextDir(t, c.files), jobFile))
		case c.files != nil:
			args = append(args, contextDir(t, c.files))
		}
		submitted[i] = f.enqueue(args...)
	}
	id := strings.TrimSpace(submitted[0].stdout)
	f.said(id, "it begins")
	f.cancel(id)
	rows := make([]string, len(all))
	for i, c := range slices.Backward(all) { // while the first ones wait
		t.Run(c.name, func(t *testing.T) {
			f := f.in(t)
			got, told := f.verdict(submitted[i])
			rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%d\t%s", c.name, got.state, cmp.Or(got.last, got.kind), got.fault, got.tries, got.exit, jobs.Line(told, 200))
			checkVerdict(t, got, c.want, told)
		})
	}
	f.cancel(service)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "WHAT FAILED\tSTATE\tKIND\tWHOSE\tTRIES\tEXIT\tWHAT ITS OWNER IS TOLD\n%s\n", strings.Join(rows, "\n"))
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
	t.Logf("on %s, %d causes:\n%s", strings.Join(docker(t, hostA, "version", "--format", "{{.Server.Version}}"), ""), len(all), table.String())
	clean(t, hostA, before)
	f.noSpools("one")
}

func checkVerdict(t *testing.T, got, want verdict, told string) {
	t.Helper()
	if !regexp.MustCompile(want.says).MatchString(told) {
		t.Errorf("its owner is told %q, which lacks %q", told, want.says)
	}
	got.says = want.says
	if got != want {
		t.Errorf("got  %+v\nwant %+v\nits owner is told %q", got, want, told)
	}
}

// seed gives a registry an image of which the host has no part.
func seed(t *testing.T, h *hosttest.Host, ref string) {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	via := &http.Transport{DialContext: h.Dial}
	defer via.CloseIdleConnections()
	if err := remote.Write(to, img, remote.WithTransport(via), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// archives are contexts, good and bad, in a folder.
func (f *farm) archives() (dir string) {
	f.t.Helper()
	dir = contextDir(f.t, map[string]string{"text.tar": "FROM busybox\n", "folder.tar/a": "a"})
	for name, files := range map[string]map[string]string{
		"good":   {"Dockerfile": "FROM busybox\n"},
		"syntax": {"Dockerfile": "FROM busybox\nRUNN true\n"},
		"bare":   {"a": "a"},
		"cut":    {"Dockerfile": "FROM busybox\n", "a": strings.Repeat("a", 4096)},
	} {
		f.tarOf(filepath.Join(dir, name+".tar"), files)
	}
	if err := os.Truncate(filepath.Join(dir, "cut.tar"), 3000); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// verdict waits for the end of a job and reads what became of it, and what its
// owner is told.
func (f *farm) verdict(submitted answer) (v verdict, told string) {
	f.t.Helper()
	if submitted.code != 0 {
		if submitted.stdout != "" {
			f.t.Errorf("a job was made all the same: %s", submitted.stdout)
		}
		return verdict{exit: submitted.code}, submitted.stderr
	}
	id := strings.TrimSpace(submitted.stdout)
	v.exit = f.enqueue("wait", id, "--timeout", "4m").code
	job := f.job(id)
	v.state, v.tries = job.State, job.Attempt
	if len(job.Past) > 0 && job.State == jobs.Succeeded {
		fl := job.Past[0].Failure
		v.last, v.fault = fl.Kind, fl.Kind.Info().Fault
		return v, fl.Message + " | " + fl.Cause + " | " + fl.Hint
	}
	if job.Result == nil || job.Result.Failure == nil {
		return v, ""
	}
	fl := *job.Result.Failure
	v.kind, v.fault = fl.Kind, fl.Kind.Info().Fault
	told = fl.Message + " | " + fl.Cause + " | " + fl.Hint
	presentable(f.t, fl)
	if found := regexp.MustCompile(`the last one (\w+)`).FindStringSubmatch(fl.Hint); fl.Kind == jobs.KindPoisoned && found != nil {
		v.last = jobs.Kind(found[1])
	}
	if job.Retries != 0 || job.Losses != job.Attempt-1 {
		f.t.Errorf("attempt %d after %d retries and %d losses", job.Attempt, job.Retries, job.Losses)
	}
	// A registry is given time to get well, and so longer each time.
	for i, past := range job.Past {
		next := job.Claimed
		if i+1 < len(job.Past) {
			next = job.Past[i+1].Started
		}
		least := []time.Duration{10 * time.Second, time.Minute}[i]
		if past.Failure == nil || past.Failure.Kind != v.last {
			f.t.Errorf("attempt %d ended with %+v, want %s", past.Attempt, past.Failure, v.last)
		} else if pause := next.Sub(past.Ended); v.last == jobs.KindRegistryUnavailable && pause < least-time.Second {
			f.t.Errorf("%s between attempts %d and %d, want %s", pause, past.Attempt, past.Attempt+1, least)
		}
	}
	return v, told
}

// engineVersion is the major version of the engine that is tested.
func engineVersion(t *testing.T, h *hosttest.Host) int {
	t.Helper()
	version := docker(t, h, "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}")[0]
	name, api, _ := strings.Cut(version, " ")
	major, _, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(major)
	if err != nil { // built from the Go module: library-import
		if api < "1.50" {
			t.Fatalf("the engine is of an unknown version, %s", version)
		}
		return 29
	}
	return n
}

// containerdStore reports whether the engine keeps images in containerd's store.
func containerdStore(t *testing.T, h *hosttest.Host) bool {
	t.Helper()
	return strings.Contains(docker(t, h, "info", "--format", "{{.DriverStatus}}")[0], "io.containerd.snapshotter")
}
