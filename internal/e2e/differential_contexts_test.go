//go:build integration

package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// recipe is a directory and how it is built.
type recipe struct {
	name string
	// files are contents by name. A name that ends in / is a directory, a content
	// that starts with -> a symbolic link. Where there is no Dockerfile, one that
	// copies everything is added.
	files map[string]string
	// more makes what files cannot say.
	more func(dir string) error
	// modes are permission bits of files.
	modes map[string]fs.FileMode
	// file is the Dockerfile, a path inside the directory.
	file string
	// args are flags that both commands have.
	args []string
	// keepGit has .git and all modes sent, as docker build does.
	keepGit bool
	// fails is what both say when there is to be no image. With heredoc that is
	// only so where the daemon's frontend has no here-documents.
	fails   string
	heredoc bool
	// implied are directories that docker build sends with BuildKit only: they
	// are ignored, and lead to something that is not.
	implied []string
}

const (
	copyAll    = "FROM scratch\nCOPY . /ctx\n"
	noHeredocs = "unknown instruction"
)

// dockerfile is the name of the Dockerfile.
func (r recipe) dockerfile() string {
	if r.file != "" {
		return r.file
	}
	if _, ok := r.files["dockerfile"]; ok {
		return "dockerfile"
	}
	return "Dockerfile"
}

// ownIgnoreFile is the name of the ignore file that would be the Dockerfile's
// alone. That of a dockerfile is Dockerfile.dockerignore.
func (r recipe) ownIgnoreFile() string {
	if r.file != "" {
		return r.file + ".dockerignore"
	}
	return "Dockerfile.dockerignore"
}

// write makes the directory.
func (r recipe) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := maps.Clone(r.files)
	if _, ok := files[r.dockerfile()]; !ok {
		if files == nil {
			files = map[string]string{}
		}
		files[r.dockerfile()] = copyAll
	}
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
	if r.more != nil {
		if err := r.more(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range r.modes {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func recipes() []recipe {
	return slices.Concat(ignoring(), dockerfileNames(), trees(), instructions())
}

// project is a tree for an ignore file to choose from, with further names and
// contents in turn.
func project(ignore string, more ...string) map[string]string {
	files := map[string]string{
		"a.go": "a", "b.txt": "b", "README.md": "readme", "file1": "1", "file2": "2", "filex": "x", "[odd]": "odd", "#hash": "hash", "!bang": "bang",
		"src/a.go": "src a", "src/b.txt": "src b", "src/deep/c.txt": "c", "src/deep/er/d.txt": "d", "src/deep/er/still/e.go": "e",
		"docs/README.md": "docs readme", "docs/a.md": "docs a", "node_modules/keep.txt": "keep", "node_modules/x/index.js": "x",
		"empty/": "", ".hidden": "hidden", ".config/x": "config x", ".dockerignore": ignore,
	}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

func ignoring() []recipe {
	none := project("")
	delete(none, ".dockerignore")
	return []recipe{
		{name: "ignore file: none", files: none},
		{name: "ignore file: empty", files: project("")},
		{name: "ignore file: comments only", files: project("# a comment\n\n   \n#another")},
		{name: "ignore file: names", files: project("src\n.config\nREADME.md\nempty\n")},
		{name: "ignore file: star", files: project("*.txt\n*/*.go\nnode*\n")},
		{name: "ignore file: double star", files: project("**/*.txt\n**/still\n")},
		{name: "ignore file: double star inside", files: project("src/**/d.txt\nsrc/**/*.go\n")},
		{name: "ignore file: double star at the end", files: project("src/deep/**\nnode_modules/**\n")},
		{name: "ignore file: everything", files: project("**\n")},
		{name: "ignore file: question mark", files: project("file?\ndocs/?.md\n")},
		{name: "ignore file: character classes", files: project("file[0-9]\n[^a-z]*.md\n")},
		{name: "ignore file: escapes", files: project("\\[odd\\]\n\\#hash\n\\!bang\n")},
		{name: "ignore file: trailing slashes", files: project("node_modules/\nsrc/deep/\nb.txt/\n")},
		{name: "ignore file: leading slashes", files: project("/node_modules\n/src/b.txt\n/*.md\n")},
		{name: "ignore file: paths to clean", files: project("./src/deep\nsrc/../node_modules\n../outside\n docs/a.md  \n")},
		{name: "ignore file: the root", files: project("/\n.\n./\n")},
		{name: "ignore file: byte order mark", files: project("\ufeff*.go\nsrc\n")},
		{name: "ignore file: CRLF", files: project("*.go\r\nsrc/deep\r\n# comment\r\n!a.go\r\n")},
		{name: "ignore file: exceptions", files: project("*.md\n!README.md\nsrc/*\n!src/b.txt\n")},
		{name: "ignore file: exceptions only", files: project("!src\n!*.go\n")},
		{name: "ignore file: the last match decides", files: project("*.go\n!a.go\na.*\n!*.go\nsrc/a.go")},
		{name: "ignore file: all but a file", files: project("**\n!a.go\n")},
		{name: "ignore file: all but a file below", files: project("*\n!src/a.go\n"), implied: []string{"src"}},
		{name: "ignore file: all but a directory", files: project("*\n!src\n")},
		{name: "ignore file: all but names with slashes", files: project("*\n!src/\n!/docs/a.md\n"), implied: []string{"docs"}},
		{name: "ignore file: all but what is in a directory", files: project("*\n!src/deep/**\n!docs/*\n"), implied: []string{"docs", "src", "src/deep"}},
		{name: "ignore file: all but a pattern in a directory", files: project("*\n!src/*.go\n!docs/[a-c].md\n"), implied: []string{"docs", "src"}},
		{name: "ignore file: nested exceptions", files: project("*\n!src\nsrc/deep\n!src/deep/er\nsrc/deep/er/still\n"), implied: []string{"src/deep"}},
		{
			name: "ignore file: modes of what leads to an exception", files: project("*\n!src/deep/er\n"), implied: []string{"src", "src/deep"},
			modes: map[string]fs.FileMode{"src": 0o700, "src/deep": 0o711, "src/deep/er": 0o750},
		},
		{name: "ignore file: the Dockerfile", files: project("Dockerfile\n")},
		{name: "ignore file: itself", files: project(".dockerignore\n")},
		{name: "ignore file: itself and the Dockerfile", files: project("Dockerfile*\n.docker*\n")},
		{name: "ignore file: a link", files: project("->conf/ignore", "conf/ignore", "*.go\nsrc\n")},
		{name: "ignore file: a link to nothing", files: project("->nowhere")},
		{name: "ignore file: what COPY names", files: project("b.txt\n", "Dockerfile", "FROM scratch\nCOPY b.txt /\n"), fails: `"/b.txt" not found`},
		{name: "ignore file: bad pattern", files: project("a[\n"), fails: "syntax error in pattern"},
		{name: "own ignore file", files: project("src\n", "Dockerfile.dockerignore", "docs\n*.md\n")},
		{name: "own ignore file: empty", files: project("src\n", "Dockerfile.dockerignore", "")},
		{
			name: "own ignore file: below", file: "build/app.Dockerfile",
			files: project("src\n", "build/app.Dockerfile", copyAll, "build/app.Dockerfile.dockerignore", "*\n!src/deep\n!b.txt\n"),
		},
		{name: "own ignore file: itself and the Dockerfile", file: "app.Dockerfile", files: project("src\n", "app.Dockerfile.dockerignore", "app*\ndocs")},
		{name: "own ignore file: of a dockerfile", files: project("src\n", "dockerfile", copyAll, "Dockerfile.dockerignore", "docs\n*.md\n")},
		{name: "own ignore file: in lower case", files: project("src\n", "dockerfile", copyAll, "dockerfile.dockerignore", "docs\n*.md\n")},
		{
			name:  "own ignore file: of a link",
			files: project("src\n", "Dockerfile", "->build/real", "build/real", copyAll, "build/real.dockerignore", "*.go\n", "Dockerfile.dockerignore", "docs\n*.md\n"),
		},
	}
}

func dockerfileNames() []recipe {
	return []recipe{
		{name: "Dockerfile below", file: "build/Dockerfile", files: project("*.md\n", "build/x", "x")},
		{name: "Dockerfile below, ignored", file: "build/Dockerfile", files: project("build\n", "build/x", "x")},
		{name: "Dockerfile below, ignored unlike a file beside", file: "build/Dockerfile", files: project("build\n!build/x", "build/x", "x"), implied: []string{"build"}},
		{name: "Dockerfile in lower case", files: project("docs\n", "dockerfile", copyAll)},
		{name: "Dockerfile in lower case, ignored", files: project("dockerfile\n", "dockerfile", copyAll)},
		{name: "Dockerfile by another name", file: "Build.file", files: project("docs\n", "Dockerfile", "FROM nowhere\n")},
		{name: "Dockerfile by an odd name", file: "my Dockerfile \u00e9", files: project("docs\n")},
		{name: "Dockerfiles that are not it", files: project("docs\n", "src/Dockerfile", "FROM nowhere\n", "docs/Dockerfile", "FROM nowhere\n")},
		{name: "Dockerfile as a link", files: project("docs\n", "Dockerfile", "->build/real", "build/real", copyAll)},
		{name: "Dockerfile as a link to what is ignored", files: project("build\n", "Dockerfile", "->build/real", "build/real", copyAll)},
		{name: "Dockerfile as a link that is ignored", files: project("Dockerfile\n", "Dockerfile", "->build/real", "build/real", copyAll)},
		{name: "Dockerfile as a link below", file: "build/Dockerfile", files: project("docs\n", "build/Dockerfile", "->real", "build/real", copyAll)},
		{name: "Dockerfile behind a linked directory", file: "now/Dockerfile", files: project("docs\n", "2.0/Dockerfile", copyAll, "now", "->2.0", "now/Dockerfile", copyAll)},
	}
}

// odd are names that are legal and not nice.
func odd() map[string]string {
	files := map[string]string{}
	for i, name := range []string{
		"with space", " leading and trailing ", "quote\"", "apostrophe'", "new\nline", "tab\t", "-dash", "--help", "back\\slash", "star*", "q?", "$HOME", "${x}",
		"semi;colon", "a&b", "pipe|", "<in>", "%41", "~", "...", "..two", "#hash", "!bang", "caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\U0001f40b",
		"bell\a", "\x1b[31mred", "\u202eltr", "\u200b", strings.Repeat("n", 255), strings.Repeat("\u00e9", 127), "dir with space/and\nnewline/\u00e9", "PAX\n12 path=x",
	} {
		files[name] = fmt.Sprint(i)
	}
	return files
}

func trees() []recipe {
	wide, deep := map[string]string{}, strings.Repeat("d/", 60)
	for i := range 5000 {
		wide[fmt.Sprintf("wide/%04d", i)] = fmt.Sprint(i)
	}
	long := strings.Repeat("l", 120) + "/" + strings.Repeat("m", 200) + "/" + strings.Repeat("n", 200)
	return []recipe{
		{name: "symbolic links", files: map[string]string{
			"target": "t", "dir/file": "f", "relative": "->target", "absolute": "->/etc/passwd", "dangling": "->nowhere", "out": "->../../out", "to-dir": "->dir",
			"dir/up": "->../target", "dir/self": "->.", "loop": "->loop", "slash": "->dir/", "dots": "->./dir/../target", "long": "->" + long, "odd": "->new\nline \u00e9",
		}},
		{name: "modes", files: map[string]string{
			"0600": "", "0640": "", "0700": "", "0444": "", "0755": "", "0000": "x", "0777": "", "0111": "", "d0700/x": "", "d0755/x": "", "d0711/x": "", "d0555/x": "", "d0777/x": "",
		}, modes: map[string]fs.FileMode{
			"0600": 0o600, "0640": 0o640, "0700": 0o700, "0444": 0o444, "0755": 0o755, "0000": 0, "0777": 0o777, "0111": 0o111,
			"d0700": 0o700, "d0755": 0o755, "d0711": 0o711, "d0555": 0o555, "d0777": 0o777,
		}},
		{name: "mode of the context", files: map[string]string{"x": "", "Dockerfile": "FROM scratch\nCOPY . /\nCOPY . /ctx/\n"}, modes: map[string]fs.FileMode{".": 0o700}},
		{name: "owners", files: map[string]string{"x": "x", "dir/y": "y", "link": "->x"}, more: func(dir string) error {
			for i, name := range []string{"x", "dir", "dir/y", "link"} {
				if err := os.Lchown(filepath.Join(dir, name), 1000+i, 2000+i); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "extended attributes", files: map[string]string{"user": "", "capable": ""}, more: func(dir string) error {
			netBindService := "\x01\x00\x00\x02\x00\x04" + strings.Repeat("\x00", 14)
			return errors.Join(
				syscall.Setxattr(filepath.Join(dir, "user"), "user.colour", []byte("red"), 0),
				syscall.Setxattr(filepath.Join(dir, "capable"), "security.capability", []byte(netBindService), 0),
			)
		}},
		{name: "nothing in them", files: map[string]string{"file": "", "dir/": "", "dir2/dir/": "", "dir2/file": ""}},
		{name: "nothing but the Dockerfile"},
		{name: "32 MiB", more: func(dir string) error {
			b := make([]byte, 32<<20)
			_, _ = rand.NewChaCha8([32]byte{}).Read(b) // it never fails
			return os.WriteFile(filepath.Join(dir, "large"), b, 0o644)
		}},
		{name: "holes", more: func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "sparse"), []byte("x"), 0o644); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, "sparse"), 1<<20)
		}},
		{name: "60 levels", files: map[string]string{deep + "file": "deep"}},
		{name: "5000 files", files: wide},
		{name: "long paths", files: map[string]string{long: "long", strings.Repeat("p", 100): "100", strings.Repeat("q", 101): "101", strings.Repeat("r", 155) + "/" + strings.Repeat("s", 100): "256"}},
		{name: "odd names", files: odd()},
		{name: "names that are not UTF-8", files: map[string]string{"latin\xe9": "1", "\xff\xfe": "2", "dir\x80/x": "3", "link": "->\xff\xfe"}},
		{name: "git kept", files: map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".git/objects/": "", ".gitignore": "x\n", "x": "", "sub/.git/x": "", "sub/.git2": ""}, keepGit: true},
		{name: "names of the archive's own", files: map[string]string{"manifest.json": "{}", ".wh.file": "", ".wh..wh..opq": "", ".dockerenv": "", "PaxHeaders.0/x": "", "context": "", "dockerfile/x": ""}},
	}
}
