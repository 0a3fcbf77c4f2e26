package importtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// glossaryRow is "| term | meaning | `package.Name` |".
var glossaryRow = regexp.MustCompile("(?m)^\\| ([^|]+) \\| ([^|]+) \\| `(\\w+)\\.(\\w+)` \\|$")

// retired are words that had several meanings, and what to say instead.
func retired() map[string]string {
	return map[string]string{
		"ledger": "records, or oracle in a test", "heartbeat": "registration, or watchdog",
		"fence": "nonce, lease, or stop", "fenced": "refused, or stopped",
	}
}

// unnamed are words that hide who acts.
func unnamed(word string) bool {
	return slices.Contains(strings.Fields("somebody nobody whoever anybody everybody"), strings.ToLower(word))
}

// Each term of the glossary is in the code under its name, once, and words that were
// given up for it do not come back.
func TestGlossary(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "glossary.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := declared(t, root)
	terms := map[string]bool{}
	for _, row := range glossaryRow.FindAllStringSubmatch(string(text), -1) {
		term, pkg, name := row[1], row[3], row[4]
		if terms[term] {
			t.Errorf("%s is in the glossary twice", term)
		}
		terms[term] = true
		if !names[pkg][name] {
			t.Errorf("%s: package %s declares no %s", term, pkg, name)
		}
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| term ") {
			rows++
		}
	}
	if rows != len(terms) || rows < 25 {
		t.Errorf("%d of %d rows of the glossary name a term and where it is", len(terms), rows)
	}
}

// declared are the names that the packages below internal declare, by package.
func declared(t *testing.T, root string) map[string]map[string]bool {
	t.Helper()
	names := map[string]map[string]bool{}
	word := regexp.MustCompile(`\w+`)
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "testdata" {
			return fsSkip(err)
		}
		if filepath.Ext(path) != ".go" || filepath.Base(filepath.Dir(path)) == "importtest" {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := names[file.Name.Name]
		if pkg == nil {
			pkg = map[string]bool{}
			names[file.Name.Name] = pkg
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				pkg[decl.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok {
						pkg[ts.Name.Name] = true
					}
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				if better := retired()[strings.ToLower(id.Name)]; better != "" {
					t.Errorf("%s: the name %s was given up; say %s", fset.Position(id.Pos()), id.Name, better)
				}
			}
			return true
		})
		for _, group := range file.Comments {
			for _, w := range word.FindAllString(group.Text(), -1) {
				if better := retired()[strings.ToLower(w)]; better != "" {
					t.Errorf("%s: the word %s was given up; say %s", fset.Position(group.Pos()), w, better)
				}
				if unnamed(w) {
					t.Errorf("%s: %s hides who acts; name the worker, the user, the process", fset.Position(group.Pos()), w)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// fsSkip leaves a directory out unless the walk itself failed.
func fsSkip(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}
