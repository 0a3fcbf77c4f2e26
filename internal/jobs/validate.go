package jobs

import (
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits of the job document. The operator's policy may be stricter.
const (
	MaxRetries  = 10
	maxVars     = 128
	maxEnvBytes = 32 << 10
	maxList     = 64
	maxPath     = 4095
	maxPathPart = 255
)

var (
	namePattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	idPattern       = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	queuePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	envPattern      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$`)
)

// IsDigest reports whether s is sha256:<64 lower-case hex digits>.
func IsDigest(s string) bool { return digestPattern.MatchString(s) }

// IsID reports whether s may be a job's ID: [a-z0-9-], 1 to 64 bytes.
func IsID(s string) bool { return idPattern.MatchString(s) }

// IsQueue reports whether s may be the name of a queue.
func IsQueue(s string) bool { return queuePattern.MatchString(s) }

// IsName reports whether s may be a recipe's or a queue's name.
func IsName(s string) bool { return namePattern.MatchString(s) }

// Validate checks every field and reports all findings at once in an
// [*Invalid]; nil means that the farm can take the job.
func (s Spec) Validate() error {
	var p problems
	if s.Version < 0 || s.Version > SpecVersion {
		p.add("spec_version_unsupported", "/spec_version", "found %d; this build understands up to %d", s.Version, SpecVersion)
	}
	p.text("", reflect.ValueOf(s))
	p.match(namePattern, "name_invalid", "/name", s.Name, "lower-case letters, digits and . _ -, at most 64")
	p.match(namePattern, "tenant_invalid", "/tenant", s.Tenant, "lower-case letters, digits and . _ -, at most 64")
	p.match(queuePattern, "queue_invalid", "/queue", s.Queue, "lower-case letters, digits and -, at most 32")
	p.priority(s.Priority)
	p.labels("/labels", s.Labels)
	if len(s.IdempotencyKey) > 255 {
		p.add("idempotency_key_invalid", "/idempotency_key", "want at most 255 bytes")
	}
	if s.Retries < 0 || s.Retries > MaxRetries {
		p.add("retries_invalid", "/retries", "found %d; the limit is 0 to %d", s.Retries, MaxRetries)
	}
	if s.Concurrency != nil {
		p.concurrency(*s.Concurrency)
	}
	if s.Requires != nil {
		p.requires(*s.Requires)
	}
	p.timeouts(s.Timeouts)
	p.notifies(s.Notify)
	if s.Cause != nil {
		p.cause(*s.Cause)
	}
	switch {
	case s.Build == nil && s.Run == nil:
		p.add("spec_empty", "", "nothing to do: give build, run or both")
	case s.Build != nil && s.Context == nil:
		p.add("context_missing", "/context", "a build needs a context")
	case s.Build == nil && s.Context != nil:
		p.add("context_unused", "/context", "a context is for a build, and there is no build")
	}
	if s.Context != nil {
		p.context(*s.Context)
	}
	if s.Build != nil {
		p.build(*s.Build)
	}
	if s.Run != nil {
		p.run(*s.Run, s.Build != nil)
	}
	return p.err()
}

// match checks an optional text field.
func (p *problems) match(re *regexp.Regexp, code, ptr, v, want string) {
	if v != "" && !re.MatchString(v) {
		p.add(code, ptr, "found %q; want %s", Clip(v), want)
	}
}

// choice checks an optional text field that takes one of a few words.
func (p *problems) choice(code, ptr, what, v string, words ...string) {
	if v != "" && !slices.Contains(words, v) {
		p.add(code, ptr, "unknown %s %q: want %s", what, Clip(v), Either(words))
	}
}

func (p *problems) duration(code, ptr string, d Duration, limit time.Duration) {
	if d != 0 && (d.D() < time.Second || d.D() > limit) {
		p.add(code, ptr, "found %s; the limit is 1s to %s (leave it out for the operator's default)", d, Duration(limit))
	}
}

// vars checks environment variables and build arguments.
func (p *problems) vars(ptr, code string, vars map[string]string) {
	total := 0
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		at := ptr + "/" + escape(k)
		total += len(k) + len(vars[k])
		if !envPattern.MatchString(k) {
			p.add(code+"_name_invalid", at, "found name %q; want letters, digits and _, not starting with a digit", Clip(k))
		}
		if strings.HasPrefix(k, "SLIPWAY_") {
			p.add(code+"_reserved", at, "names that start with SLIPWAY_ are reserved")
		}
		if strings.ContainsRune(vars[k], 0) {
			p.add(code+"_value_invalid", at, "the value has a NUL byte")
		}
	}
	if len(vars) > maxVars || total > maxEnvBytes {
		p.add(code+"_too_large", ptr, "found %d with %d bytes; the limit is %d with %d bytes", len(vars), total, maxVars, maxEnvBytes)
	}
}

func (p *problems) count(ptr string, n int) {
	if n > maxList {
		p.add("list_too_long", ptr, "found %d entries; the limit is %d", n, maxList)
	}
}

func (p *problems) abspath(ptr, v string) {
	if tooLong := slices.ContainsFunc(strings.Split(v, "/"), func(part string) bool { return len(part) > maxPathPart }); tooLong || len(v) > maxPath {
		p.add("path_invalid", ptr, "found %q with %d bytes; the limit is %d, and %d between two slashes", Clip(v), len(v), maxPath, maxPathPart)
		return
	}
	if v != "" && (!path.IsAbs(v) || strings.ContainsAny(v, "\x00:") || slices.Contains(strings.Split(v, "/"), "..")) {
		p.add("path_invalid", ptr, "found %q; want an absolute path without .. and :", Clip(v))
	}
}
