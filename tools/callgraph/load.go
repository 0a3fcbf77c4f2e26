package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// listed is what `go list` says about a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// load reads the packages at paths, relative to dir, in that order. Their imports
// come as the compiler's export data.
func load(ctx context.Context, dir string, paths []string) ([]*graph, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", "--"}, paths...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exports, wanted := map[string]string{}, map[string]listed{}
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			wanted[p.Dir] = p
		}
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	graphs := make([]*graph, 0, len(paths))
	for _, path := range paths {
		abs, err := filepath.Abs(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		g, err := read(wanted[abs], exports)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		graphs = append(graphs, g)
	}
	return graphs, nil
}

// read makes the graph of one package.
func read(p listed, exports map[string]string) (*graph, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", open)}
	pkg, err := conf.Check(p.ImportPath, fset, files, info)
	if err != nil {
		return nil, err
	}
	g := &graph{files: p.GoFiles, calls: map[edge][]string{}}
	at := make(map[string]int, len(p.GoFiles))
	for i, name := range p.GoFiles {
		at[name] = i
	}
	file := func(pos token.Pos) int { return at[filepath.Base(fset.Position(pos).Filename)] }
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if f := callee(call, info); f != nil && f.Pkg() == pkg {
					g.add(file(call.Pos()), file(f.Pos()), f.Name())
				}
			}
			return true
		})
	}
	return g, nil
}

// callee is the function or method of a call, nil when only running tells: that of
// an interface has its place where the interface is declared.
func callee(call *ast.CallExpr, info *types.Info) *types.Func {
	fun := ast.Unparen(call.Fun)
	switch x := fun.(type) { // what gives type parameters
	case *ast.IndexExpr:
		fun = x.X
	case *ast.IndexListExpr:
		fun = x.X
	}
	var id *ast.Ident
	switch x := fun.(type) {
	case *ast.Ident:
		id = x
	case *ast.SelectorExpr:
		id = x.Sel
	default:
		return nil
	}
	f, ok := info.Uses[id].(*types.Func)
	if !ok {
		return nil
	}
	return f.Origin()
}
