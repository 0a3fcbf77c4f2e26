package doctor

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const host = "8a2e7c8e-9f3b-4a0e-8f57-4a1d1a5a2f11"

// newHost is a healthy one.
func newHost(t *testing.T) *exam {
	t.Helper()
	dir := t.TempDir()
	e := &exam{host: host}
	e.Daemon = &fakeDaemon{}
	e.Records = records{}
	e.Name, e.Farm = "a", "default"
	e.StateDir, e.StorePath = filepath.Join(dir, "state"), filepath.Join(dir, "store")
	for _, d := range []string{e.StateDir, e.spoolDir(), e.StorePath} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	e.Identity = func() (string, error) { return host, nil }
	e.Lock = func() (func() error, bool, error) { return func() error { return nil }, false, nil }
	e.Look = func(jobs.Seat, string) (string, error) { return "", nil }
	e.Former = func() ([]string, error) { return nil, nil }
	e.Store = func(context.Context) error { return nil }
	e.StoreOwner = e.Store
	e.Policy = func() error { return nil }
	e.Registries = func() ([]string, error) { return []string{"docker.io"}, nil }
	return e
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

// inMemory is a directory on a tmpfs.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "slipway-doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestFiles(t *testing.T) {
	t.Parallel()
	bad := errors.New("it is no good")
	file := func(e *exam) string { return write(t, filepath.Join(filepath.Dir(e.StateDir), "file"), 0o600) }
	for _, tt := range []row{
		{"private", "state", nil, OK, "is writable"},
		{"missing", "state", func(e *exam) { e.StateDir += "/a/b" }, Warn, "is not there"},
		{"open", "state", func(e *exam) { chmod(t, e.StateDir, 0o750) }, Warn, "others have access to"},
		{"open spool", "state", func(e *exam) { chmod(t, e.spoolDir(), 0o755) }, Warn, "/spool"},
		{"a file", "state", func(e *exam) { e.StateDir = file(e) }, Fail, "is not a directory"},
		{"below a file", "state", func(e *exam) { e.StateDir = file(e) + "/state" }, Fail, "not a directory"},
		{"there", "state.identity", nil, OK, host},
		{"none", "state.identity", func(e *exam) { e.Identity = func() (string, error) { return "", fs.ErrNotExist } }, OK, "none yet"},
		{"damaged", "state.identity", func(e *exam) { e.Identity = func() (string, error) { return "", bad } }, Fail, "no good"},
		{"no other worker", "state.shared", func(e *exam) { e.Records = records{{ID: "j", State: jobs.Running, Host: host, Worker: "a"}} }, OK, "1, none"},
		{"another worker", "state.shared", func(e *exam) { e.Records = records{{ID: "j", State: jobs.Running, Host: host, Worker: "b"}} }, Warn, `"b"`},
		{"ours", "farm", nil, OK, "default"},
		{"new", "farm", func(e *exam) { e.Records = unnamed{} }, OK, "no worker has named it yet"},
		{"another's", "farm", func(e *exam) { e.Farm = "other" }, Fail, `of the farm "default", not of "other"`},
		{"a copy", "state.shared", func(e *exam) {
			e.daemon.ID = "d"
			e.Look = func(s jobs.Seat, daemon string) (string, error) { return s.Host + " is a copy, on " + daemon, nil }
		}, Warn, host + " is a copy, on d"},
		{"unreadable", "state.shared", func(e *exam) { e.Look = func(jobs.Seat, string) (string, error) { return "", bad } }, Fail, "no good"},
		{"none", "leftovers.former", nil, OK, "no files of hosts"},
		{"some", "leftovers.former", func(e *exam) {
			e.Former = func() ([]string, error) { return []string{"/state/former/a-1", "/state/former/b-2"}, nil }
		}, Warn, "before: 2 (a-1, b-2)"},
		{"directory", "store", nil, OK, "is writable"},
		{"bucket", "store", func(e *exam) { e.StorePath = "s3://builds/farm" }, OK, "s3://builds/farm answers"},
		{"bucket that is away", "store", func(e *exam) { e.StorePath, e.Store = "s3://builds", func(context.Context) error { return bad } }, Fail, "no good"},
		{"missing", "store", func(e *exam) { e.StorePath += "/a" }, Warn, "is not there"},
		{"relative", "store", func(e *exam) { e.StorePath = "store" }, Fail, "neither"},
		{"ours", "store.owner", nil, OK, "this farm's"},
		{"not mounted", "store.owner", func(e *exam) { e.StoreOwner = notMounted }, Fail, "is it mounted?"},
		{"missing, and the farm has one", "store", func(e *exam) { e.StorePath, e.StoreOwner = e.StorePath+"/a", notMounted }, Fail, "is it mounted?"},
		{"another's", "store.owner", func(e *exam) { e.StoreOwner = func(context.Context) error { return bad } }, Fail, "no good"},
		{"default", "policy", nil, OK, "the default"},
		{"good", "policy", func(e *exam) { e.PolicyFile = "/p.yaml" }, OK, "/p.yaml"},
		{"bad", "policy", func(e *exam) { e.Policy = func() error { return bad } }, Fail, "no good"},
		{"none", "secrets", nil, OK, "none"},
		{"missing", "secrets", func(e *exam) { e.SecretsDir = "/no-such-directory" }, Fail, "no such file"},
		{"private", "secrets", func(e *exam) { e.SecretsDir = e.StateDir }, OK, "secrets: 1"},
		{"none", "secrets.runtime", nil, "", ""},
		{"on a disk", "secrets.runtime", func(e *exam) { e.SecretsDir, e.RuntimeDir = e.StateDir, t.TempDir() }, Fail, "is not in memory"},
		{"in memory", "secrets.runtime", func(e *exam) { e.SecretsDir, e.RuntimeDir = e.StateDir, inMemory(t) }, OK, "in memory, below"},
		{"left to others", "webhooks", nil, OK, "other workers"},
		{"signed", "webhooks", func(e *exam) { e.Webhooks = func(context.Context) (int, error) { return 2, nil } }, OK, "2, and"},
		{"no secret", "webhooks", func(e *exam) { e.Webhooks = func(context.Context) (int, error) { return 2, bad } }, Fail, "no good"},
		{"none", "registry-auth", nil, OK, "anonymously"},
		{"none", "registry-logins", nil, "", ""},
		{"taken", "registry-logins", func(e *exam) { e.RegistryAuth = file(e) }, OK, "taken by docker.io"},
		{"refused", "registry-logins", func(e *exam) {
			e.RegistryAuth = file(e)
			e.Daemon = &fakeDaemon{logins: map[string]error{"docker.io": jobs.Fail(jobs.KindRegistryDenied, nil, "", "no")}}
		}, Fail, "refused by docker.io"},
		{"away", "registry-logins", func(e *exam) {
			e.RegistryAuth = file(e)
			e.Daemon = &fakeDaemon{logins: map[string]error{"docker.io": errors.New("no answer")}}
		}, Warn, "could not be tried at docker.io (no answer)"},
		{"bad", "registry-auth", func(e *exam) { e.RegistryAuth, e.Registries = "/x", func() ([]string, error) { return nil, bad } }, Fail, "no good"},
		{"private", "registry-auth", func(e *exam) { e.RegistryAuth = file(e) }, OK, "docker.io"},
		{"none", "provenance-key", nil, "", ""},
		{"missing", "provenance-key", func(e *exam) { e.ProvenanceKey = "/no-such-key" }, Fail, "no such file"},
		{"no key", "provenance-key", func(e *exam) { e.ProvenanceKey = file(e) }, Fail, "is not a PEM file"},
		{"private", "provenance-key", func(e *exam) { e.ProvenanceKey = signing(t, e) }, OK, "the key that signs provenance"},
		{"there", "disk.state", nil, OK, "free"},
		{"to be made", "disk.state", func(e *exam) { e.StateDir += "/a/b" }, OK, "free"},
		{"bucket", "disk.store", func(e *exam) { e.StorePath = "s3://builds" }, "", ""},
	} {
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			e := newHost(t)
			if tt.set != nil {
				tt.set(e)
			}
			f := look(t, e, tt.check)
			if tt.status == "" {
				if f.Status != "" {
					t.Errorf("%s; want nothing to be said", f)
				}
				return
			}
			want(t, f, tt.status, tt.says)
		})
	}
}

// notMounted is a farm's store whose file system is not there.
func notMounted(context.Context) error {
	return artifacts.Foreign("/mnt/store", artifacts.Mark{}, artifacts.Mark{Farm: "A", Store: "1"})
}

// A mount point without its file system is not made into a store.
func TestMountPointIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := newHost(t)
	e.Fix, e.StoreOwner = true, notMounted
	e.StorePath = filepath.Join(e.StorePath, "mnt")
	want(t, look(t, e, "store"), Fail, "is it mounted?")
	if _, err := os.Stat(e.StorePath); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// A store that hangs does not hold up the other checks.
func TestStoreHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newHost(t)
		goOn := make(chan struct{})
		e.Store = func(context.Context) error { <-goOn; return nil }
		began := time.Now()
		want(t, look(t, e, "store"), Fail, "does not answer")
		if took := time.Since(began); took != storeTime {
			t.Errorf("it took %s, want %s", took, storeTime)
		}
		close(goOn)
	})
}

// hungDaemon takes questions and does not answer.
type hungDaemon struct{ fakeDaemon }

func (*hungDaemon) Details(ctx context.Context) (engine.Details, error) {
	<-ctx.Done()
	return engine.Details{}, ctx.Err()
}

// A daemon that hangs is called that.
func TestDaemonHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newHost(t)
		e.Daemon = &hungDaemon{}
		began := time.Now()
		want(t, look(t, e, "docker"), Fail, "docker does not answer: nothing came within 10s")
		if took := time.Since(began); took != daemonTime {
			t.Errorf("it took %s, want %s", took, daemonTime)
		}
	})
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSetgid)
}

func TestFilesAreRepaired(t *testing.T) {
	t.Parallel()
	e := newHost(t)
	e.Fix = true
	e.StateDir = filepath.Join(e.StateDir, "deep", "state")
	want(t, look(t, e, "state"), OK, "is writable")
	if modeOf(t, e.StateDir) != 0o700 || modeOf(t, filepath.Dir(e.StateDir)) != 0o755 {
		t.Errorf("modes %v in %v", modeOf(t, e.StateDir), modeOf(t, filepath.Dir(e.StateDir)))
	}
	for _, d := range []string{e.spoolDir(), e.StateDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		chmod(t, d, 0o755)
	}
	if f := look(t, e, "state"); f.Status != OK || f.Fixed != "set the mode of "+e.StateDir+", "+e.spoolDir()+" to 0700" {
		t.Errorf("%s; want both closed", f)
	}

	e.StorePath = filepath.Join(e.StorePath, "new")
	if f := look(t, e, "store"); f.Status != OK || f.Fixed != "made "+e.StorePath || modeOf(t, e.StorePath) != 0o750 {
		t.Errorf("%s, mode %v; want it made", f, modeOf(t, e.StorePath))
	}
}

func TestFormerFilesAreRemoved(t *testing.T) {
	t.Parallel()
	e := newHost(t)
	dir := filepath.Join(e.StateDir, "former", "a-1")
	if err := os.MkdirAll(filepath.Join(dir, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	e.Former = func() ([]string, error) {
		if _, err := os.Stat(dir); err != nil {
			return nil, nil
		}
		return []string{dir}, nil
	}
	e.Fix = true
	if f := look(t, e, "leftovers.former"); f.Status != OK || f.Fixed != "removed a-1" {
		t.Errorf("%s; want it removed", f)
	}
}

// A file that every user may read is a finding, unless its directory keeps them out.
func TestCredentials(t *testing.T) {
	t.Parallel()
	e := newHost(t)
	above := filepath.Dir(filepath.Dir(e.StateDir)) // the directory of this test, which others may not enter
	e.SecretsDir = e.StorePath
	chmod(t, e.SecretsDir, 0o755|fs.ModeSetgid)
	e.RegistryAuth = write(t, filepath.Join(filepath.Dir(e.StateDir), "auth.json"), 0o644)
	checks := []string{"secrets", "registry-auth"}
	for _, c := range checks {
		want(t, look(t, e, c), OK, "")
	}
	chmod(t, above, 0o755)
	for _, c := range checks {
		want(t, look(t, e, c), Fail, "every user of this host may read them")
	}
	e.Fix = true
	for _, c := range checks {
		if f := look(t, e, c); f.Status != OK || f.Fixed == "" {
			t.Errorf("%s; want it closed", f)
		}
	}
	if modeOf(t, e.SecretsDir) != 0o750|fs.ModeSetgid || modeOf(t, e.RegistryAuth) != 0o640 {
		t.Errorf("modes %v and %v; want 02750 and 0640", modeOf(t, e.SecretsDir), modeOf(t, e.RegistryAuth))
	}
}

// made is something that an attempt of this host made.
func made(id, attempt, name string) engine.Listed {
	return engine.Listed{ID: "id of " + name, Name: name, Labels: map[string]string{
		engine.LabelFarm: "default", engine.LabelHost: host, engine.LabelJob: id, engine.LabelAttempt: attempt,
	}}
}

// messy is a host with leftovers, and with much that only looks like some.
func messy(t *testing.T) (*exam, *fakeDaemon) {
	t.Helper()
	e := newHost(t)
	kept := &jobs.Result{Host: host, Attempt: 1, State: jobs.Succeeded, ContainerID: "id of slipway-kept-a1", Service: &jobs.ServiceStatus{State: jobs.ServiceUp}}
	over := &jobs.Result{Host: host, Attempt: 1, State: jobs.Succeeded, Service: &jobs.ServiceStatus{State: jobs.ServiceExpired}}
	e.Records = records{
		{ID: "runs", State: jobs.Running, Host: host, Attempt: 2, Worker: "a"},
		{ID: "moved", State: jobs.Running, Host: "another", Attempt: 2, Lease: time.Now().Add(time.Minute)},
		{ID: "theirs", State: jobs.Running, Host: "alive", Attempt: 1, Lease: time.Now().Add(time.Minute)},
		{ID: "lost", State: jobs.Running, Host: "dead", Attempt: 1},
		{ID: "kept", State: jobs.Succeeded, Result: kept},
		{ID: "ended", State: jobs.Succeeded, Result: over},
	}
	other := func(farm, host, id string) engine.Listed {
		l := made(id, "1", "slipway-"+id+"-a1")
		l.Labels[engine.LabelFarmID], l.Labels[engine.LabelHost] = farm, host
		return l
	}
	probe := made("", "", engine.ProbeName+"-x") // of the worker
	probe.Labels[engine.LabelProbe] = engine.ProbeName
	d := &fakeDaemon{
		containers: []engine.Listed{
			made("gone", "1", "slipway-gone-a1"),
			made("ended", "1", "slipway-ended-a1"),
			made("runs", "1", "slipway-runs-a1"), // lost before attempt 2
			made("moved", "1", "slipway-moved-a1"),
			made("runs", "2", "slipway-runs-a2"),
			made("kept", "1", "slipway-kept-a1"),
			made("gone", "1", "another-owners"),
			made("gone", "one", "slipway-gone-a1"),
			probe,
			other("farm-2", "dead", "gone"),
			other("farm-1", "dead", "lost"),
			other("farm-1", "alive", "theirs"),
			other("farm-1", "alive", "ended"),
		},
		images: []engine.Named{
			{Name: "slipway-job/default:gone-a1"},
			{Name: "slipway-job/default:runs-a2"},
			{Name: "slipway-job/default:kept-a1"},
			{Name: "slipway-job/default:moved-a2"},
			{Name: "slipway-job/default:odd"},
			{Name: "slipway-job/other:gone-a1"},
			{Name: "app:latest"},
		},
	}
	e.Daemon = d
	for _, name := range []string{"gone-a1.log", "moved-a1.log", "runs-a2.log", "kept-a1.log", "notes.txt", "gone-a1.log.bak", "-a1x.log"} {
		write(t, filepath.Join(e.spoolDir(), name), 0o600)
	}
	if err := os.Mkdir(filepath.Join(e.spoolDir(), "gone-a2.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	return e, d
}

func spoolFiles(t *testing.T, e *exam) []string {
	t.Helper()
	entries, err := os.ReadDir(e.spoolDir())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	e, d := messy(t)
	want(t, look(t, e, "leftovers.containers"), Warn, "containers that no job owns: 7 (slipway-gone-a1, slipway-ended-a1, slipway-runs-a1, slipway-moved-a1, slipway-doctor-x and 2 more)")
	want(t, look(t, e, "leftovers.images"), Warn, "images that no job owns: 1 (slipway-job/default:gone-a1)")
	want(t, look(t, e, "leftovers.spool"), Warn, "logs of jobs that do not run here: 2 (gone-a1.log, moved-a1.log)")
	if len(d.removed) > 0 || len(spoolFiles(t, e)) != 8 {
		t.Errorf("without --fix %q was removed, and files are left: %q", d.removed, spoolFiles(t, e))
	}

	e.Fix = true
	for _, c := range []string{"leftovers.containers", "leftovers.images", "leftovers.spool"} {
		if f := look(t, e, c); f.Status != OK || f.Fixed == "" {
			t.Errorf("%s; want them removed", f)
		}
	}
	removed := []string{"id of slipway-gone-a1", "id of slipway-ended-a1", "id of slipway-runs-a1", "id of slipway-moved-a1", "id of slipway-doctor-x", "id of slipway-lost-a1", "id of slipway-ended-a1", "slipway-job/default:gone-a1"}
	if diff := cmp.Diff(removed, d.removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-a1x.log", "gone-a1.log.bak", "gone-a2.log", "kept-a1.log", "notes.txt", "runs-a2.log"}, spoolFiles(t, e)); diff != "" {
		t.Errorf("files that are left (-want +got):\n%s", diff)
	}
}

// A worker that runs looks after its leftovers itself.
func TestLeftoversOfAWorkerThatRuns(t *testing.T) {
	t.Parallel()
	e, d := messy(t)
	e.Fix = true
	locked := func() (func() error, bool, error) { return nil, true, nil }
	for name, start := range map[string]int{"it runs": 0, "it starts in between": 1} {
		calls := 0
		e.Lock = func() (func() error, bool, error) {
			if calls++; calls > start {
				return locked()
			}
			return func() error { return nil }, false, nil
		}
		f := look(t, e, "leftovers.containers")
		if start == 0 {
			want(t, f, OK, "a worker runs")
		} else {
			want(t, f, Warn, "a worker runs")
		}
		if len(d.removed) > 0 {
			t.Errorf("%s: removed %q", name, d.removed)
		}
	}
	e.host = ""
	want(t, look(t, e, "leftovers.spool"), OK, "no worker has used")
}

func TestLeftoversOfADoctor(t *testing.T) {
	t.Parallel()
	e := newHost(t)
	probe := map[string]string{engine.LabelProbe: engine.ProbeName}
	workers := map[string]string{engine.LabelProbe: engine.ProbeName, engine.LabelHost: "host-1"} // which looks after it itself
	d := &fakeDaemon{
		containers: []engine.Listed{{ID: "c1", Name: "slipway-doctor-x", Labels: probe}, {ID: "c2", Name: "slipway-doctor-y"}, {ID: "c3", Name: "mine", Labels: probe}, {ID: "c4", Name: "slipway-doctor-z", Labels: workers}},
		images:     []engine.Named{{Name: "slipway-doctor:doctor-x"}, {Name: "slipway-doctor:host-1-y"}, {Name: "app:latest"}},
	}
	e.Daemon = d
	e.Lock = func() (func() error, bool, error) { return nil, true, nil } // no worker's business
	want(t, look(t, e, "leftovers.doctor"), Warn, "things that a killed doctor made: 2 (slipway-doctor-x, slipway-doctor:doctor-x)")
	e.Fix = true
	if f := look(t, e, "leftovers.doctor"); f.Status != OK || !slices.Equal(d.removed, []string{"c1", "slipway-doctor:doctor-x"}) {
		t.Errorf("%s; removed %q", f, d.removed)
	}
}

// signing makes a key beside the state directory.
func signing(t *testing.T, e *exam) (file string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(filepath.Dir(e.StateDir), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
