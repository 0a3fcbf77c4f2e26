package dockerfile

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// maxStages is the most stages of a Dockerfile: each may be built on the one
// before, so that looking up a variable takes as many steps.
const maxStages = 1000

// Check refuses what cannot be parsed and what the rules do not allow, and
// returns what the build stands on.
func Check(d File, b jobs.Build, r Rules) (Sources, error) {
	if err := r.args(b); err != nil {
		return Sources{}, err
	}
	frontends, err := r.frontends(d)
	if err != nil {
		return Sources{}, err
	}
	frontend := strings.Join(frontends[:min(1, len(frontends))], "")
	p, err := parse(d)
	if err != nil {
		return Sources{}, err
	}
	if len(p.stages) > maxStages {
		return Sources{}, invalid(d.Name, 0, fmt.Sprintf("it has %d stages; the limit is %d", len(p.stages), maxStages), nil)
	}
	c := checker{rules: r, name: d.Name, build: b, named: map[string]*vars{}, numbered: map[string]*vars{}, lex: shell.NewLex(p.ast.EscapeToken), left: maxWords}
	c.found.Parsed, c.found.Frontend = true, frontend
	for _, ref := range frontends {
		c.found.ask(ref)
	}
	c.meta(p.args, p.stages[len(p.stages)-1].Name, c.placeholders())
	for _, s := range p.stages {
		if err := c.stage(s); err != nil {
			return Sources{}, err
		}
	}
	if err := c.heredocs(p.ast.AST.Children); err != nil {
		return Sources{}, err
	}
	if b.Target != "" && find(c.found.stages, b.Target) < 0 && frontend == "" { // a frontend of its own may mean something by it
		return Sources{}, invalid(d.Name, 0, fmt.Sprintf("it has no stage %q, which build.target names", jobs.Clip(b.Target)), nil)
	}
	return c.found.Sources, c.tags()
}

// checker walks through one Dockerfile.
type checker struct {
	rules  Rules
	name   string
	build  jobs.Build
	lex    *shell.Lex
	global *vars
	found  sources
	// named and numbered are the stages so far.
	named, numbered map[string]*vars
	bases           []string
	left            int // of what variables may add
	// wild is true when a variable may have been set by a name that another
	// variable holds: then nothing is sure.
	wild bool
}

func (c *checker) refuse(k jobs.Kind, line int, hint, format string, args ...any) error {
	return jobs.Fail(k, nil, hint, "%s line %d: "+format, append([]any{c.name, line}, args...)...)
}

func (c *checker) stage(s instructions.Stage) error {
	line := 0
	if len(s.Location) > 0 {
		line = s.Location[0].Start.Line
	}
	if _, other := c.build.Named(s.Name); other {
		return invalid(c.name, line, fmt.Sprintf("the stage %q has the name of one of build.contexts, which stand for images and directories only; give one of them another name", jobs.Clip(s.Name)), nil)
	}
	base := c.expand(s.BaseName, c.global)
	from, ok := c.named[strings.ToLower(base.text)]
	if !ok {
		base = c.standsFor(base)
	}
	if !c.rules.AnyRegistry && !c.sureRegistry(base) {
		return c.doubtful(base, line)
	}
	if !ok || base.guess {
		if err := c.image(base, line); err != nil {
			return err
		}
	}
	if !ok && base.text != "scratch" && base.text != "" {
		c.found.use(base.text)
	}
	c.found.stages = append(c.found.stages, s.Name)
	v := newVars(from)
	for _, cmd := range s.Commands {
		if err := c.command(cmd, v); err != nil {
			return err
		}
		if c.left <= 0 {
			return invalid(c.name, line, fmt.Sprintf("the variables of this stage and those before come to more than %d bytes", maxWords), nil)
		}
	}
	c.numbered[fmt.Sprint(len(c.numbered))] = v
	if s.Name != "" {
		c.named[strings.ToLower(s.Name)] = v
	}
	return nil
}

func (c *checker) command(cmd instructions.Command, v *vars) error {
	line := 0
	if at := cmd.Location(); len(at) > 0 {
		line = at[0].Start.Line
	}
	switch cmd := cmd.(type) {
	case *instructions.ArgCommand:
		c.arg(*cmd, v, c.global)
	case *instructions.EnvCommand:
		c.env(cmd.Env, v)
	case *instructions.AddCommand:
		for _, src := range cmd.SourcePaths {
			if err := c.add(c.expand(src, v), line); err != nil {
				return err
			}
		}
	case *instructions.CopyCommand:
		return c.from(c.expand(cmd.From, v), line)
	case *instructions.RunCommand:
		return c.run(cmd, v, line)
	case *instructions.OnbuildCommand:
		// It runs in builds of others, which are checked without seeing it.
		return c.lines([]byte(cmd.Expression), v)
	}
	return nil
}

// remotePattern is a source that is not a file: a URL, or git over ssh.
var remotePattern = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9+.-]*://|[\w.-]+@[\w.-]+:)`)

func (c *checker) add(src word, line int) error {
	if src.unsure && !src.isFile() && !src.hasHost() && !slices.Contains(c.rules.AddHosts, "*") {
		return c.refuse(jobs.KindSourceNotAllowed, line, "write the beginning of the source as it is, or set its variables with ARG or ENV before",
			"ADD from %q, where it takes a build to tell what the variables are", jobs.Clip(src.raw))
	}
	c.found.Remote = c.found.Remote || src.unsure && !src.isFile()
	return c.remote(src.text, line)
}

func (c *checker) remote(src string, line int) error {
	if !remotePattern.MatchString(src) {
		return nil
	}
	c.found.Remote = true
	host := ""
	if u, err := url.Parse(src); err == nil && u.Host != "" {
		host = u.Hostname()
	} else if _, rest, ok := strings.Cut(src, "@"); ok {
		host, _, _ = strings.Cut(rest, ":")
	}
	if host == "" || !slices.ContainsFunc(c.rules.AddHosts, func(p string) bool { return jobs.Wildcard(p, host) }) {
		return c.refuse(jobs.KindSourceNotAllowed, line, "fetch it in a RUN step, put it into the context, or ask the operator to allow the host",
			"ADD from the host %q, which the operator does not allow", jobs.Clip(host))
	}
	return nil
}

// from is the image behind COPY --from or RUN --mount=from, if it is not a
// stage.
func (c *checker) from(name word, line int) error {
	_, named := c.named[strings.ToLower(name.text)]
	_, numbered := c.numbered[name.text]
	if named || numbered {
		return nil
	}
	name = c.standsFor(name)
	if name.text != "scratch" && name.text != "" {
		c.found.use(name.text)
	}
	return c.image(name, line)
}

// standsFor is the image that a name stands for by the contexts of the build, nothing for a
// directory.
func (c *checker) standsFor(name word) word {
	if image, other := c.build.Named(name.text); other {
		name.text = image
	}
	return name
}

func (c *checker) image(name word, line int) error {
	if name.unsure && len(c.rules.Images) > 0 && !slices.Contains(c.rules.Images, "*") {
		return c.doubtful(name, line)
	}
	ref := name.text
	if ref == "scratch" || ref == "" {
		return nil
	}
	c.bases = append(c.bases, ref)
	c.found.ask(ref)
	if len(c.rules.Images) > 0 && !Matches(c.rules.Images, ref) {
		return c.refuse(jobs.KindImageNotAllowed, line, "use "+list(c.rules.Images)+", or ask the operator", "the image %q is not one that the operator allows", jobs.Clip(ref))
	}
	return nil
}

func (c *checker) doubtful(name word, line int) error {
	return c.refuse(jobs.KindImageNotAllowed, line, "set its variables with ARG before the first FROM",
		"the image %q, where it takes a build to tell what the variables are", jobs.Clip(name.raw))
}

func (c *checker) run(cmd *instructions.RunCommand, v *vars, line int) error {
	const hint = "leave the flag out; builds have the farm's network, rights and devices"
	switch {
	case instructions.GetNetwork(cmd) == instructions.NetworkHost:
		return c.refuse(jobs.KindEntitlementNotAllowed, line, hint, "RUN --network=host is not allowed")
	case instructions.GetSecurity(cmd) == instructions.SecurityInsecure:
		return c.refuse(jobs.KindEntitlementNotAllowed, line, hint, "RUN --security=insecure is not allowed")
	case len(instructions.GetDevices(cmd)) > 0:
		return c.refuse(jobs.KindEntitlementNotAllowed, line, hint, "RUN --device is not allowed")
	}
	// Mounts are known only once their variables are.
	unsure := false
	expand := func(raw string) (string, error) {
		w := c.expand(raw, v)
		unsure = unsure || w.unsure
		return w.text, nil
	}
	if err := cmd.Expand(expand); err != nil {
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s line %d: %s", c.name, line, printable(err.Error()))
	}
	c.found.locks(instructions.GetMounts(cmd))
	for _, m := range instructions.GetMounts(cmd) {
		// What else is in the flags may be what is unsure; the check does not need that.
		if err := c.from(word{raw: m.From, text: m.From, unsure: unsure && m.From != ""}, line); err != nil {
			return err
		}
	}
	return nil
}

// heredocs looks at the text inside here-documents as if it were instructions:
// for engines that do not know here-documents it is.
func (c *checker) heredocs(nodes []*parser.Node) error {
	for _, n := range nodes {
		for _, h := range n.Heredocs {
			if err := c.lines([]byte(h.Content), newVars(nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// lines checks what can be parsed of a piece of a Dockerfile.
func (c *checker) lines(text []byte, v *vars) error {
	p, err := parser.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil // not instructions
	}
	quiet := c.found.quiet
	c.found.quiet = true
	defer func() { c.found.quiet = quiet }()
	for _, n := range p.AST.Children {
		cmd, err := instructions.ParseInstructionWithLinter(n, lint())
		if err != nil {
			continue
		}
		if cmd, ok := cmd.(instructions.Command); ok {
			if err := c.command(cmd, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// tags refuses a build that would replace one of its own bases, and names that
// may not be pushed.
func (c *checker) tags() error {
	for _, tag := range c.build.Tags {
		if slices.ContainsFunc(c.bases, func(base string) bool { return imagename.Full(base) == imagename.Full(tag) }) {
			return jobs.Fail(jobs.KindTagIsBase, nil, "give the image another tag", "the tag %q is also an image that %s builds on", jobs.Clip(tag), c.name)
		}
	}
	return c.rules.Pushes(c.build)
}
