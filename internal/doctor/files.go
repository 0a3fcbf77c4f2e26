package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/fsop"
	"github.com/slipway-farm/slipway/internal/provenance"
	"github.com/slipway-farm/slipway/internal/secretfiles"
)

// What a worker makes, with the modes it gives them.
const (
	stateMode = 0o700
	storeMode = 0o750
)

func (e *exam) spoolDir() string { return filepath.Join(e.StateDir, "spool") }

func stateDirectory(_ context.Context, e *exam) Finding {
	if f, there := directory(e.StateDir, stateMode, "--state"); !there {
		return f
	}
	var loose []string
	for _, dir := range []string{e.StateDir, e.spoolDir(), filepath.Join(e.StateDir, "tmp")} {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // is made when it is needed
		}
		if f, there := directory(dir, stateMode, "--state"); !there {
			return f
		}
		if info.Mode().Perm()&0o077 != 0 {
			loose = append(loose, dir)
		}
	}
	if len(loose) == 0 {
		if owner, err := ownerOf(e.StateDir); err == nil && os.Geteuid() == 0 && owner.Uid != 0 {
			return warn("run it as that user, too: root may do what a worker may not", "%s belongs to user %d, and this is root", e.StateDir, owner.Uid)
		}
		return ok("%s is writable, and only its owner may read it", e.StateDir)
	}
	f := warn("set the mode to 0700, as --fix does: logs and contexts of all jobs pass through it", "others have access to %s", strings.Join(loose, ", "))
	f.repair = func(context.Context) (string, error) {
		for _, dir := range loose {
			if err := os.Chmod(dir, stateMode); err != nil {
				return "", fmt.Errorf("close the state directory: %w", err)
			}
		}
		return "set the mode of " + strings.Join(loose, ", ") + " to 0700", nil
	}
	return f
}

func stateIdentity(_ context.Context, e *exam) Finding {
	id, err := e.Identity()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok("none yet; the first worker makes one")
	case err != nil:
		return broken(fmt.Errorf("read the identity in %s: %w", e.StateDir, err), "no worker starts with it: restore it, or remove it when no job of this host is left")
	}
	e.host = id
	if kind := networkDisk(e.StateDir); kind != "" {
		return warn("move the state directory to a local disk: two hosts with one identity take each other's jobs for their own", "%s, on %s", id, kind)
	}
	return ok("%s", id)
}

// networkDisk names the network file system that a path is on, "" for none.
func networkDisk(path string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(path, &s) != nil {
		return ""
	}
	// See statfs(2); the field's type differs between platforms.
	return map[uint32]string{0x6969: "NFS", 0xFF534D42: "SMB", 0xFE534D42: "SMB", 0x00C36400: "Ceph"}[uint32(s.Type)]
}

// stateShared looks for another worker under this one's identity.
func stateShared(ctx context.Context, e *exam) Finding {
	if e.host == "" {
		return Finding{}
	}
	seat, _, err := e.Records.Seat(ctx, e.host)
	if err != nil {
		return broken(err, "look at Redis")
	}
	why, err := e.Look(seat, e.daemon.ID)
	if err != nil {
		return broken(err, "look at the state directory")
	}
	if why != "" {
		return warn("the next worker on it is a new host, and puts the files of the one before aside; start it with its own directory if that is not meant", "%s", why)
	}
	owned, err := e.Records.Owned(ctx, e.host)
	if err != nil {
		return broken(err, "look at Redis")
	}
	for _, job := range owned {
		if job.Worker != e.Name {
			return warn("a state directory must not be copied to another host; if only --name was changed, all is well",
				"a worker %q has this identity, too: it runs job %s", job.Worker, job.ID)
		}
	}
	return ok("jobs that run under this identity: %d, none of another worker's", len(owned))
}

func artifactStore(ctx context.Context, e *exam) Finding {
	bucket, err := artifacts.IsBucket(e.StorePath)
	if err != nil {
		return broken(err, "say with --store where it is")
	}
	return answering(ctx, e.StorePath, func(ctx context.Context) Finding { return usableStore(ctx, e, bucket) })
}

// storeTime is more than a store needs that answers.
const storeTime = 5 * time.Second

// answering looks at the artifact store, whose file system may hang.
func answering(ctx context.Context, path string, look func(context.Context) Finding) Finding {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	f, err := fsop.Do(ctx, fsop.NewGate(1), func() (Finding, error) { return look(ctx), nil }, nil)
	if err != nil {
		f = fail("look at the server of its file system, and at its mount", "%s does not answer", path)
		f.cause = err
	}
	return f
}

func usableStore(ctx context.Context, e *exam, bucket bool) Finding {
	where := e.StorePath
	if !bucket {
		if f, there := directory(where, storeMode, "--store"); !there {
			if f.repair == nil || e.StoreOwner == nil {
				return f
			}
			// A mount point without its file system must not become a store.
			if err := e.StoreOwner(ctx); errors.Is(err, artifacts.ErrForeign) {
				return broken(err, "mount it, or name the farm's store with --store")
			}
			return f
		}
		inside, err := os.ReadDir(where)
		if err != nil {
			return broken(fmt.Errorf("look at the artifact store: %w", err), "let the worker's user read it")
		}
		for _, entry := range inside { // some of them may be another user's
			if dir := filepath.Join(where, entry.Name()); entry.IsDir() && !writable(dir) {
				return fail("give the store to a group of all who write to it, with mode 2770", "%s is not writable", dir)
			}
		}
	}
	if err := e.Store(ctx); err != nil {
		return broken(err, "look at the server, at the AWS_ variables, or at the permissions of the directory")
	}
	if bucket {
		return ok("%s answers", where)
	}
	return ok("%s is writable", where)
}

func storeOwner(ctx context.Context, e *exam) Finding {
	err := e.StoreOwner(ctx)
	if own, ok := errors.AsType[*artifacts.StoreError](err); ok {
		return broken(err, own.Hint)
	}
	if err != nil {
		return broken(err, "let --redis and --store be of the same farm")
	}
	return ok("the artifact store is this farm's, or has no owner yet")
}

func policyFile(_ context.Context, e *exam) Finding {
	if err := e.Policy(); err != nil {
		return broken(err, "correct it; worker policy checks it, too")
	}
	if e.PolicyFile == "" {
		return ok("the default")
	}
	return ok("%s can be used", e.PolicyFile)
}

func secretsDirectory(_ context.Context, e *exam) Finding {
	if e.SecretsDir == "" {
		return ok("none")
	}
	inside, err := os.ReadDir(e.SecretsDir)
	if err != nil {
		return broken(fmt.Errorf("list the build secrets: %w", err), "make the directory of --secrets, readable to the worker's user")
	}
	return private(e.SecretsDir, fmt.Sprintf("secrets: %d", len(inside)))
}

// runtimeDirectory gives a container that is none a secret, as a worker does, and takes it
// away.
func runtimeDirectory(_ context.Context, e *exam) Finding {
	if e.SecretsDir == "" {
		return Finding{}
	}
	const container = "doctor"
	dir := secretfiles.At(filepath.Join(e.RuntimeDir, container))
	_, err := dir.Put(container, map[string][]byte{container: nil})
	if err = errors.Join(err, os.RemoveAll(dir.Path())); err != nil {
		return broken(err, "make --runtime-dir a directory of the worker's user on a tmpfs, which the Docker daemon sees at the same path; else jobs with run.secrets fail here")
	}
	return ok("containers can have their secrets in memory, below %s", e.RuntimeDir)
}

func webhookSecrets(ctx context.Context, e *exam) Finding {
	if e.Webhooks == nil {
		return ok("left to other workers (--webhooks=false)")
	}
	n, err := e.Webhooks(ctx)
	if err != nil {
		return broken(err, "put the file into the folder webhooks of --secrets, or leave webhooks to other workers with --webhooks=false: those that fail for long are disabled")
	}
	return ok("%d, and their secrets are here", n)
}

func provenanceKey(_ context.Context, e *exam) Finding {
	if e.ProvenanceKey == "" {
		return Finding{}
	}
	if _, err := provenance.ReadKey(e.ProvenanceKey); err != nil {
		return broken(err, "give --provenance-key a key that signs: no image is pushed without its provenance")
	}
	return private(e.ProvenanceKey, "the key that signs provenance")
}

// private checks that only the owner of a path with credentials may read it.
func private(path, what string) Finding {
	open, err := worldReads(path)
	if err != nil {
		return broken(fmt.Errorf("look at the mode of %s: %w", path, err), "let the worker's user read it")
	}
	if !open {
		return ok("%s: %s", path, what)
	}
	f := fail("take the right from others, as --fix does: chmod o-rwx "+path, "%s: %s, and every user of this host may read them", path, what)
	f.repair = func(context.Context) (string, error) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Chmod(path, info.Mode()&^0o007)
		}
		if err != nil {
			return "", fmt.Errorf("take the right to read from others: %w", err)
		}
		return "chmod o-rwx " + path, nil
	}
	return f
}

// worldReads reports whether others may read a path, and get as far as that.
func worldReads(path string) (bool, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	want := fs.FileMode(0o004)
	if info.IsDir() {
		want = 0o005 // either lists the names, or opens what is guessed
	}
	if info.Mode().Perm()&want == 0 {
		return false, nil
	}
	for path != filepath.Dir(path) {
		path = filepath.Dir(path)
		if info, err = os.Stat(path); err != nil || info.Mode().Perm()&0o001 == 0 {
			return false, err
		}
	}
	return true, nil
}

// directory makes sure that a directory is there and writable; otherwise it
// returns what is to be said.
func directory(path string, mode fs.FileMode, flag string) (f Finding, there bool) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && writable(existing(path)):
		f = warn("a worker makes it when it starts, and so does --fix", "%s is not there", path)
		f.repair = func(context.Context) (string, error) { return "made " + path, makeDir(path, mode) }
	case errors.Is(err, fs.ErrNotExist):
		f = fail("make it for the worker's user, or choose another with "+flag, "%s is not there, and this user cannot make it", path)
	case err != nil:
		f = broken(err, "let the worker's user get there, or choose another with "+flag)
	case !info.IsDir():
		f = fail("choose a directory with "+flag, "%s is not a directory", path)
	case !writable(path):
		f = fail("give it to the worker's user, mount it writable, or choose another with "+flag, "%s is not writable", path)
	default:
		return f, true
	}
	return f, false
}

// writable asks the kernel, which knows of read-only mounts, too.
func writable(path string) bool {
	const write, search = 2, 1
	return syscall.Access(path, write|search) == nil
}

// makeDir makes a directory and those above it. Root gives them the owner of the
// directory they are in: the worker may be another user.
func makeDir(path string, mode fs.FileMode) error {
	parent := filepath.Dir(path)
	if existing(path) != parent {
		if err := makeDir(parent, 0o755); err != nil {
			return err
		}
	}
	err := os.Mkdir(path, mode)
	if err == nil {
		err = os.Chmod(path, mode) // whatever the umask
	}
	if err == nil && os.Geteuid() == 0 {
		err = chownLike(path, parent)
	}
	if err != nil {
		return fmt.Errorf("make a directory for the worker: %w", err)
	}
	return nil
}

func chownLike(path, other string) error {
	owner, err := ownerOf(other)
	if err != nil {
		return err
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

func ownerOf(path string) (syscall.Stat_t, error) {
	var s syscall.Stat_t
	err := syscall.Stat(path, &s)
	return s, err
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no registry"
	}
	return strings.Join(names, ", ")
}
