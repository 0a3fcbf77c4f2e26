package importtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/version"
	"regexp"
	"slices"
	"strings"
)

const (
	maxLines = 500
	maxGo    = "go1.26.8"
	reason   = "// Over 500 lines because "
)

// source is what the rules want to know about one file.
type source struct {
	name    string // below the module
	doc     bool   // it has a package comment
	imports []string
}

// readSource parses a file and returns what breaks the rules in it.
func readSource(name string, text []byte) (source, []string) {
	s := source{name: name}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return s, []string{err.Error()}
	}
	// A directive such as //go:build is not a comment for people.
	s.doc = file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != ""
	for _, imp := range file.Imports {
		s.imports = append(s.imports, strings.Trim(imp.Path.Value, `"`))
	}
	var found []string
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, fmt.Sprintf("%s: has an init function; do it where it can be seen and fail", fset.Position(f.Pos())))
		}
	}
	lines := bytes.Count(text, []byte("\n"))
	if !strings.HasSuffix(name, "_test.go") && lines > maxLines && !bytes.Contains(text, []byte("\n"+reason)) {
		found = append(found, fmt.Sprintf("%s: has %d lines; split it, or say %q", name, lines, reason+"..."))
	}
	return s, found
}

// checkPackage looks at the files of one package together.
func checkPackage(p pkg, files []source) []string {
	var found []string
	documented := false
	var wiring []string // files that name drivers
	for _, f := range files {
		documented = documented || f.doc
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		if slices.ContainsFunc(f.imports, isDriver) {
			wiring = append(wiring, f.name)
		}
	}
	if !documented {
		found = append(found, p.ImportPath+": has no package comment that says its one job")
	}
	if r, _ := find(p.ImportPath); r.layer == programs && len(wiring) > 1 {
		found = append(found, fmt.Sprintf("%s: names drivers in %s; one file does that", p.ImportPath, strings.Join(wiring, ", ")))
	}
	return found
}

// isDriver reports whether a package is an engine, a context source or a store.
func isDriver(pkg string) bool {
	for _, parent := range []string{"engine", "contexts", "artifacts"} {
		if strings.HasPrefix(pkg, module+"/internal/"+parent+"/") {
			return true
		}
	}
	return false
}

var directive = regexp.MustCompile(`(?m)^(go|toolchain)\s+(\S+)`)

// checkGoMod holds the module to a Go version that its users have.
func checkGoMod(text string) []string {
	var found []string
	stated := false
	for _, m := range directive.FindAllStringSubmatch(text, -1) {
		v := m[2]
		if m[1] == "go" {
			stated = true
			v = "go" + v
		}
		if !version.IsValid(v) || version.Compare(v, maxGo) > 0 {
			found = append(found, fmt.Sprintf("go.mod: %s; want at most %s", m[0], maxGo))
		}
	}
	if !stated {
		found = append(found, "go.mod: has no go line")
	}
	return found
}
