package pack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

// desk is a directory, a store, and what is remembered.
type desk struct {
	testing.TB
	dir   string
	store *artifactstest.Store
	opts  pack.UploadOptions
}

func newDesk(t testing.TB, files map[string]string) *desk {
	t.Helper()
	if files["Dockerfile"] == "" {
		files["Dockerfile"] = "FROM scratch\n"
	}
	return &desk{TB: t, dir: tree(t, files), store: artifactstest.NewStore(), opts: pack.UploadOptions{CacheDir: t.TempDir(), TempDir: t.TempDir()}}
}

func (d *desk) blobs() *artifacts.Blobs { return artifacts.NewBlobs(d.store, d.opts.TempDir) }

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) write(name, content string) {
	d.Helper()
	d.must(os.WriteFile(d.path(name), []byte(content), 0o644))
}

func (d *desk) settled() pack.Uploaded {
	d.Helper()
	up, err := pack.UploadSettled(d.Context(), d.blobs(), d.dir, d.opts)
	d.must(err)
	return up
}

// upload also makes sure that the digest is that of the tree as it is now.
func (d *desk) upload(unchanged bool, warnings ...string) pack.Uploaded {
	d.Helper()
	up, err := pack.Upload(d.Context(), d.blobs(), d.dir, d.opts)
	d.must(err)
	opts := d.opts.Pack
	opts.Check = nil
	want, err := pack.Write(d.Context(), io.Discard, d.dir, opts)
	d.must(err)
	if up.Context.Digest != want.Digest || up.Context.Size != want.Size {
		d.Errorf("uploaded %+v, want %+v", up.Context, want.Blob)
	}
	if diff := cmp.Diff(want, up.Report); diff != "" {
		d.Errorf("report (-want +got):\n%s", diff)
	}
	if up.Unchanged != unchanged {
		d.Errorf("unchanged is %t, want %t", up.Unchanged, unchanged)
	}
	if len(up.Warnings) != len(warnings) {
		d.Errorf("warnings are %q, want %d", up.Warnings, len(warnings))
		return up
	}
	for i, want := range warnings {
		if !strings.Contains(up.Warnings[i], want) {
			d.Errorf("warns %q, want one of %q", up.Warnings[i], want)
		}
	}
	return up
}

// backdate gives a file its times back, as touch -r does. The system notes that.
func (d *desk) backdate(name string, do func()) {
	d.Helper()
	info, err := os.Stat(d.path(name))
	d.must(err)
	do()
	d.must(os.Chtimes(d.path(name), info.ModTime(), info.ModTime()))
}

// A directory that has not changed is not packed again; one that has, in whatever way, is.
func TestRemembered(t *testing.T) {
	t.Parallel()
	chmod := func(name string, mode fs.FileMode) func(*desk) {
		return func(d *desk) { d.must(os.Chmod(d.path(name), mode)) }
	}
	rename := func(from, to string) func(*desk) {
		return func(d *desk) { d.must(os.Rename(d.path(from), d.path(to))) }
	}
	remove := func(name string) func(*desk) { return func(d *desk) { d.must(os.Remove(d.path(name))) } }
	write := func(name, content string) func(*desk) { return func(d *desk) { d.write(name, content) } }
	other := func(name, content string, change func(*pack.UploadOptions)) func(*desk) {
		return func(d *desk) {
			d.write(name, content)
			change(&d.opts)
		}
	}
	for name, tt := range map[string]struct {
		files     map[string]string
		opts      pack.Options
		before    func(*desk)
		change    func(*desk)
		unchanged bool
	}{
		"nothing":                        {change: func(*desk) {}, unchanged: true},
		"size":                           {change: write("a", "longer")},
		"content of the same size":       {change: write("a", "B")},
		"content, with its time back":    {change: func(d *desk) { d.backdate("a", func() { d.write("a", "B") }) }},
		"replaced, with its time back":   {change: func(d *desk) { d.backdate("a", func() { remove("a")(d); d.write("a", "B") }) }},
		"time only":                      {change: func(d *desk) { d.must(os.Chtimes(d.path("a"), time.Now(), time.Now())) }},
		"time of the change only":        {change: func(d *desk) { d.backdate("a", func() {}) }},
		"below":                          {change: write("dir/b", "B")},
		"file added":                     {change: write("c", "c")},
		"file added below":               {change: write("dir/c", "c")},
		"file removed":                   {change: remove("a")},
		"last file removed":              {change: remove("z")},
		"file renamed":                   {change: rename("a", "aa")},
		"directory added":                {change: func(d *desk) { d.must(os.Mkdir(d.path("new"), 0o755)) }},
		"directory renamed":              {change: rename("dir", "dis")},
		"two of a size change places":    {change: func(d *desk) { rename("a", "tmp")(d); rename("z", "a")(d); rename("tmp", "z")(d) }},
		"mode, kept":                     {opts: pack.Options{Modes: pack.ModesKeep}, change: chmod("a", 0o600)},
		"mode of a directory, kept":      {opts: pack.Options{Modes: pack.ModesKeep}, change: chmod("dir", 0o700)},
		"executable":                     {opts: pack.Options{Modes: pack.ModesGit}, change: chmod("a", 0o755)},
		"mode that git does not know":    {opts: pack.Options{Modes: pack.ModesGit}, change: chmod("a", 0o600)},
		"mode of a directory, to git":    {opts: pack.Options{Modes: pack.ModesGit}, change: chmod("dir", 0o700), unchanged: true},
		"link":                           {change: func(d *desk) { remove("link")(d); d.must(os.Symlink("z", d.path("link"))) }},
		"same link":                      {change: func(d *desk) { remove("link")(d); d.must(os.Symlink("a", d.path("link"))) }, unchanged: true},
		"link to a file":                 {change: func(d *desk) { remove("link")(d); d.write("link", "A") }},
		"file to a directory":            {change: func(d *desk) { remove("a")(d); d.must(os.Mkdir(d.path("a"), 0o755)) }},
		"ignore file":                    {files: map[string]string{".dockerignore": "zz\n"}, change: write(".dockerignore", "z\n\n")},
		"ignore file, which is ignored":  {files: map[string]string{".dockerignore": ".*\nzz\n"}, change: write(".dockerignore", ".*\nz\n\n")},
		"ignore file added":              {change: write(".dockerignore", "z")},
		"own ignore file added":          {files: map[string]string{".dockerignore": "**/*.dockerignore"}, change: write("Dockerfile.dockerignore", "**/*.dockerignore\nz\n")},
		"ignored file added":             {files: map[string]string{".dockerignore": "**/*.log"}, change: write("dir/x.log", "x"), unchanged: true},
		"socket added":                   {change: socket("s"), unchanged: true},
		"Dockerfile":                     {change: write("Dockerfile", "FROM scratch AS a\n")},
		"Dockerfile of the same size":    {change: func(d *desk) { d.backdate("Dockerfile", func() { d.write("Dockerfile", "FROM scratcH\n") }) }},
		"ignored Dockerfile":             {files: map[string]string{".dockerignore": "Dockerfile"}, change: write("Dockerfile", "FROM scratcH\n")},
		"ignored Dockerfile is sent":     {files: map[string]string{".dockerignore": ".*\nDockerfile"}, change: write(".dockerignore", ".*\n")},
		"Dockerfile by its other name":   {files: map[string]string{"dockerfile": "FROM scratch\n"}, change: remove("Dockerfile")},
		"other Dockerfile":               {change: other("other", "FROM scratch\n", func(o *pack.UploadOptions) { o.Pack.Dockerfile = "other" })},
		"Dockerfile without a file":      {change: func(d *desk) { d.opts.Pack.Inline = []byte("FROM scratch\n") }},
		"empty Dockerfile without file":  {opts: pack.Options{Inline: []byte("FROM a\n")}, change: func(d *desk) { d.opts.Pack.Inline = []byte{} }},
		"another one without a file":     {opts: pack.Options{Inline: []byte("FROM a\n")}, change: func(d *desk) { d.opts.Pack.Inline = []byte("FROM b\n") }},
		"same one without a file":        {opts: pack.Options{Inline: []byte("FROM a\n")}, change: func(*desk) {}, unchanged: true},
		"modes as they are":              {opts: pack.Options{Modes: pack.ModesGit}, change: func(d *desk) { d.opts.Pack.Modes = pack.ModesKeep }},
		"git sent":                       {files: map[string]string{".git/HEAD": "x"}, change: func(d *desk) { d.opts.Pack.KeepGit = true }},
		"git not looked at":              {files: map[string]string{".git/HEAD": "x"}, change: write(".git/HEAD", "y"), unchanged: true},
		"a checkout from now on":         {change: func(d *desk) { chmod("dir", 0o700)(d); d.must(os.Mkdir(d.path(".git"), 0o755)) }, unchanged: true},
		"a checkout with other modes":    {before: chmod("dir", 0o700), change: func(d *desk) { d.must(os.Mkdir(d.path(".git"), 0o755)) }},
		"limits":                         {change: func(d *desk) { d.opts.Limits = contexts.NoLimits() }},
		"beside":                         {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(*desk) {}, unchanged: true},
		"file beside":                    {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { grow(d, d.opts.Pack.Beside[0].Dir, map[string]string{"b": "B"}) }},
		"ignore file beside":             {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { grow(d, d.opts.Pack.Beside[0].Dir, map[string]string{".dockerignore": "*"}) }},
		"mode of the directory beside":   {opts: pack.Options{Modes: pack.ModesKeep, Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { d.must(os.Chmod(d.opts.Pack.Beside[0].Dir, 0o700)) }},
		"nothing beside":                 {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { d.opts.Pack.Beside = nil }},
		"another directory beside":       {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { d.opts.Pack.Beside[0].Dir = tree(d, map[string]string{"b": "B"}) }},
		"another name of what is beside": {opts: pack.Options{Beside: []pack.Beside{{Name: "x", Path: ".slipway-context-0"}}}, change: func(d *desk) { d.opts.Pack.Beside[0].Path = ".slipway-context-1" }},
		"moved":                          {change: func(d *desk) { to := filepath.Join(d.TempDir(), "to"); d.must(os.Rename(d.dir, to)); d.dir = to }},
		"moved and back": {change: func(d *desk) {
			to := filepath.Join(d.TempDir(), "to")
			d.must(os.Rename(d.dir, to))
			d.must(os.Rename(to, d.dir))
		}, unchanged: true},
		"by another path": {change: func(d *desk) { d.dir = link(d, d.dir) }, unchanged: true},
		"another tree in its place": {change: func(d *desk) {
			d.must(os.Rename(d.dir, d.dir+"-was"))
			grow(d, d.dir, map[string]string{"Dockerfile": "FROM scratch\n", "a": "A", "z": "Z", "dir/b": "b", "link": "->a"})
		}},
		"one that the same file is for": {change: func(d *desk) { exchange(d, tree(d, map[string]string{"Dockerfile": "FROM scratch\n", "a": "A"})) }},
	} {
		for _, settled := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, settled %t", name, settled), func(t *testing.T) {
				t.Parallel()
				files := map[string]string{"a": "A", "z": "Z", "dir/b": "b", "link": "->a"}
				for name, content := range tt.files {
					files[name] = content
				}
				d := newDesk(t, files)
				d.opts.Pack = tt.opts
				d.opts.Pack.Beside = append([]pack.Beside{}, tt.opts.Beside...)
				for i := range d.opts.Pack.Beside {
					d.opts.Pack.Beside[i].Dir = tree(t, map[string]string{"b": "b"})
				}
				if tt.before != nil {
					tt.before(d)
				}
				if settled {
					d.settled()
				} else {
					d.upload(false)
				}
				tt.change(d)
				// Of what has just changed only the content counts.
				d.upload(tt.unchanged)
				d.upload(true)
			})
		}
	}
}

// link is another path to a directory.
func link(d *desk, dir string) string {
	to := filepath.Join(d.TempDir(), "link")
	d.must(os.Symlink(dir, to))
	return to
}

func socket(name string) func(*desk) {
	return func(d *desk) {
		// A path of a socket has 108 bytes at most.
		dir, err := os.MkdirTemp("", "s")
		d.must(err)
		d.Cleanup(func() { _ = os.RemoveAll(dir) })
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		d.must(err)
		d.Cleanup(func() { _ = l.Close() })
		d.must(os.Rename(filepath.Join(dir, "s"), d.path(name)))
	}
}

// exchange puts the file about one directory in the place of that about another, which is
// packed from then on.
func exchange(d *desk, dir string) {
	d.Helper()
	raw, err := os.ReadFile(pack.CacheFile(d.dir, d.opts))
	d.must(err)
	d.dir = dir
	d.must(os.WriteFile(pack.CacheFile(d.dir, d.opts), raw, 0o600))
}

// A file that changes in the moment in which it was packed may keep all its times. Its content
// is looked at.
func TestRecentlyChanged(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "0"})
	d.upload(false)
	for i := range 30 {
		d.backdate("a", func() { d.write("a", fmt.Sprint(1+i%9)) })
		if i%2 == 0 { // not even the system knows
			d.must(pack.Deceive(t.Context(), d.dir, d.opts))
		}
		d.upload(false)
	}
	d.upload(true)
}

// Where so much has just changed that looking at it is no better than packing, nothing is
// remembered.
func TestMuchRecentlyChanged(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"large": ""})
	d.must(os.Truncate(d.path("large"), pack.RecentBytes+1))
	d.upload(false)
	d.upload(false)
	d.settled()
	d.upload(true)
}

// A change that the system does not tell of is found by a sample, and told.
func TestDeceived(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*desk){
		"small": func(d *desk) { d.write("dir/b", "B") },
		"large": func(d *desk) {
			f, err := os.OpenFile(d.path("large"), os.O_WRONLY, 0)
			d.must(err)
			_, err = f.Write(bytes.Repeat([]byte("x"), 3<<20))
			d.must(errors.Join(err, f.Close()))
		},
		"beside": func(d *desk) { grow(d, d.opts.Pack.Beside[0].Dir, map[string]string{"b": "B"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, map[string]string{"dir/b": "b", "large": strings.Repeat("y", 3<<20)})
			d.opts.Pack.Beside = []pack.Beside{{Name: "x", Dir: tree(t, map[string]string{"b": "b"}), Path: ".slipway-context-0"}}
			d.settled()
			change(d)
			d.must(pack.Deceive(t.Context(), d.dir, d.opts))
			d.upload(false, "its content has changed, and its size and times have not")
			d.upload(true)
		})
	}
}

// What has proved wrong is gone before anything else can fail.
func TestDeceivedAndAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	d.settled()
	d.write("a", "B")
	d.must(pack.Deceive(t.Context(), d.dir, d.opts))
	away := artifacts.NewBlobs(broken{put: errors.New("away")}, "")
	_, err := pack.Upload(t.Context(), away, d.dir, d.opts)
	jobstest.CheckFailure(t, err, jobs.KindStore, "could not be used for the context")
	d.remembers(0)
}

// A directory that is packed in several ways is remembered in each of them.
func TestRememberedInEachWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A", ".git/HEAD": "x", "other": "FROM scratch\n"})
	beside := pack.Beside{Name: "x", Dir: tree(t, map[string]string{"b": "b"}), Path: ".slipway-context-0"}
	ways := []pack.Options{
		{},
		{Dockerfile: "other"},
		{Inline: []byte("FROM a\n")},
		{Inline: []byte("FROM b\n")},
		{Modes: pack.ModesKeep},
		{Modes: pack.ModesGit},
		{KeepGit: true},
		{Beside: []pack.Beside{beside}},
	}
	for i := range 2 {
		for _, d.opts.Pack = range ways {
			d.upload(i > 0)
		}
	}
	d.remembers(len(ways))
	d.opts.Pack = pack.Options{Dockerfile: "./Dockerfile"} // the same
	d.upload(true)
}

// A blob that the store has lost is packed and stored again, and what is remembered is
// compared with it.
func TestStoreLostContext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	up := d.settled()
	d.upload(true)
	d.must(d.store.Delete(t.Context(), up.Context.Digest))
	if again := d.upload(false); again.Existed || d.store.Puts() != 2 {
		t.Errorf("existed is %t after %d puts; want it stored twice", again.Existed, d.store.Puts())
	}

	// No sample looks at the name of a Dockerfile, and the store has no such blob.
	d = newDesk(t, map[string]string{".dockerignore": "Dockerfile"})
	up = d.settled()
	d.write("Dockerfile", "FROM scratcH\n")
	d.must(pack.Deceive(t.Context(), d.dir, d.opts))
	d.must(d.store.Delete(t.Context(), up.Context.Digest))
	d.upload(false, "what was remembered of the directory is wrong")
	d.upload(true)
}

func TestStoreAwayWhenUnchanged(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	d.settled()
	away := artifacts.NewBlobs(broken{stat: errors.New("away")}, "")
	_, err := pack.Upload(t.Context(), away, d.dir, d.opts)
	jobstest.CheckFailure(t, err, jobs.KindStore, "could not be used for the context")
}

// A directory that cannot be remembered is packed all the same, and a sentence says so.
func TestCannotRemember(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*desk){
		"a file in its place":      func(d *desk) { d.opts.CacheDir = d.path("a") },
		"a directory in its place": func(d *desk) { d.must(os.MkdirAll(pack.CacheFile(d.dir, d.opts), 0o700)) },
		"no permission":            func(d *desk) { d.opts.CacheDir = "/proc/self" },
		"in what is packed":        func(d *desk) { d.opts.CacheDir = filepath.Join(link(d, d.dir), "new", "cache") },
		"in what is packed beside": func(d *desk) {
			d.opts.CacheDir = d.TempDir()
			d.opts.Pack.Beside = []pack.Beside{{Name: "x", Dir: d.opts.CacheDir, Path: ".slipway-context-0"}}
		},
		"others can write":            func(d *desk) { d.settled(); d.must(os.Chmod(filepath.Join(d.opts.CacheDir, "packs"), 0o777)) },
		"a link that leads to itself": func(d *desk) { d.must(os.Symlink("packs", filepath.Join(d.opts.CacheDir, "packs"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, map[string]string{"a": "A"})
			spoil(d)
			for range 2 {
				d.upload(false, "the directory is not remembered for the next time (--no-cache-dir does without): ")
			}
		})
	}
	d := newDesk(t, map[string]string{"a": "A"})
	if up, err := pack.UploadDiskFull(t.Context(), d.blobs(), d.dir, d.opts); err == nil || up.Context.Digest == "" {
		t.Errorf("on a full disk: %+v, %v; want it packed, and an error of what is remembered", up, err)
	}
	d.remembers(0)
	d.upload(false)
	d.upload(true)
	d.opts.CacheDir = "" // nothing is to be remembered
	d.upload(false)
	d.upload(false)
}

// remembers checks how many files there are.
func (d *desk) remembers(want int) {
	d.Helper()
	left, err := os.ReadDir(filepath.Join(d.opts.CacheDir, "packs"))
	if err != nil || len(left) != want {
		d.Errorf("there are %v, %v; want %d files", left, err, want)
	}
	for _, e := range left {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			d.Errorf("mode %v, %v; want it readable for its owner only", info.Mode(), err)
		}
	}
}

// Several submits of a directory at once do each other no harm.
func TestRememberedAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A", "dir/b": "b"})
	d.settled()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 5 {
				if _, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts); err != nil {
					t.Error(err)
				}
				if i == 0 { // so that the others pack
					_ = os.Remove(pack.CacheFile(d.dir, d.opts))
				}
			}
		})
	}
	all.Wait()
	if _, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts); err != nil {
		t.Error(err)
	}
	d.upload(true)
	d.remembers(1)
}

// The Dockerfile is judged once each time, and a refusal is one whatever is remembered.
func TestRememberedIsJudged(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	d.settled()
	judged, refusal := 0, error(nil)
	d.opts.Pack.Check = func(dockerfile.File) error { judged++; return refusal }
	d.upload(true)
	d.write("a", "B")
	d.upload(false)
	if judged != 2 {
		t.Errorf("judged %d times by two submits", judged)
	}
	refusal = jobs.Fail(jobs.KindDockerfileInvalid, nil, "yes", "no")
	_, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts)
	jobstest.CheckFailure(t, err, jobs.KindDockerfileInvalid, "no")
	if judged != 3 {
		t.Errorf("judged %d times by three submits", judged)
	}
}

// What is wrong with a directory is found whatever is remembered of it.
func TestRememberedRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	d.opts.Limits = contexts.NoLimits()
	d.settled()
	d.opts.Limits = contexts.Limits{Entries: 1}
	_, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts)
	jobstest.CheckFailure(t, err, jobs.KindTooManyEntries, "more than 1")
	d.opts.Limits = contexts.NoLimits()
	d.must(syscall.Mkfifo(d.path("fifo"), 0o600))
	_, err = pack.Upload(t.Context(), d.blobs(), d.dir, d.opts)
	jobstest.CheckFailure(t, err, jobs.KindContextInvalid, "is a FIFO")
	d.remembers(1)
	d.must(os.Remove(d.path("fifo")))
	d.upload(true)
}
