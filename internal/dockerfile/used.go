package dockerfile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Image is an image that a build uses, and what for.
type Image struct {
	Ref  string
	Role jobs.Role
	// Platform is the one of which the image is taken, "" for the daemon's own.
	Platform string
}

// Used lists the images that the target of a build needs, as Docker's frontends read the
// Dockerfile on a daemon of this platform. It does not judge: what only one engine
// understands is read as the newest does, and what cannot be parsed needs nothing.
func Used(d File, b jobs.Build, daemon string) []Image {
	g, ok := graphOf(d, b, daemon)
	if !ok {
		return nil
	}
	return g.used()
}

// graphOf reads a Dockerfile; ok is false when it cannot be parsed.
func graphOf(d File, b jobs.Build, daemon string) (g graph, ok bool) {
	p, err := parse(d)
	if err != nil || len(p.stages) > maxStages {
		return graph{}, false
	}
	c := checker{build: b, lex: shell.NewLex(p.ast.EscapeToken), left: maxWords}
	c.meta(p.args, p.stages[len(p.stages)-1].Name, platformValues(b.Platform, daemon))
	g.build = b
	for _, s := range p.stages {
		base := c.expand(s.BaseName, c.global)
		g.add(s, base.text, cmp.Or(c.expand(s.Platform, c.global).text, b.Platform))
		g.guess = g.guess || base.guess
	}
	g.target = len(g.stages) - 1
	if at := find(g.names, b.Target); b.Target != "" && at >= 0 { // else it means something to a frontend of its own
		g.target = at
	}
	return g, true
}

// platformValues are the values of platformArgs.
func platformValues(target, daemon string) map[string]string {
	if target == "" {
		target = daemon
	}
	all := map[string]string{}
	for of, platform := range map[string]string{"TARGET": target, "BUILD": daemon} {
		parts := append(strings.SplitN(platform, "/", 3), "", "")
		all[of+"PLATFORM"], all[of+"OS"], all[of+"ARCH"], all[of+"VARIANT"] = platform, parts[0], parts[1], parts[2]
	}
	return all
}

// graph is what the stages of a Dockerfile need of each other and of images.
type graph struct {
	names  []string
	stages []stage
	target int // the index of a stage
	build  jobs.Build
	// guess is set when a frontend may know of other bases.
	guess bool
}

type stage struct {
	instructions.Stage
	// base is the image that it is built on, without a Ref for scratch and when it
	// stands on the stage with the index on.
	base Image
	on   int
	// other is set when what FROM has is not the name of base, or of any image.
	other bool
	// commands are its own, behind the triggers of the stage that it is built on.
	commands []instructions.Command
}

func (g *graph) add(s instructions.Stage, base, platform string) {
	st := stage{Stage: s, on: -1, commands: s.Commands}
	for i, earlier := range g.names { // not by number, and only of those before
		if earlier != "" && strings.EqualFold(earlier, base) {
			st.on = i
		}
	}
	switch {
	case st.on >= 0:
		st.commands = append(triggers(g.stages[st.on].commands), s.Commands...)
	case base != "scratch":
		st.base.Platform = platform
		st.base.Ref, st.other = g.image(base)
	}
	g.names, g.stages = append(g.names, s.Name), append(g.stages, st)
}

// image is the image that a name stands for, "" when it is a directory. other is set when the
// build says what it is.
func (g *graph) image(name string) (ref string, other bool) {
	if ref, other = g.build.Named(name); !other {
		return name, false
	}
	return ref, true
}

// triggers are the commands that a stage leaves to those which are built on it.
func triggers(commands []instructions.Command) (all []instructions.Command) {
	for _, cmd := range commands {
		trigger, ok := cmd.(*instructions.OnbuildCommand)
		if !ok {
			continue
		}
		parsed, err := parser.Parse(strings.NewReader(trigger.Expression))
		if err != nil || len(parsed.AST.Children) == 0 {
			continue
		}
		instruction, err := instructions.ParseInstructionWithLinter(parsed.AST.Children[0], lint())
		if cmd, ok := instruction.(instructions.Command); ok && err == nil {
			all = append(all, cmd)
		}
	}
	return all
}

// used lists the images of the stages that the target needs.
func (g *graph) used() (all []Image) {
	root := g.target
	for g.stages[root].on >= 0 {
		root = g.stages[root].on
	}
	use := func(img Image) {
		if img.Ref != "" && img.Ref != "scratch" && !slices.Contains(all, img) {
			all = append(all, img)
		}
	}
	reached := map[int]bool{}
	var reach func(i int)
	reach = func(i int) {
		if i < 0 || reached[i] {
			return
		}
		reached[i] = true
		img := g.stages[i].base
		if img.Role = jobs.RoleStage; i == root {
			img.Role = jobs.RoleFrom
		}
		use(img)
		reach(g.stages[i].on)
		for _, img := range g.needs(i) {
			at := find(g.names, img.Ref)
			if at < 0 {
				img.Ref, _ = g.image(img.Ref)
				use(img)
			}
			reach(at)
		}
	}
	reach(g.target)
	return all
}

// needs are the sources of the commands of a stage: images, or names and numbers of
// stages, also of such as come later.
func (g *graph) needs(i int) (all []Image) {
	for _, cmd := range g.stages[i].commands {
		all = append(all, g.sourcesOf(cmd)...)
	}
	return all
}

// sourcesOf are what names the images, or stages, that a command takes something from.
func (g *graph) sourcesOf(cmd instructions.Command) (all []Image) {
	switch cmd := cmd.(type) {
	case *instructions.CopyCommand:
		return []Image{{Ref: cmd.From, Role: jobs.RoleCopy, Platform: g.build.Platform}}
	case *instructions.RunCommand:
		// No frontend replaces variables in the name of an image here.
		if cmd.Expand(func(word string) (string, error) { return word, nil }) != nil {
			return nil
		}
		for _, m := range instructions.GetMounts(cmd) {
			all = append(all, Image{Ref: m.From, Role: jobs.RoleMount, Platform: g.build.Platform})
		}
	}
	return all
}
