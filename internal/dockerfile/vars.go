package dockerfile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// What a variable holds is known here as far as the Dockerfile and the job say
// it. The rest comes with the build: the environment of base images, the
// platform, and details in which the frontends differ. A value that depends on
// any of that is unsure, and a word that has one is judged by what it may become.

// value is what a variable holds.
type value struct {
	text string
	// unsure is true when a build may know better.
	unsure bool
	// platform is an argument that the builder sets, to a short word.
	platform bool
	// arg is a build argument, which stages that stand on this one do not have.
	arg bool
}

// vars are the variables of a stage, on top of those of the stage it is built
// on. A stage keeps only what it adds: there may be thousands of either.
type vars struct {
	own map[string]value
	up  *vars
}

func newVars(up *vars) *vars { return &vars{own: map[string]value{}, up: up} }

func (v *vars) get(name string) (value, bool) {
	for here := v; here != nil; here = here.up {
		if found, ok := here.own[name]; ok && (here == v || !found.arg) {
			return found, true
		}
	}
	return value{}, false
}

// set gives a variable its value. The environment wins over an argument; that one
// which comes after it says otherwise is doubtful at least.
func (v *vars) set(name string, n value) {
	if old, ok := v.get(name); ok && n.arg && !old.arg && old.text != n.text {
		n.unsure = true
	}
	v.own[name] = n
}

// budget is a shell.EnvGetter that gives out so many bytes for one word and
// nothing after that: variables that contain each other twice grow without end.
type budget struct {
	*vars
	left int
	cut  bool
}

// The most that variables may add, in bytes: to one word, and to all of a
// Dockerfile.
const (
	maxWord  = 4 << 10
	maxWords = 8 << 20
)

// Get implements shell.EnvGetter.
func (b *budget) Get(name string) (string, bool) {
	found, ok := b.get(name)
	text := found.text[:min(len(found.text), b.left)]
	b.cut = b.cut || len(text) < len(found.text)
	b.left -= len(text)
	return text, ok
}

// Keys implements shell.EnvGetter; it is asked for suggestions only.
func (*budget) Keys() []string { return nil }

// word is a piece of an instruction with its variables replaced.
type word struct {
	raw, text string
	unsure    bool
}

// isFile reports whether the word names a file whatever its variables are: a
// part of the path stands before them, and nothing that could begin a URL.
func (w word) isFile() bool {
	first, _, ok := strings.Cut(w.raw, "/")
	return ok && !strings.ContainsAny(first, "$:@")
}

// hasHost reports whether the word is a URL whose host stands before all
// variables.
func (w word) hasHost() bool {
	fixed, _, _ := strings.Cut(w.raw, "$")
	return hostPattern.MatchString(fixed)
}

var hostPattern = regexp.MustCompile(`^[a-z]+://[\w.-]+(:\d+)?/`)

// expand replaces variables; one that is not set is empty, as in a build.
func (c *checker) expand(raw string, v *vars) word {
	b := budget{vars: v, left: min(maxWord, c.left)}
	before := b.left
	out, err := c.lex.ProcessWordWithMatches(raw, &b)
	c.left -= before - b.left
	w := word{raw: raw, text: out.Result, unsure: b.cut || len(out.Unmatched) > 0 || c.wild && strings.Contains(raw, "$")}
	if err != nil {
		return word{raw: raw, text: raw, unsure: true}
	}
	for name := range out.Matched {
		found, _ := v.get(name)
		if found.unsure || found.platform && !plain(raw, name) {
			w.unsure = true
		}
	}
	return w
}

// plain reports whether a word has a variable as it is only, without cutting or
// replacing anything in it.
func plain(raw, name string) bool {
	uses := regexp.MustCompile(`\$(\{?)`+regexp.QuoteMeta(name)+`\b(\}?)`).FindAllStringSubmatch(raw, -1)
	return len(uses) > 0 && strings.Count(raw, name) == len(uses) && !slices.ContainsFunc(uses, func(u []string) bool { return (u[1] == "{") != (u[2] == "}") })
}

// platformArgs are the arguments that a builder knows by itself.
func platformArgs() []string {
	var all []string
	for _, of := range []string{"TARGET", "BUILD"} {
		for _, what := range []string{"PLATFORM", "OS", "ARCH", "VARIANT"} {
			all = append(all, of+what)
		}
	}
	return all
}

// meta takes the arguments before the first FROM.
func (c *checker) meta(args []instructions.ArgCommand) {
	c.global = newVars(nil)
	for _, name := range platformArgs() {
		c.global.own[name] = value{text: "linux", platform: true, arg: true}
	}
	for _, a := range args {
		c.arg(a, c.global, c.global)
	}
}

// arg declares build arguments: the job's value wins over the default, a global
// argument of the same name serves as one.
func (c *checker) arg(a instructions.ArgCommand, v, global *vars) {
	var before together
	for _, kv := range a.Args {
		n := value{arg: true}
		given, ok := c.build.Args[kv.Key]
		inherited, has := global.get(kv.Key)
		switch {
		case ok:
			n.text = given
		case kv.Value != nil:
			w := c.expand(*kv.Value, v)
			n.text, n.unsure = w.text, w.unsure || before.touches(*kv.Value)
			if has && inherited.platform { // the builder's or this one
				n.platform, n.unsure = true, n.unsure || !harmless.MatchString(n.text)
			}
		case has:
			n = inherited
		default:
			continue
		}
		before.add(kv.Key, c)
		v.set(kv.Key, n)
	}
}

// harmless is what cannot make a URL of anything.
var harmless = regexp.MustCompile(`^[\w./-]*$`)

// env sets variables of the environment.
func (c *checker) env(pairs instructions.KeyValuePairs, v *vars) {
	var before together
	for _, kv := range pairs {
		w := c.expand(kv.Value, v)
		n := value{text: w.text, unsure: w.unsure || before.touches(kv.Value)}
		before.add(kv.Key, c)
		v.set(kv.Key, n)
	}
}

// together are the names that one instruction has set so far: frontends do not
// agree on whether the rest of it sees them.
type together []string

func (t *together) add(name string, c *checker) {
	c.wild = c.wild || strings.Contains(name, "$")
	*t = append(*t, name)
}

func (t *together) touches(raw string) bool {
	return strings.Contains(raw, "$") && slices.ContainsFunc(*t, func(name string) bool { return strings.Contains(raw, name) })
}
