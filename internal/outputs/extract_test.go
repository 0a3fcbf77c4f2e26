package outputs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/outputs"
)

func blobOf(b []byte) artifacts.Blob {
	return artifacts.Blob{Digest: artifactstest.Digest(b), Size: int64(len(b))}
}

func TestExtract(t *testing.T) {
	t.Parallel()
	script := contextstest.File("dir/deep/run", "#!")
	script.Mode, script.ModTime = 0o4750, time.Unix(1_700_000_000, 0)
	closed := contextstest.Dir("dir/closed")
	closed.Mode = 0o500
	b := contextstest.Tar(t, contextstest.Dir("dir"), contextstest.File("dir/one", "1"), contextstest.Dir("dir/deep"), script, contextstest.Symlink("dir/link", "../../../etc/passwd"),
		contextstest.Hardlink("dir/same", "dir/one"), closed, contextstest.File("dir/closed/x", "x"), contextstest.File("other", "not wanted"))
	dir := t.TempDir()
	done, err := outputs.Extract(t.Context(), bytes.NewReader(b), blobOf(b), "dir", dir)
	if err != nil || done != (outputs.Extracted{Name: "dir", Entries: 8, Bytes: 4}) {
		t.Fatalf("Extract = %+v, %v", done, err)
	}
	info, err := os.Stat(filepath.Join(dir, "dir/deep/run"))
	if err != nil || info.Mode() != 0o750 || !info.ModTime().Equal(script.ModTime) {
		t.Errorf("run: %v, %v, want mode 0750 and its time", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "dir/closed")); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("closed: %v, %v, want mode 0500", info, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "dir/link")); err != nil || target != "../../../etc/passwd" {
		t.Errorf("link: %q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was not asked for is there")
	}
	if _, err := outputs.Extract(t.Context(), bytes.NewReader(b), blobOf(b), "dir", dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want ErrExist", err)
	}
	if _, err := outputs.Extract(t.Context(), bytes.NewReader(b), blobOf(b), "dir/none", dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there: %v, want ErrNotExist", err)
	}
}

// TestExtractRefuses: whatever a tar says, the directory is as it was.
func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	good := contextstest.Tar(t, contextstest.Dir("dir"), contextstest.File("dir/one", "1"))
	for _, tt := range []struct {
		name string
		tar  []byte
		want artifacts.Blob
	}{
		{"path above", contextstest.Tar(t, contextstest.File("dir/one", "1"), contextstest.File("dir/../../x", "x")), artifacts.Blob{}},
		{"absolute path", contextstest.Tar(t, contextstest.File("dir/one", "1"), contextstest.File("/tmp/slipway-x", "x")), artifacts.Blob{}},
		{"through a link", contextstest.Tar(t, contextstest.Symlink("dir/l", "/tmp"), contextstest.File("dir/l/slipway-x", "x")), artifacts.Blob{}},
		{"hard link out", contextstest.Tar(t, contextstest.Hardlink("dir/h", "/etc/passwd")), artifacts.Blob{}},
		{"hard link to what is not wanted", contextstest.Tar(t, contextstest.File("other", "x"), contextstest.Hardlink("dir/h", "other")), artifacts.Blob{}},
		{"twice", contextstest.Tar(t, contextstest.File("dir/one", "1"), contextstest.File("dir/one", "2")), artifacts.Blob{}},
		{"device", contextstest.Tar(t, contextstest.Special("dir/null", tar.TypeChar)), artifacts.Blob{}},
		{"damaged", good[:700], artifacts.Blob{}},
		{"other digest", good, artifacts.Blob{Digest: artifactstest.Digest(nil), Size: int64(len(good))}},
		{"other size", good, artifacts.Blob{Size: 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if done, err := outputs.Extract(t.Context(), bytes.NewReader(tt.tar), tt.want, "dir", dir); err == nil {
				t.Errorf("Extract = %+v, nil, want an error", done)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if _, err := os.Stat("/tmp/slipway-x"); err == nil {
		t.Error("a file was written outside")
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	owned := contextstest.File("out/a", "aaa")
	owned.Uid, owned.Gid, owned.Uname, owned.Mode = 1000, 1000, "user", 0o6755
	b := contextstest.Tar(t, contextstest.Dir("out"), owned, contextstest.Symlink("out/l", "/etc/passwd"), contextstest.Hardlink("out/h", "out/a"),
		contextstest.Special("out/pipe", tar.TypeFifo), contextstest.Special("out/null", tar.TypeChar))
	c := outputs.Collect(bytes.NewReader(b), "/x/out", 1<<20, 1<<20)
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if have := strings.Join(contextstest.Names(t, got), " "); have != "out/ out/a out/l out/h" {
		t.Errorf("collected %q", have)
	}
	for _, h := range contextstest.Headers(t, got) {
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Mode&0o7000 != 0 {
			t.Errorf("%q has owner %d:%d %q and mode %o", h.Name, h.Uid, h.Gid, h.Uname, h.Mode)
		}
	}
	if n, first := c.LeftOut(); c.Entries() != 4 || n != 2 || first != "out/pipe" {
		t.Errorf("%d entries, left out %d, the first %q", c.Entries(), n, first)
	}
}

func TestCollectFails(t *testing.T) {
	t.Parallel()
	boom := jobs.Fail(jobs.KindDaemonLost, nil, "wait", "the daemon is away")
	big := contextstest.Tar(t, contextstest.File("out", strings.Repeat("x", 100_000)))
	for _, tt := range []struct {
		name string
		r    io.Reader
		kind jobs.Kind
		says string
	}{
		{"link", bytes.NewReader(contextstest.Tar(t, contextstest.Symlink("out", "/data"))), jobs.KindOutputIsLink, `the output /x/out is a symbolic link to "/data"`},
		{"too large", bytes.NewReader(big), jobs.KindOutputLimit, "the outputs are larger than 64KiB"},
		{"too many", contextstest.Entries(200_001), jobs.KindOutputLimit, "more than 200000 entries"},
		{"engine fails", io.MultiReader(bytes.NewReader(big[:1000]), iotest.ErrReader(boom)), jobs.KindDaemonLost, "away"},
		{"engine stops", bytes.NewReader(big[:1000]), jobs.KindEngine, "cannot be read"},
		{"path above", bytes.NewReader(contextstest.Tar(t, contextstest.File("../x", ""))), jobs.KindEngine, "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			left := int64(64 << 10)
			if tt.name == "too many" {
				left = 1 << 30
			}
			_, err := io.Copy(io.Discard, outputs.Collect(tt.r, "/x/out", left, 64<<10))
			jobstest.CheckFailure(t, err, tt.kind, tt.says)
		})
	}
}
