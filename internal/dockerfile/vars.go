package dockerfile

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// What a variable holds is known here as far as the Dockerfile and the job say
// it. The rest comes with the build: the environment of base images, the
// platform, and details in which the frontends differ. A value that depends on
// any of that is unsure, and a word that has one is judged by what it may become.
//
// That a variable is set nowhere before the first FROM makes a value unsure, too,
// as every way to write the same should be refused where images are. What it comes
// to is no guess, however: such a variable is empty in all frontends.

// value is what a variable holds.
type value struct {
	text string
	// unsure is true when a build may know better; guess when it may even where a
	// variable that is not set is empty.
	unsure, guess bool
	// platform is an argument that the builder sets, to a short word, or made of one.
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
	// unsure, guess and platform are true when those of a variable in it are.
	unsure, guess, platform bool
	// slash is false when there is no / in it, whatever its variables are.
	slash bool
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
	if err != nil {
		return word{raw: raw, text: raw, unsure: true, guess: true, slash: true}
	}
	w := word{raw: raw, text: out.Result, guess: b.cut || c.wild && strings.Contains(raw, "$")}
	w.slash = w.guess || strings.Contains(raw, "/")
	w.unsure = w.guess || len(out.Unmatched) > 0
	for name := range out.Unmatched {
		// Inside of a stage a base may have it; frontends let a job set what they
		// know by themselves.
		if _, given := c.build.Args[name]; given || v != c.global {
			w.guess, w.slash = true, true
		}
	}
	for name := range out.Matched {
		found, _ := v.get(name)
		cut := found.platform && !plain(raw, name)
		w.unsure = w.unsure || found.unsure || cut
		w.guess = w.guess || found.guess || cut
		w.platform = w.platform || found.platform
		w.slash = w.slash || found.guess || strings.Contains(found.text, "/")
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

// platformWord stands for what a builder knows.
const platformWord = "linux"

// shortWord is what cannot be the host of a registry, nor a part of one's port.
var shortWord = regexp.MustCompile(`^[a-z0-9_/-]*$`)

// placeholders stand for what only the build knows of platforms.
func (c *checker) placeholders() map[string]string {
	all := map[string]string{}
	for _, name := range platformArgs() {
		text := platformWord
		if strings.HasSuffix(name, "PLATFORM") {
			text += "/" + platformWord
		}
		if strings.HasPrefix(name, "TARGET") && strings.Contains(c.build.Platform, ".") { // in its variant
			text = c.build.Platform
		}
		all[name] = text
	}
	return all
}

// meta takes the arguments before the first FROM, and those that the builder sets:
// platforms are its values of platformArgs, last is the name of the last stage.
func (c *checker) meta(args []instructions.ArgCommand, last string, platforms map[string]string) {
	c.global = newVars(nil)
	set := func(name, text string) {
		n := value{text: text, platform: true, arg: true}
		if given, ok := c.build.Args[name]; ok { // frontends take the job's
			n.text = given
			n.guess = !shortWord.MatchString(given)
		}
		n.unsure = n.guess
		c.global.own[name] = n
	}
	for name, text := range platforms {
		set(name, text)
	}
	set("TARGETSTAGE", cmp.Or(c.build.Target, last, "default"))
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
			n = c.valueOf(*kv.Value, v, before)
			n.arg = true
			if has && inherited.platform { // the builder's or this one
				n.platform = true
				n.guess = n.guess || !harmless.MatchString(n.text)
				n.unsure = n.unsure || n.guess
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

// valueOf is what an instruction sets a variable to.
func (c *checker) valueOf(raw string, v *vars, before together) value {
	w := c.expand(raw, v)
	split := before.touches(raw)
	return value{text: w.text, unsure: w.unsure || split, guess: w.guess || split, platform: w.platform}
}

// harmless is what cannot make a URL of anything.
var harmless = regexp.MustCompile(`^[\w./-]*$`)

// env sets variables of the environment.
func (c *checker) env(pairs instructions.KeyValuePairs, v *vars) {
	var before together
	for _, kv := range pairs {
		n := c.valueOf(kv.Value, v, before)
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

// sureRegistry reports whether it is certain which registry a base image is of,
// whatever a build knows better. It is the part before the first slash, if there
// is one.
func (c *checker) sureRegistry(base word) bool {
	if !base.guess && !base.platform {
		return true
	}
	if strings.ContainsAny(base.raw, "'\"\\`") {
		return false // frontends do not agree on what these do
	}
	raw, ok := hostPart(base.raw)
	if !ok {
		return !base.slash
	}
	host := c.expand(raw, c.global)
	if host.guess || !host.platform {
		return !host.guess
	}
	// A word of the builder's: with a dot or a port beside it, it would be a part of
	// a host's name, or nothing at all beside one.
	without := strings.ReplaceAll(strings.ReplaceAll(host.text, platformWord+"/", ""), platformWord, "")
	return shortWord.MatchString(host.text) && !strings.Contains(host.text, "localhost") && !strings.Contains(without, "localhost")
}

// hostPart is a word up to its first slash that is not inside of ${}.
func hostPart(raw string) (string, bool) {
	depth := 0
	for i := range len(raw) {
		switch {
		case strings.HasPrefix(raw[i:], "${"):
			depth++
		case raw[i] == '}' && depth > 0:
			depth--
		case raw[i] == '/' && depth == 0:
			return raw[:i+1], true
		}
	}
	return "", false
}
