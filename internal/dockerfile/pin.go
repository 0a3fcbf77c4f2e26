package dockerfile

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Pin writes digests into a Dockerfile: pin tells what is to be in the place of the name of
// an image that the build uses, "" for the name itself. It is asked for the image of the
// # syntax line, too, and not for what stays as it is. Lines keep their numbers.
//
// Names that stand for images by [jobs.Build.Contexts] are replaced, too, with or without a
// digest: no frontend has to know of them.
//
// What is built from the new text is what would be built if each name stood for its digest;
// else, or where that is not certain, ok is false. Triggers stay as they are: they are part
// of an image.
func Pin(d File, b jobs.Build, daemon string, pin func(Image) string) (pinned File, ok bool) {
	t := text(strings.SplitAfter(string(d.Content), "\n"))
	syntax, edited := t.syntax(d, pin)
	g, parsed := graphOf(d, b, daemon)
	var want []Image
	if parsed && !g.guess {
		triggered := g.triggered()
		to := func(img Image) string {
			if slices.ContainsFunc(triggered, func(t Image) bool { return t.Ref == img.Ref }) {
				return ""
			}
			return pin(img)
		}
		for _, img := range g.used() {
			img.Ref = cmp.Or(to(img), img.Ref)
			if !slices.Contains(want, img) {
				want = append(want, img)
			}
		}
		edited = t.images(&g, to) || edited
	}
	pinned = File{Name: d.Name, Content: []byte(strings.Join(t, ""))}
	if now, _, _, _ := parser.DetectSyntax(pinned.Content); now != syntax {
		return pinned, false
	}
	b.Contexts = b.ContextDirs() // the text names the images themselves
	return pinned, edited && (!parsed || g.guess || slices.Equal(Used(pinned, b, daemon), want))
}

// NamesContexts reports whether a Dockerfile has, or may have, names that stand for images
// by [jobs.Build.Contexts]: it cannot be built as it is.
func NamesContexts(d File, b jobs.Build, daemon string) bool {
	g, parsed := graphOf(d, b, daemon)
	if !parsed || len(b.Contexts) == len(b.ContextDirs()) {
		return false
	}
	other := g.guess
	for i, st := range g.stages {
		other = other || st.other && st.base.Ref != ""
		for _, img := range g.needs(i) {
			ref, named := g.image(img.Ref)
			other = other || named && ref != "" && find(g.names, img.Ref) < 0
		}
	}
	return other
}

// triggered are the images that triggers of the Dockerfile's own stages use.
func (g *graph) triggered() (all []Image) {
	for _, st := range g.stages {
		for _, cmd := range triggers(st.commands) {
			all = append(all, g.sourcesOf(cmd)...)
		}
	}
	return all
}

// text is a Dockerfile in lines, each with its end.
type text []string

// images pins what the stages are built on, and what their commands name. It reports
// whether it has changed anything.
func (t text) images(g *graph, pin func(Image) string) (edited bool) {
	put := func(at []parser.Range, before, name, after string, img Image, other bool) {
		to := pin(img)
		if to == "" && other {
			to = img.Ref
		}
		if to != "" {
			edited = t.replace(at, before, name, after, to) || edited
		}
	}
	for _, st := range g.stages {
		if st.base.Ref != "" {
			put(st.Location, `(?:^|\s)`, st.BaseName, `(?:\s|$)`, st.base, st.other)
		}
		for _, cmd := range st.Commands {
			for _, img := range g.sourcesOf(cmd) {
				if img.Ref == "" || find(g.names, img.Ref) >= 0 {
					continue
				}
				before, after := `(?:^|\s)--from=["']?`, `(?:["'\s]|$)`
				if _, run := cmd.(*instructions.RunCommand); run {
					before, after = `(?:=|,|["'])from=["']?`, `(?:[,"'\s]|$)`
				}
				name := img.Ref
				ref, other := g.image(name)
				if img.Ref = ref; ref != "" { // else it is a directory
					put(cmd.Location(), before, name, after, img, other)
				}
			}
		}
	}
	return edited
}

// replace puts another name in the place of the first that stands between two patterns in
// the lines of an instruction.
func (t text) replace(at []parser.Range, before, name, after, to string) bool {
	pattern, err := regexp.Compile(before + "(" + regexp.QuoteMeta(name) + ")" + after)
	if err != nil || len(at) == 0 { // a name that is no text
		return false
	}
	for n := max(1, at[0].Start.Line); n <= at[len(at)-1].End.Line && n <= len(t); n++ {
		line := t[n-1]
		if strings.HasPrefix(strings.TrimSpace(line), "#") && n > at[0].Start.Line { // a comment in an instruction
			continue
		}
		if found := pattern.FindStringSubmatchIndex(line); found != nil {
			t[n-1] = line[:found[2]] + to + line[found[3]:]
			return true
		}
	}
	return false
}

// syntax pins the image of the # syntax line, when all frontends take the same one for it,
// and returns what the line should have then.
func (t text) syntax(d File, pin func(Image) string) (want string, edited bool) {
	ref, _, at, ok := parser.DetectSyntax(d.Content)
	if !ok || slices.ContainsFunc(syntaxLines(d), func(other string) bool { return other != ref }) {
		return ref, false
	}
	to := pin(Image{Ref: ref, Role: jobs.RoleSyntax})
	if to == "" {
		return ref, false
	}
	return to, t.replace(at, `(?i:syntax)[\s"]*[=:][\s"]*`, ref, `(?:["\s]|$)`, to)
}
