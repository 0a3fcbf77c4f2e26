package pack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/cassource"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

// tree makes a directory of name: content. A name that ends in / is a
// directory, a content that starts with -> a link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	grow(t, dir, files)
	return dir
}

func grow(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		target, isLink := strings.CutPrefix(files[name], "->")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case isLink:
			err = os.Symlink(target, p)
		default:
			err = os.WriteFile(p, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// packed packs dir and checks the report against the bytes.
func packed(t testing.TB, dir string, opts pack.Options) ([]byte, pack.Report, error) {
	t.Helper()
	var b bytes.Buffer
	report, err := pack.Write(t.Context(), &b, dir, opts)
	if want := (artifacts.Blob{Digest: artifactstest.Digest(b.Bytes()), Size: int64(b.Len())}); err == nil && report.Blob != want {
		t.Errorf("report says %+v of %+v", report.Blob, want)
	}
	return b.Bytes(), report, err
}

// fetched reads a packed context as the worker does, and what the daemon gets of it.
func fetched(t testing.TB, b []byte, dockerfile string) (*contexts.Fetched, []byte) {
	t.Helper()
	store := artifactstest.NewStore()
	blob, err := artifacts.NewBlobs(store, "").Write(t.Context(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := contexts.NewFetcher(contexts.Options{TempDir: t.TempDir()}, cassource.New(artifacts.NewBlobs(store, ""))).
		Fetch(t.Context(), jobs.Context{Ref: artifacts.Ref(blob.Digest)}, dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	stream, err := got.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	sent, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	return got, sent
}

func TestPackIgnores(t *testing.T) {
	t.Parallel()
	const from = "FROM scratch\n"
	files := map[string]string{
		"Dockerfile": from, "a.go": "", "b.txt": "", ".git/config": "", "src/a.go": "", "src/b.txt": "", "src/deep/c.txt": "", "src/deep/er/d.txt": "",
		"node_modules/x/index.js": "", "node_modules/keep.txt": "", "empty/": "",
	}
	const (
		git   = ".git/ .git/config "
		nodes = " node_modules/ node_modules/keep.txt node_modules/x/ node_modules/x/index.js"
		src   = " src/ src/a.go src/b.txt src/deep/ src/deep/c.txt src/deep/er/ src/deep/er/d.txt"
	)
	tests := []struct {
		name    string
		extra   map[string]string
		file    string // Dockerfile
		keepGit bool
		want    string
	}{
		{name: "none", want: "Dockerfile a.go b.txt empty/" + nodes + src},
		{name: "none, git kept", keepGit: true, want: git + "Dockerfile a.go b.txt empty/" + nodes + src},
		{name: "git kept by a pattern", extra: map[string]string{".dockerignore": "!.git\nsrc"}, want: ".dockerignore " + git + "Dockerfile a.go b.txt empty/" + nodes},
		{name: "directories", extra: map[string]string{".dockerignore": "# comment\n\n/node_modules\n.git/\nsrc/deep\n"}, want: ".dockerignore Dockerfile a.go b.txt empty/ src/ src/a.go src/b.txt"},
		{name: "top level only", extra: map[string]string{".dockerignore": "*.txt"}, want: ".dockerignore Dockerfile a.go empty/" + nodes + src},
		{name: "at any depth", extra: map[string]string{".dockerignore": "**/*.txt\n.git"}, want: ".dockerignore Dockerfile a.go empty/ node_modules/ node_modules/x/ node_modules/x/index.js src/ src/a.go src/deep/ src/deep/er/"},
		{name: "the ignore file itself", extra: map[string]string{".dockerignore": ".dockerignore\nsrc\nnode_modules"}, want: "Dockerfile a.go b.txt empty/"},
		{name: "the Dockerfile and the ignore file", extra: map[string]string{".dockerignore": "Dockerfile*\n.docker*\nsrc\nnode_modules"}, want: ".slipway-Dockerfile a.go b.txt empty/"},
		{name: "all but one", extra: map[string]string{".dockerignore": "*\n!src/a.go"}, want: ".slipway-Dockerfile src/ src/a.go"},
		{name: "all but a pattern", extra: map[string]string{".dockerignore": "**\n!**/d.txt"}, want: ".slipway-Dockerfile src/ src/deep/ src/deep/er/ src/deep/er/d.txt"},
		{name: "all but a directory, but part of it", extra: map[string]string{".dockerignore": "*\n!src\nsrc/deep\n!src/deep/er"}, want: ".slipway-Dockerfile src/ src/a.go src/b.txt src/deep/ src/deep/er/ src/deep/er/d.txt"},
		{name: "the last match decides", extra: map[string]string{".dockerignore": "*\n!a.go\na.*"}, want: ".slipway-Dockerfile"},
		{name: "everything", extra: map[string]string{".dockerignore": "**"}, want: ".slipway-Dockerfile"},
		{name: "byte order mark", extra: map[string]string{".dockerignore": "\ufeff*\n!a.go"}, want: ".slipway-Dockerfile a.go"},
		{name: "own ignore file wins", extra: map[string]string{".dockerignore": "a.go", "Dockerfile.dockerignore": "*"}, want: ".slipway-Dockerfile"},
		{name: "own empty ignore file wins", extra: map[string]string{".dockerignore": "*", "Dockerfile.dockerignore": ""}, want: ".dockerignore Dockerfile Dockerfile.dockerignore a.go b.txt empty/" + nodes + src},
		{name: "named Dockerfile below", file: "build/app.Dockerfile", extra: map[string]string{"build/app.Dockerfile": from, "build/other": "", "build/app.Dockerfile.dockerignore": "*\n!b.txt", ".dockerignore": "b.txt"}, want: ".slipway-app.Dockerfile b.txt"},
		{name: "Dockerfile as a link", file: "df", extra: map[string]string{"df": "->src/../src/real", "src/real": from, ".dockerignore": "*"}, want: ".slipway-df"},
		{name: "Dockerfile as a link to what is ignored", file: "df", extra: map[string]string{"df": "->src/real", "src/real": from, ".dockerignore": "**\n!df"}, want: ".slipway-df df"},
		{name: "Dockerfile as a link to what is sent", file: "df", extra: map[string]string{"df": "->src/real", "src/real": from, ".dockerignore": "**\n!df\n!src/real"}, want: "df src/ src/real"},
		{name: "Dockerfile behind a linked directory", file: "now/df", extra: map[string]string{"now": "->v2", "v2/df": from, ".dockerignore": "**\n!now\n!v2"}, want: "now v2/ v2/df"},
		{name: "Dockerfile behind a link that is ignored", file: "now/df", extra: map[string]string{"now": "->v2", "v2/df": from, ".dockerignore": "**\n!v2"}, want: ".slipway-df v2/ v2/df"},
		{name: "the ignore file as a link", extra: map[string]string{".dockerignore": "->conf/ignore", "conf/ignore": "*\n!conf"}, want: ".slipway-Dockerfile conf/ conf/ignore"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, files)
			grow(t, dir, tt.extra)
			b, report, err := packed(t, dir, pack.Options{Dockerfile: tt.file, KeepGit: tt.keepGit})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(tt.want), contextstest.Names(t, b)); diff != "" {
				t.Errorf("names differ (-want +got):\n%s", diff)
			}
			if got := report.GitLeftOut; got == strings.Contains(tt.want, git) {
				t.Errorf("GitLeftOut = %v", got)
			}
			// The worker finds the Dockerfile, and hides the one that is hidden.
			got, sent := fetched(t, b, report.Dockerfile.Name)
			if string(got.Dockerfile.Content) != from || report.Hidden != strings.Contains(tt.want, ".slipway-") {
				t.Errorf("Dockerfile %+v, hidden %v", got.Dockerfile, report.Hidden)
			}
			if len(sent) == 0 {
				t.Error("nothing is sent")
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	const from = "FROM scratch\n"
	ok := map[string]string{"Dockerfile": from, "src/": "", "z": ""}
	tests := []struct {
		name  string
		files map[string]string
		file  string
		do    func(t *testing.T, dir string)
		kind  jobs.Kind
		says  string
	}{
		{name: "no Dockerfile", files: map[string]string{"a": "", "src/x": ""}, kind: jobs.KindDockerfileMissing, says: `there is no "Dockerfile" in the context, which has "a", "src/"`},
		{name: "empty directory", kind: jobs.KindDockerfileMissing, says: "which is empty"},
		{name: "Dockerfile above", files: ok, file: "../Dockerfile", kind: jobs.KindDockerfileOutside, says: "outside the directory"},
		{name: "absolute Dockerfile", files: ok, file: "/etc/hostname", kind: jobs.KindDockerfileOutside, says: "outside the directory"},
		{name: "Dockerfile is the directory", files: ok, file: ".", kind: jobs.KindDockerfileOutside, says: "outside the directory"},
		{name: "Dockerfile is a directory", files: ok, file: "src", kind: jobs.KindDockerfileNotRegular, says: `the Dockerfile "src" is no regular file`},
		{name: "Dockerfile links out", files: map[string]string{"Dockerfile": "->/etc/hostname"}, kind: jobs.KindDockerfileOutside, says: "leads out of the context"},
		{name: "Dockerfile links to nothing", files: map[string]string{"Dockerfile": "->gone"}, kind: jobs.KindDockerfileMissing, says: `there is no "Dockerfile"`},
		{name: "Dockerfile is a FIFO", files: map[string]string{"a": ""}, do: fifo("Dockerfile"), kind: jobs.KindDockerfileNotRegular, says: "no regular file"},
		{name: "FIFO", files: ok, do: fifo("src/pipe"), kind: jobs.KindContextInvalid, says: `"src/pipe" is a FIFO`},
		{name: "bad pattern", files: map[string]string{"Dockerfile": from, ".dockerignore": "a[\n"}, kind: jobs.KindIgnoreFile, says: `.dockerignore has a pattern that cannot be used: "a[": syntax error in pattern`},
		{name: "NUL in a pattern", files: map[string]string{"Dockerfile": from, ".dockerignore": "a\x00b\n"}, kind: jobs.KindIgnoreFile, says: `a pattern with a NUL byte: "a\x00b"`},
		{name: "65 levels", files: map[string]string{"Dockerfile": from, strings.Repeat("d/", 64) + "x": ""}, kind: jobs.KindTooDeep, says: "levels deep; the limit is 64"},
		{name: "lone exclamation mark", files: map[string]string{"Dockerfile": from, ".dockerignore": "!\n"}, kind: jobs.KindIgnoreFile, says: `.dockerignore has a pattern that cannot be used: "!"`},
		{name: "a long line in the ignore file", files: map[string]string{"Dockerfile": from, ".dockerignore": "a\n\n" + strings.Repeat("x", 70_000) + "\nb\n"}, kind: jobs.KindIgnoreFile, says: "line 3 of .dockerignore is longer than 64KiB"},
		{name: "huge ignore file", files: map[string]string{"Dockerfile": from, ".dockerignore": strings.Repeat("xyz\n", 1<<19)}, kind: jobs.KindIgnoreFile, says: ".dockerignore is larger than 1MiB"},
		{name: "too many patterns", files: map[string]string{"Dockerfile": from, ".dockerignore": strings.Repeat("x\n", 10_001)}, kind: jobs.KindIgnoreFile, says: ".dockerignore has 10001 patterns; the limit is 10000"},
		{name: "name of the farm's own", files: map[string]string{"Dockerfile": from, ".dockerignore": "Dockerfile", ".slipway-Dockerfile": ""}, kind: jobs.KindContextInvalid, says: `".slipway-Dockerfile" has a name that the farm needs`},
		{name: "ignore file is a directory", files: map[string]string{"Dockerfile": from, ".dockerignore/": ""}, kind: jobs.KindIgnoreFile, says: ".dockerignore cannot be used: no regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, tt.files)
			if tt.do != nil {
				tt.do(t, dir)
			}
			_, _, err := packed(t, dir, pack.Options{Dockerfile: tt.file})
			jobstest.CheckFailure(t, err, tt.kind, tt.says)
		})
	}
	t.Run("no directory", func(t *testing.T) {
		t.Parallel()
		_, _, err := packed(t, filepath.Join(t.TempDir(), "gone"), pack.Options{})
		jobstest.CheckFailure(t, err, jobs.KindContextNotFound, "no such file or directory")
	})
}

func fifo(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPackEntries(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("d", 90) + "/" + strings.Repeat("e", 90) + "/" + strings.Repeat("f", 90) + "/" + strings.Repeat("g", 120)
	dir := tree(t, map[string]string{
		"Dockerfile": "FROM scratch\n", "suid": "x", "dir/": "", "link": "->/etc/passwd", "dangling": "->../../gone", "dirlink": "->dir",
		"odd\n\x1b[31m\xff": "bytes", "é": "", long: "deep", "dir/private": "", "a-b": "", "a/b": "",
	})
	for name, mode := range map[string]os.FileMode{"suid": 0o755 | os.ModeSetuid | os.ModeSetgid, "dir": 0o777 | os.ModeSticky, "dir/private": 0o600} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "suid"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	b, report, err := packed(t, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Type byte
		Mode int64
		Size int64
		Link string
	}
	got := make(map[string]entry)
	for _, hdr := range contextstest.Headers(t, b) {
		got[hdr.Name] = entry{hdr.Typeflag, hdr.Mode, hdr.Size, hdr.Linkname}
		if hdr.Uid != 0 || hdr.Gid != 0 || hdr.Uname != "" || hdr.Gname != "" {
			t.Errorf("%q: owner %d %q, group %d %q, want none", hdr.Name, hdr.Uid, hdr.Uname, hdr.Gid, hdr.Gname)
		}
		if want := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC); !hdr.ModTime.Equal(want) {
			t.Errorf("%q: time %v, want %v", hdr.Name, hdr.ModTime, want)
		}
		if plain := strings.IndexFunc(hdr.Name, func(r rune) bool { return r > 126 }) < 0 && len(hdr.Name) < 200; plain != (len(hdr.PAXRecords) == 0) {
			t.Errorf("%q: PAX records %q", hdr.Name, hdr.PAXRecords)
		}
	}
	maps.DeleteFunc(got, func(n string, _ entry) bool { return strings.HasPrefix(n, "ddd") && !strings.HasSuffix(n, "g") })
	want := map[string]entry{
		"Dockerfile": {tar.TypeReg, 0o644, 13, ""}, "suid": {tar.TypeReg, 0o755, 1, ""}, "hard": {tar.TypeReg, 0o755, 1, ""},
		"dir/": {tar.TypeDir, 0o777, 0, ""}, "dir/private": {tar.TypeReg, 0o600, 0, ""}, "link": {tar.TypeSymlink, 0o777, 0, "/etc/passwd"},
		"dangling": {tar.TypeSymlink, 0o777, 0, "../../gone"}, "dirlink": {tar.TypeSymlink, 0o777, 0, "dir"},
		"odd\n\x1b[31m\xff": {tar.TypeReg, 0o644, 5, ""}, "é": {tar.TypeReg, 0o644, 0, ""}, long: {tar.TypeReg, 0o644, 4, ""},
		"a-b": {tar.TypeReg, 0o644, 0, ""}, "a/": {tar.TypeDir, 0o755, 0, ""}, "a/b": {tar.TypeReg, 0o644, 0, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries differ (-want +got):\n%s", diff)
	}
	if report.Files != 9 || report.Bytes != 24 || !slices.Equal(report.Sockets, []string{"s"}) || report.Dockerfile.Name != "Dockerfile" {
		t.Errorf("report = %+v", report)
	}
	// What is packed is what the worker takes.
	if got, _ := fetched(t, b, report.Dockerfile.Name); got.Blob != report.Blob {
		t.Errorf("the worker reads %+v, packed was %+v", got.Blob, report.Blob)
	}
}

func TestPackLowerCaseDockerfile(t *testing.T) {
	t.Parallel()
	for ignore, want := range map[string]string{"x": "dockerfile", "*": ".slipway-dockerfile"} {
		_, report, err := packed(t, tree(t, map[string]string{"dockerfile": "FROM scratch\n", ".dockerignore": ignore}), pack.Options{})
		if err != nil || report.Dockerfile.Name != want || string(report.Dockerfile.Content) != "FROM scratch\n" || report.Hidden != (ignore == "*") {
			t.Errorf("ignoring %s: got %+v, %v, want %s", ignore, report, err, want)
		}
	}
}

// A Dockerfile that no file has is packed as one that is ignored: COPY sees the file of
// that name, if there is one, and only .dockerignore counts.
func TestPackInline(t *testing.T) {
	t.Parallel()
	inline := pack.Options{Inline: []byte("FROM scratch\nCOPY . /\n")}
	dir := tree(t, map[string]string{"Dockerfile": "FROM other\n", "Dockerfile.dockerignore": "*", ".dockerignore": "b", "a": "", "b": ""})
	b, report, err := packed(t, dir, inline)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".slipway-Dockerfile", ".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a"}
	if diff := cmp.Diff(want, contextstest.Names(t, b)); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
	if got, _ := fetched(t, b, report.Dockerfile.Name); !report.Hidden || string(got.Dockerfile.Content) != string(inline.Inline) {
		t.Errorf("report = %+v; the worker finds %+v", report, got.Dockerfile)
	}
	if _, _, err := packed(t, t.TempDir(), inline); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	inline.Inline = make([]byte, contexts.MaxDockerfile+1)
	if f, ok := errors.AsType[*jobs.Failure](second(packed(t, dir, inline))); !ok || f.Kind != jobs.KindDockerfileInvalid {
		t.Errorf("too large: got %v", f)
	}
}

// A directory beside the context has a path of its own, and its own ignore file.
func TestPackBeside(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", ".dockerignore": "x\n", "x": "", "b": ""})
	other := tree(t, map[string]string{"a/x": "", "y": "", ".dockerignore": "y\n"})
	opts := pack.Options{Beside: []pack.Beside{{Name: "other", Dir: other, Path: ".slipway-context-0"}, {Name: "none", Dir: t.TempDir(), Path: ".slipway-context-1"}}}
	b, report, err := packed(t, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		".dockerignore", "Dockerfile", "b",
		".slipway-context-0/", ".slipway-context-0/.dockerignore", ".slipway-context-0/a/", ".slipway-context-0/a/x", ".slipway-context-1/",
	}
	if diff := cmp.Diff(want, contextstest.Names(t, b)); diff != "" {
		t.Errorf("names differ (-want +got):\n%s", diff)
	}
	if report.Ignored != 2 || report.Files != 5 {
		t.Errorf("%d files, %d left out; want 5 and 2", report.Files, report.Ignored)
	}
	if again, _, err := packed(t, dir, opts); err != nil || !bytes.Equal(again, b) {
		t.Errorf("it is another one the second time, or %v", err)
	}
	grow(t, dir, map[string]string{".slipway-context-0/x": ""})
	if f, ok := errors.AsType[*jobs.Failure](second(packed(t, dir, opts))); !ok || f.Kind != jobs.KindContextInvalid || !strings.Contains(f.Message, ".slipway-context-0") {
		t.Errorf("a name that is taken: got %v", f)
	}
	opts.Beside = []pack.Beside{{Name: "other", Dir: filepath.Join(dir, "nowhere"), Path: ".slipway-context-2"}}
	if f, ok := errors.AsType[*jobs.Failure](second(packed(t, dir, opts))); !ok || !strings.Contains(f.Message, `"other"`) || !strings.Contains(f.Message, "nowhere") {
		t.Errorf("a directory that is not there: got %v", f)
	}
}

// Directories that Look says are the same tar with another Dockerfile are.
func TestLook(t *testing.T) {
	t.Parallel()
	const from = "FROM scratch\n"
	dir := tree(t, map[string]string{
		"Dockerfile": from, "a.Dockerfile": "FROM a\n", "b.Dockerfile": from, "b.Dockerfile.dockerignore": "x", "c/Dockerfile": from, "x": "",
		".dockerignore": "c", "link": "->a.Dockerfile",
	})
	plain := map[string]string{}
	for name, want := range map[string]bool{
		"": true, "./Dockerfile": true, "a.Dockerfile": true, "link": true, "b.Dockerfile": false, "c/Dockerfile": false,
	} {
		d, got, err := pack.Look(dir, name)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", name, got, err, want)
		}
		_, report, err := packed(t, dir, pack.Options{Dockerfile: name})
		if err != nil || string(report.Dockerfile.Content) != string(d.Content) || want && report.Dockerfile.Name != d.Name {
			t.Errorf("%q: Look has %+v, packed was %+v, %v", name, d, report.Dockerfile, err)
		}
		if want {
			plain[report.Digest] = name
		}
	}
	if len(plain) != 1 {
		t.Errorf("the same directory has the digests %v", plain)
	}
	if _, _, err := pack.Look(dir, "none"); err == nil {
		t.Error("a Dockerfile is found that is not there")
	}
	if _, _, err := pack.Look(filepath.Join(dir, "x"), ""); err == nil {
		t.Error("a file is taken for a directory")
	}
}

// second leaves out all but the error.
func second(_ []byte, _ pack.Report, err error) error { return err }

// TestPackIsDeterministic makes the same tree in other orders, at other times
// and under another umask.
func TestPackIsDeterministic(t *testing.T) {
	files := map[string]string{"Dockerfile": "FROM scratch\n", "a/b/c": "1", "a/z": "2", "a.b": "3", "é/ü": "4", "link": "->a/z", "empty/": ""}
	for i := range 40 {
		files[fmt.Sprintf("many/%02d", i)] = fmt.Sprint(i)
	}
	dir := tree(t, files)
	_, want, err := packed(t, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The digest is part of the contract between versions: a change makes
	// every context that is stored be sent again. What is remembered of directories is
	// wrong then, too: cacheFormat changes with it.
	const golden = "sha256:5b86d980dbd432953cc2ed85f8024005dd2bc15782eabe0bb3e9fe5dadc2d599"
	if want.Digest != golden {
		t.Errorf("digest = %s, want %s", want.Digest, golden)
	}

	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	again := t.TempDir()
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(files))) {
		grow(t, again, map[string]string{name: files[name]})
	}
	then := time.Unix(1e9, 5)
	if err := os.Chtimes(filepath.Join(again, "Dockerfile"), then, then); err != nil {
		t.Fatal(err)
	}
	if _, got, err := packed(t, again, pack.Options{Modes: pack.ModesGit}); err != nil || got.Digest != want.Digest {
		t.Errorf("umask 077, git modes: %s, %v, want %s", got.Digest, err, want.Digest)
	}
	if _, got, err := packed(t, dir, pack.Options{}); err != nil || got.Digest != want.Digest {
		t.Errorf("packed again under another umask: %s, %v, want %s", got.Digest, err, want.Digest)
	}
	if err := os.Chmod(filepath.Join(dir, "a/z"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, got, err := packed(t, dir, pack.Options{Modes: pack.ModesGit}); err != nil || got.Digest == want.Digest {
		t.Errorf("an executable file does not count: %v", err)
	}
}

// TestPackUnreadable: one file or one directory may not be read. Root may read
// everything, so that the test runs itself again as another user.
func TestPackUnreadable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	for _, tt := range []struct {
		name, closed, ignore, says string
	}{
		{"file", "src/secret", "", `"src/secret" cannot be read: permission denied`},
		{"directory", "src", "", `"src" cannot be read: permission denied`},
		{"ignore file", ".dockerignore", "", ".dockerignore cannot be used: permission denied"},
		{"Dockerfile", "Dockerfile", "", `the Dockerfile "Dockerfile" cannot be used: permission denied`},
		{"ignored directory", "src", "src\n!src/secret", ""},
		{"ignored file", "src/secret", "src/secret", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", "src/secret": "x", ".dockerignore": tt.ignore})
			closed := filepath.Join(dir, tt.closed)
			if err := os.Chmod(closed, 0); err != nil {
				t.Fatal(err)
			}
			_, _, err := packed(t, dir, pack.Options{})
			if err := os.Chmod(closed, 0o700); err != nil { // for the clean-up
				t.Fatal(err)
			}
			if tt.says == "" {
				if err != nil {
					t.Errorf("got %v, want nil", err)
				}
				return
			}
			if kind := jobs.AsFailure(err).Kind; kind != jobs.KindContextInvalid && kind != jobs.KindDockerfileMissing && kind != jobs.KindIgnoreFile {
				t.Fatalf("got %v", err)
			}
			jobstest.CheckFailure(t, err, jobs.AsFailure(err).Kind, tt.says)
		})
	}
}

// asNobody runs this test again with no rights of root.
func asNobody(t *testing.T) {
	program := filepath.Join(t.TempDir(), "test")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(program), filepath.Dir(filepath.Dir(program))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=/", "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+"/file")) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// TestPackChanges writes into a file while it is packed.
func TestPackChanges(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	for name, change := range map[string]func(p string) error{
		"shrinks":    func(p string) error { return os.Truncate(p, size/2) },
		"grows":      func(p string) error { return os.Truncate(p, size+1) },
		"is touched": func(p string) error { return os.Chtimes(p, time.Now(), time.Now().Add(time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n", "big": strings.Repeat("x", size)})
			once := false
			_, err := pack.Write(t.Context(), writing(func(p []byte) (int, error) {
				if !once {
					once = true
					if err := change(filepath.Join(dir, "big")); err != nil {
						t.Error(err)
					}
				}
				return len(p), nil
			}), dir, pack.Options{})
			jobstest.CheckFailure(t, err, jobs.KindContextInvalid, `"big" changed while it was packed`)
		})
	}
}

type writing func([]byte) (int, error)

func (f writing) Write(p []byte) (int, error) { return f(p) }

func TestPackStops(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pack.Write(ctx, io.Discard, dir, pack.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
	full := errors.New("disk full")
	if _, err := pack.Write(t.Context(), writing(func([]byte) (int, error) { return 0, full }), dir, pack.Options{}); !errors.Is(err, full) {
		t.Errorf("failing writer: %v, want %v", err, full)
	}
}
