package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// refusal is why a registry did not do as it was asked, as far as that is known.
// The zero value is no refusal.
type refusal struct {
	// status is that of the registry's answer, 0 when it is not known.
	status int
	// code is the registry's own, such as DENIED, "" when it gave none.
	code string
	// words are the registry's own, or else the daemon's.
	words string
	// after is how long the registry wants to be left alone.
	after time.Duration
	// broken says that no answer of a registry came: nothing answered, the
	// connection broke, or what came is a page of some proxy.
	broken bool
	// hangs says that this process, which asked it as well, got no answer in time.
	hangs bool
	// done says that the registry did it when it was asked once more.
	done bool
}

// verdict is what follows from a refusal.
type verdict int

const (
	unclear verdict = iota // nothing is known but that it did not work
	passing                // it may work in a while
	denied                 // credentials or rights are missing
	missing                // there is no such thing
	final                  // it does not work, however often it is tried
)

// verdict judges by status, then by the registry's code.
func (r refusal) verdict() verdict {
	switch {
	case r.broken:
		return passing
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
		return denied
	case r.status == http.StatusNotFound:
		return missing
	case r.status >= 500, r.status == http.StatusTooManyRequests, r.status == http.StatusRequestTimeout,
		r.status == http.StatusTooEarly, r.status == http.StatusMisdirectedRequest:
		return passing
	case r.status >= 400:
		return final
	}
	switch r.code {
	case "":
		return unclear
	case "TOOMANYREQUESTS", "UNAVAILABLE":
		return passing
	case "UNAUTHORIZED", "DENIED":
		return denied
	case "MANIFEST_UNKNOWN", "NAME_UNKNOWN":
		return missing
	default:
		return final
	}
}

// String says what came, for a message.
func (r refusal) String() string {
	switch {
	case r.status != 0:
		return strings.TrimSpace(fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)))
	default:
		return r.code
	}
}

var (
	// A status in the daemon's words: "503 Service Unavailable", "HTTP 413",
	// "status code 401", and a proxy's page that the daemon quotes.
	reasonPattern = regexp.MustCompile(`\b([1-5]\d\d) ([A-Z][A-Za-z'-]*(?: [A-Z][A-Za-z'-]*)*)`)
	statusPattern = regexp.MustCompile(`(?i)\b(?:status(?: code)?|http(?: status)?)[ :=]+([1-5]\d\d)\b`)
	// What the specification of registries calls an error, as the daemon spells
	// it.
	codePattern = regexp.MustCompile(`(?i)(?:^|[:"] *)(toomanyrequests|unavailable|denied|unauthorized|unsupported|manifest unknown|manifest invalid|` +
		`name unknown|name invalid|tag invalid|blob unknown|unknown blob|size invalid|digest invalid)(?:[":]| *$)`)
	// What the daemon says itself when it has no login, or registries of a wrong one.
	loginPattern = regexp.MustCompile(`(?i)no basic auth credentials|authentication required|incorrect username or password|access (?:to the resource is denied|forbidden)`)
	// What the network says, in the words of Go's standard library.
	brokenPattern = regexp.MustCompile(`(?i)no such host|connection (?:refused|reset)|i/o timeout|network is unreachable|no route to host|host is down|` +
		`TLS handshake|tls: |x509: |server misbehaving|name resolution|Client\.Timeout|deadline exceeded|unexpected EOF|\bEOF\b|broken pipe|` +
		`HTTP response to HTTPS client|malformed HTTP|no Host in request URL`)
	// An answer that is none of a registry's: a login page, mostly.
	pagePattern = regexp.MustCompile(`(?i)text/html|<html|invalid character '<'|unable to decode token response|unsupported manifest media type|` +
		`invalid content digest in response|verification failed for digest|invalid checksum digest format|short read`)
	// What the containerd libraries say of a name that a registry does not have; more
	// than a name before it is another trouble.
	notFoundPattern = regexp.MustCompile(`(?i)(?:\bnot found|no match for platform in manifest(?:[^:]*)): not found$|: \S+: not found$|^\S+: not found$`)
	// Words of registries whose status the daemon does not hand on.
	passingPattern = regexp.MustCompile(`(?i)too ?many ?requests|rate (?:limit|exceeded)|pull rate|throttl|slow down|try again|temporar|unavailable|time(?:d)? ?out|` +
		`\binternal\b|unknown error|bad gateway|overload`)
)

// readRefusal finds what a registry said in the words of the daemon, which are
// all that it hands on.
func readRefusal(text string) refusal {
	r := refusal{words: text}
	for _, found := range reasonPattern.FindAllStringSubmatch(text, -1) { // the last is the innermost
		if n, _ := strconv.Atoi(found[1]); n >= 300 && strings.HasPrefix(strings.ToLower(found[2]), strings.ToLower(firstWord(http.StatusText(n)))) {
			r.status = n
		}
	}
	if found := statusPattern.FindStringSubmatch(text); r.status == 0 && found != nil {
		if n, _ := strconv.Atoi(found[1]); n >= 300 {
			r.status = n
		}
	}
	if found := codePattern.FindStringSubmatch(text); found != nil {
		r.code = strings.ToUpper(strings.ReplaceAll(found[1], " ", "_"))
	}
	if r.status == 0 && r.code == "" && loginPattern.MatchString(text) {
		r.code = "UNAUTHORIZED"
	}
	if r.status == 0 && r.code == "" {
		r.broken = brokenPattern.MatchString(text) || pagePattern.MatchString(text)
	}
	return r
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return cmp.Or(word, "-")
}

// refusalOf finds out why a registry did not do what the daemon asked it for. ask
// asks it once more.
func (e *Engine) refusalOf(ctx context.Context, ref string, err error, ask func(context.Context, string) refusal) refusal {
	said := readRefusal(err.Error())
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	asked := ask(asking, ref)
	switch {
	case asked.hangs && (said.verdict() == unclear || said.status == 0 && said.code == "UNAUTHORIZED"):
		// Version 20.10 says so of a token server that does not answer, too.
		return refusal{broken: true, words: said.words}
	case asked.status != 0: // the registry's own word
		asked.words = cmp.Or(asked.words, said.words)
		return asked
	case asked.done && said.status == 0 && said.verdict() != final && said.verdict() != passing:
		// Nothing is wrong with the name or the rights; that it was unwell a
		// moment ago is all that is left.
		said.broken = true
	case said.verdict() != unclear:
	case notFoundPattern.MatchString(strings.TrimSpace(said.words)):
		said.status = http.StatusNotFound
	case errdefs.IsNotFound(err):
		said.status = http.StatusNotFound
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		said.status = http.StatusForbidden
	case errdefs.IsInvalidArgument(err):
		said.status = http.StatusBadRequest
	}
	return said
}

// hangTime is how long a registry for which a job waited until its time was over has to
// answer.
const hangTime = 5 * time.Second

// hung explains the end of ctx while the daemon waited for an image: a registry that does
// not answer this process either had all of the time. Whatever else ended ctx is told as
// it is.
func (e *Engine) hung(ctx context.Context, ref string) error {
	var over interface{ Timeout() bool }
	if !errors.As(context.Cause(ctx), &over) || !over.Timeout() {
		return ctx.Err()
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangTime)
	defer cancel()
	r := e.askPull(asking, ref)
	if r.hangs {
		r = refusal{broken: true, words: fmt.Sprintf("nothing came until the time was over, and nothing within %s afterwards", hangTime)}
	}
	if r.verdict() != passing {
		return ctx.Err()
	}
	return r.unavailable(ref, ctx.Err())
}

// unavailable is the failure of a registry that may be well again in a while.
func (r refusal) unavailable(ref string, err error) *jobs.Failure {
	what := fmt.Sprintf("registry %s answered %s when it was asked for %s", registryOf(ref), r, ref)
	switch {
	case r.broken:
		what = fmt.Sprintf("no answer of a registry came from %s when it was asked for %s", registryOf(ref), ref)
	case r.status == 0 && r.code == "":
		what = fmt.Sprintf("registry %s did not do what it was asked for with %s, and the engine does not tell why", registryOf(ref), ref)
	}
	f := jobs.Fail(jobs.KindRegistryUnavailable, err, hintRetry, "%s", what)
	f.After = min(r.after, maxAfter)
	return f.Said(public(r.words))
}

// refused is the failure of a registry that will not do it.
func (r refusal) refused(ref string, err error) *jobs.Failure {
	if r.verdict() == denied {
		return jobs.Fail(jobs.KindRegistryDenied, err, hintRegistry, "registry %s denied access to %s", registryOf(ref), ref).Said(public(r.words))
	}
	what := fmt.Sprintf("registry %s refused %s", registryOf(ref), ref)
	if r.status != 0 || r.code != "" {
		what += " (" + r.String() + ")"
	}
	return jobs.Fail(jobs.KindRegistryRefused, err, "read the registry's words; trying again does not help", "%s", what).Said(public(r.words))
}
