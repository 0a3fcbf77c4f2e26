package importtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list` says about a package.
type pkg struct {
	ImportPath, Dir                                    string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
	Imports, Deps                                      []string
}

func (p pkg) files() []string {
	return slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles)
}

// load lists every package of the module with the tests for real daemons.
func load(t *testing.T, root string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "integration",
		"-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles,Imports,Deps", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

// look reads the folders below dir. What `go list` reads does not count when
// `go test` decides whether a result is still good; what the test reads does,
// so that a new folder is not overlooked.
func look(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err })
	if err != nil {
		t.Fatal(err)
	}
}

func TestProject(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"cmd", "internal", "client", "examples"} {
		look(t, filepath.Join(root, dir))
	}
	pkgs := load(t, root)
	if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.ImportPath == module+"/internal/jobs" }) {
		t.Fatalf("go list found %d packages and not internal/jobs", len(pkgs))
	}
	report := func(found []string) {
		for _, f := range found {
			t.Error(f)
		}
	}
	for _, p := range pkgs {
		report(checkImports(p))
		var files []source
		for _, name := range p.files() {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			below, err := filepath.Rel(root, filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			s, found := readSource(below, text)
			report(found)
			files = append(files, s)
		}
		report(checkPackage(p, files))
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	report(checkGoMod(string(gomod)))
}

// wantFound fails unless there is one finding that says so; "" wants none.
func wantFound(t *testing.T, name string, found []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("%s: found %q; want nothing", name, found)
	case want != "" && (len(found) != 1 || !strings.Contains(found[0], want)):
		t.Errorf("%s: found %q; want one that says %q", name, found, want)
	}
}

func TestCheckImports(t *testing.T) {
	t.Parallel()
	in := func(below string) string { return module + "/" + below }
	for _, tt := range []struct{ from, imports, want string }{
		{in("internal/jobs"), "net/http", ""},
		{in("internal/jobs"), "golang.org/x/sync/errgroup", "third-party"},
		{in("internal/jobs"), in("internal/engine"), "language do not know seams"},
		{in("internal/engine"), in("internal/jobs"), ""},
		{in("internal/engine"), in("internal/artifacts"), "sibling"},
		{in("internal/engine"), "github.com/docker/docker/client", "third-party"},
		{in("internal/artifacts"), "github.com/klauspost/compress/zstd", ""},
		{in("internal/artifacts"), "github.com/moby/patternmatcher/ignorefile", "third-party"},
		{in("internal/pack"), "github.com/moby/patternmatcher/ignorefile", ""},
		{in("internal/pack"), in("internal/artifacts"), ""},
		{in("internal/artifacts"), "github.com/klauspost/compressor", "third-party"},
		{in("internal/artifacts"), in("internal/artifacts/dirstore"), "seams do not know adapters"},
		{in("internal/artifacts/dirstore"), in("internal/artifacts"), ""},
		{in("internal/artifacts"), in("internal/contexts"), "seams do not know reading"},
		{in("internal/contexts"), in("internal/artifacts"), ""},
		{in("internal/contexts"), in("internal/contexts/httpsource"), "reading do not know adapters"},
		{in("internal/contexts/s3source"), in("internal/contexts"), ""},
		{in("internal/contexts/s3source"), in("internal/artifacts/dirstore"), "sibling"},
		{in("internal/contexts/contextstest"), in("internal/pack"), ""},
		{in("internal/pack"), in("internal/contexts"), ""},
		{in("internal/pack"), in("internal/outputs"), "sibling"},
		{in("internal/engine/docker"), "github.com/docker/docker/client", ""},
		{in("internal/engine/docker"), in("internal/records"), "sibling"},
		{in("internal/queue"), in("internal/records"), "sibling"},
		{in("internal/records"), in("internal/worker"), "adapters do not know flow"},
		{in("internal/worker"), in("internal/records"), ""},
		{in("internal/worker"), in("internal/engine"), ""},
		{in("internal/worker"), in("internal/api"), "sibling"},
		{in("internal/worker"), "github.com/hibiken/asynq", "third-party"},
		{in("internal/control"), in("internal/worker"), ""},
		{in("internal/worker"), in("internal/control"), "flow do not know operation"},
		{in("internal/pages"), in("internal/api"), ""},
		{in("internal/api"), in("internal/pages"), "flow do not know operation"},
		{in("cmd/worker"), in("internal/worker"), ""},
		{in("cmd/worker"), "github.com/spf13/cobra", ""},
		{in("cmd/worker"), in("cmd/enqueue"), "sibling"},
		{in("cmd/worker"), in("internal/jobs/jobstest"), "for tests"},
		{in("internal/records"), in("internal/hosttest"), "for tests"},
		{in("internal/jobs/jobstest"), in("internal/hosttest"), ""},
		{in("internal/hosttest"), "github.com/docker/docker/client", ""},
		{in("examples/asynq-producer"), "github.com/hibiken/asynq", ""},
		{in("examples/asynq-producer"), in("internal/jobs"), "a stranger cannot"},
		{in("examples/http-go"), in("client"), ""},
		{in("cmd/enqueue"), in("client"), ""},
		{in("client"), in("internal/jobs"), "strangers would get"},
		{in("client"), "golang.org/x/sync/errgroup", "third-party"},
		{in("internal/util"), "fmt", "in no layer"},
	} {
		wantFound(t, tt.from+" imports "+tt.imports, checkImports(pkg{ImportPath: tt.from, Imports: []string{tt.imports}}), tt.want)
	}
}

func TestCheckLinked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ from, dep, want string }{
		{"cmd/enqueue", "github.com/docker/docker/api/types", "links github.com/docker/docker/api/types"},
		{"cmd/enqueue", module + "/internal/engine/docker", "links"},
		{"cmd/enqueue", "github.com/docker/docker-credential-helpers", ""},
		{"cmd/worker", "github.com/docker/docker/api/types", ""},
	} {
		found := checkImports(pkg{ImportPath: module + "/" + tt.from, Deps: []string{"fmt", tt.dep}})
		wantFound(t, tt.from+" links "+tt.dep, found, tt.want)
	}
}

func TestReadSource(t *testing.T) {
	t.Parallel()
	long := "package p\n" + strings.Repeat("\n", maxLines)
	for _, tt := range []struct{ name, file, text, want string }{
		{"plain", "p.go", "package p\n\nfunc main() {}\n", ""},
		{"init", "p.go", "package p\n\nfunc init() {}\n", "p.go:3:1: has an init function"},
		{"init in a test", "p_test.go", "package p\n\nfunc init() {}\n", "has an init function"},
		{"a method init", "p.go", "package p\n\ntype t int\n\nfunc (t) init() {}\n", ""},
		{"init in a text", "p.go", "package p\n\nconst s = `\nfunc init() {}\n`\n", ""},
		{"500 lines", "p.go", long[:len(long)-1], ""},
		{"501 lines", "p.go", long, "has 501 lines"},
		{"501 lines with a reason", "p.go", long + reason + "it is a table.\n", ""},
		{"a test of 501 lines", "p_test.go", long, ""},
		{"no Go", "p.go", "hello", "expected 'package'"},
	} {
		_, found := readSource(tt.file, []byte(tt.text))
		wantFound(t, tt.name, found, tt.want)
	}
}

func TestCheckPackage(t *testing.T) {
	t.Parallel()
	drivers := "import (\n\t_ \"" + module + "/internal/engine/docker\"\n\t_ \"" + module + "/internal/artifacts/dirstore\"\n)\n"
	for _, tt := range []struct {
		name, pkg string
		files     map[string]string
		want      string
	}{
		{"documented", "internal/jobs", map[string]string{"a.go": "package p\n", "doc.go": "// Package p is.\npackage p\n"}, ""},
		{"not documented", "internal/jobs", map[string]string{"a.go": "package p\n"}, "no package comment"},
		{"a comment apart", "internal/jobs", map[string]string{"a.go": "// Package p is.\n\npackage p\n"}, "no package comment"},
		{"a build line only", "internal/jobs", map[string]string{"a.go": "//go:build linux\n\npackage p\n"}, "no package comment"},
		{"documented in a test", "examples", map[string]string{"a_test.go": "// Package p is.\npackage p\n"}, ""},
		{"drivers in one file", "cmd/worker", map[string]string{"a.go": "// Command worker is.\npackage main\n", "wire.go": "package main\n" + drivers}, ""},
		{"drivers in two files", "cmd/worker", map[string]string{"a.go": "// Command worker is.\npackage main\n" + drivers, "wire.go": "package main\n" + drivers}, "names drivers in a.go, wire.go"},
		{"drivers in a test", "cmd/worker", map[string]string{"a_test.go": "// Command worker is.\npackage main\n" + drivers, "wire.go": "package main\n" + drivers}, ""},
	} {
		var files []source
		for name, text := range tt.files {
			s, found := readSource(name, []byte(text))
			wantFound(t, tt.name+": "+name, found, "")
			files = append(files, s)
		}
		slices.SortFunc(files, func(a, b source) int { return strings.Compare(a.name, b.name) })
		wantFound(t, tt.name, checkPackage(pkg{ImportPath: module + "/" + tt.pkg}, files), tt.want)
	}
}

func TestCheckGoMod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"module m\n\ngo 1.26.8\n", ""},
		{"module m\n\ngo 1.25\n", ""},
		{"module m\n\ngo 1.26.9\n", "go 1.26.9; want at most go1.26.8"},
		{"module m\n\ngo 1.27\n", "go 1.27; want"},
		{"module m\n\ngo 1.26.8\n\ntoolchain go1.27.1\n", "toolchain go1.27.1; want"},
		{"module m\n\ngo next\n", "go next; want"},
		{"module m\n", "no go line"},
	} {
		wantFound(t, tt.text, checkGoMod(tt.text), tt.want)
	}
}
