// Command callgraph counts, for each package that ceilings.txt names, the calls
// between the package's files and how many of them point up. It puts the files in an
// order of its own, in which as few calls as it can manage go from a file to one
// before it. Those calls point up; each is part of a circle between files, so that
// neither file can be understood, or moved to another package, without the other.
//
//	callgraph DIR CEILINGS
//
// DIR is a directory of the module that the packages are of. Each line of CEILINGS
// has a package, relative to DIR, and how many calls of it may point up. `make lint`
// runs it; it fails when there are more. A change that leaves fewer lowers the figure.
// Tests and files with build tags are not read.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: callgraph DIR CEILINGS")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "callgraph:", err)
		os.Exit(1)
	}
}

// ceiling is how many calls of a package may point up.
type ceiling struct {
	pkg string
	max int
}

func run(ctx context.Context, dir, ceilings string, out io.Writer) error {
	list, err := readCeilings(ceilings)
	if err != nil {
		return err
	}
	paths := make([]string, 0, len(list))
	for _, c := range list {
		paths = append(paths, "./"+c.pkg)
	}
	graphs, err := load(ctx, dir, paths)
	if err != nil {
		return err
	}
	wrong := 0
	for i, c := range list {
		g := graphs[i]
		up := g.up()
		fmt.Fprintf(out, "%s: %d files, %d calls between them, %d point up (at most %d)\n", c.pkg, len(g.files), g.total(), g.weight(up), c.max)
		if g.weight(up) <= c.max {
			continue
		}
		wrong++
		for _, e := range up {
			fmt.Fprintf(out, "\t%s -> %s: %s\n", g.files[e.from], g.files[e.to], strings.Join(g.calls[e], ", "))
		}
	}
	if wrong > 0 {
		return fmt.Errorf("more calls point up than %s allows, in %d packages; move what is called to a file below its callers", ceilings, wrong)
	}
	return nil
}

func readCeilings(name string) ([]ceiling, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []ceiling
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pkg, figure, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(strings.TrimSpace(figure))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s: %q; want a package and a number", name, line)
		}
		list = append(list, ceiling{pkg, n})
	}
	return list, lines.Err()
}
