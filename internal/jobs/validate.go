package jobs

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of the job document. The operator's policy may be stricter.
const (
	MaxTimeout      = 24 * time.Hour
	MaxQueueTimeout = 7 * 24 * time.Hour
	MaxKeep         = 7 * 24 * time.Hour
	MaxRetries      = 10
	MinMemory       = Bytes(6 << 20) // the engine's own minimum
	maxVars         = 128
	maxEnvBytes     = 32 << 10
	maxLabels       = 32
	maxList         = 64
	maxArgBytes     = 128 << 10
	// maxImageLabelBytes keeps a build request within the megabyte that the engine
	// reads of one: labels travel in its URL, where a byte can take eight, beside
	// the build arguments.
	maxImageLabelBytes = 64 << 10
	maxImageLabels     = 128
	maxImageLabelKey   = 255
	maxLabelBytes      = 256
	maxImageName       = 255 // of the engine, with the registry and without the tag
	maxPath            = 4095
	maxPathPart        = 255
	maxUserID          = 1<<31 - 1
)

var (
	namePattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	idPattern       = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	queuePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	labelKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,62}[A-Za-z0-9])?$`)
	envPattern      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$`)
	secretPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	schemePattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)
	userPattern     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$`)
	// imagePattern is the grammar of github.com/distribution/reference:
	// [host[:port]/]path[:tag][@digest].
	imagePattern = regexp.MustCompile(`^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?` +
		`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
		`(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)
	hexID        = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
	contextKinds = []string{"cas", "file", "http", "https", "s3"}
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
	p.match(namePattern, "name_invalid", "/name", s.Name, "lower-case letters, digits and . _ -, at most 64")
	p.match(queuePattern, "queue_invalid", "/queue", s.Queue, "lower-case letters, digits and -, at most 32")
	if s.Priority != "" && !slices.Contains(Priorities(), s.Priority) {
		p.add("priority_invalid", "/priority", "found %q; known are high, normal and low", clip(string(s.Priority)))
	}
	p.labels("/labels", s.Labels)
	if len(s.IdempotencyKey) > 255 || !utf8.ValidString(s.IdempotencyKey) {
		p.add("idempotency_key_invalid", "/idempotency_key", "want at most 255 bytes of text")
	}
	if s.Retries < 0 || s.Retries > MaxRetries {
		p.add("retries_invalid", "/retries", "found %d; the limit is 0 to %d", s.Retries, MaxRetries)
	}
	if r := s.Requires; r != nil {
		p.match(platformPattern, "platform_invalid", "/requires/platform", r.Platform, "os/arch or os/arch/variant, such as linux/amd64")
		p.labels("/requires/labels", r.Labels)
	}
	p.timeouts(s.Timeouts)
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
		p.add(code, ptr, "found %q; want %s", clip(v), want)
	}
}

func (p *problems) duration(code, ptr string, d Duration, limit time.Duration) {
	if d != 0 && (d.D() < time.Second || d.D() > limit) {
		p.add(code, ptr, "found %s; the limit is 1s to %s (leave it out for the operator's default)", d, Duration(limit))
	}
}

func (p *problems) timeouts(t Timeouts) {
	p.duration("timeout_invalid", "/timeouts/queue", t.Queue, MaxQueueTimeout)
	p.duration("timeout_invalid", "/timeouts/fetch", t.Fetch, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/build", t.Build, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/push", t.Push, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/run", t.Run, MaxTimeout)
	p.duration("timeout_invalid", "/timeouts/idle", t.Idle, MaxTimeout)
}

func (p *problems) context(c Context) {
	p.match(digestPattern, "digest_invalid", "/context/digest", c.Digest, "sha256: and 64 lower-case hex digits")
	if c.Size < 0 {
		p.add("context_size_invalid", "/context/size", "found %d; want 0 (unknown) or more", c.Size)
	}
	p.match(secretPattern, "credential_invalid", "/context/credential", c.Credential, "letters, digits and . _ -, at most 64")
	scheme, rest, named := strings.Cut(c.Ref, ":")
	if c.Credential != "" && scheme != "https" {
		p.add("credential_unused", "/context/credential", "a credential goes with an https: reference")
	}
	if named && schemePattern.MatchString(scheme) && !slices.Contains(contextKinds, scheme) {
		p.add("url_scheme_not_allowed", "/context/ref", "found %q; known are %s", clip(scheme), strings.Join(contextKinds, ", "))
		return
	}
	if !slices.Contains(contextKinds, scheme) || rest == "" || len(c.Ref) > 4096 {
		p.add("context_ref_invalid", "/context/ref", "found %q; want cas:sha256:..., file:///path, https://... or s3://bucket/key", clip(c.Ref))
		return
	}
	if scheme == "cas" {
		if !IsDigest(rest) {
			p.add("context_ref_invalid", "/context/ref", "found %q; want cas:sha256: and 64 lower-case hex digits", clip(c.Ref))
		} else if c.Digest != "" && c.Digest != rest {
			p.add("context_digest_conflict", "/context/digest", "the reference says %s and the digest %s", rest, c.Digest)
		}
		return
	}
	u, err := url.Parse(c.Ref)
	switch {
	case err != nil:
		p.add("context_ref_invalid", "/context/ref", "not a URL")
	case u.User != nil:
		p.add("url_userinfo", "/context/ref", "credentials do not belong in a reference; the operator gives them to the worker")
	case scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path) || u.RawQuery != ""):
		p.add("context_ref_invalid", "/context/ref", "found %q; want file:///absolute/path", clip(c.Ref))
	case scheme != "file" && u.Host == "":
		p.add("context_ref_invalid", "/context/ref", "the host or bucket is missing")
	case scheme == "s3":
		if _, _, err := c.Object(); err != nil {
			p.add("context_ref_invalid", "/context/ref", "no object in S3: %s", err)
		}
	}
}

func (p *problems) build(b Build) {
	f := b.Dockerfile
	if f != "" && (path.IsAbs(f) || f == ".." || strings.HasPrefix(path.Clean(f), "../") || strings.ContainsAny(f, "\x00\n") || path.Clean(f) == ".") {
		p.add("dockerfile_path_invalid", "/build/dockerfile", "found %q; want a path inside the context", clip(f))
	}
	p.match(platformPattern, "platform_invalid", "/build/platform", b.Platform, "os/arch or os/arch/variant, such as linux/amd64")
	p.match(secretPattern, "target_invalid", "/build/target", b.Target, "a stage name")
	p.vars("/build/args", "build_arg", b.Args)
	p.imageLabels("/build/labels", b.Labels)
	if b.Network != "" && b.Network != "default" && b.Network != "none" {
		p.add("network_invalid", "/build/network", "found %q; known are default and none", clip(b.Network))
	}
	p.count("/build/tags", len(b.Tags))
	for i, t := range b.Tags {
		at := fmt.Sprintf("/build/tags/%d", i)
		p.image(at, t)
		if strings.Contains(t, "@") {
			p.add("image_ref_invalid", at, "a tag cannot carry a digest")
		}
	}
	if b.Push && len(b.Tags) == 0 {
		p.add("push_without_tag", "/build/push", "nothing to push: give at least one tag")
	}
	p.count("/build/cache_from", len(b.CacheFrom))
	for i, c := range b.CacheFrom {
		p.image(fmt.Sprintf("/build/cache_from/%d", i), c)
	}
	p.count("/build/secrets", len(b.Secrets))
	for i, s := range b.Secrets {
		at := fmt.Sprintf("/build/secrets/%d", i)
		if s.ID == "" {
			p.add("secret_invalid", at+"/id", "the id is missing")
		}
		p.match(secretPattern, "secret_invalid", at+"/id", s.ID, "letters, digits and . _ -, at most 64")
		p.match(secretPattern, "secret_invalid", at+"/name", s.Name, "letters, digits and . _ -, at most 64")
	}
}

// vars checks environment variables and build arguments.
func (p *problems) vars(ptr, code string, vars map[string]string) {
	total := 0
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		at := ptr + "/" + escape(k)
		total += len(k) + len(vars[k])
		if !envPattern.MatchString(k) {
			p.add(code+"_name_invalid", at, "found name %q; want letters, digits and _, not starting with a digit", clip(k))
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

func (p *problems) run(r Run, built bool) {
	switch {
	case built && r.Image != "":
		p.add("run_image_conflict", "/run/image", "the built image is run; leave image out, or leave build out")
	case !built && r.Image == "":
		p.add("run_image_missing", "/run/image", "nothing is built, so an image is needed")
	case !built:
		p.image("/run/image", r.Image)
		if name, _, _ := strings.Cut(r.Image, ":"); name == "scratch" {
			p.add("image_ref_invalid", "/run/image", "scratch is the empty image that builds start from; it cannot be run")
		}
	}
	p.argv("/run/command", r.Command)
	p.argv("/run/entrypoint", r.Entrypoint)
	p.program(r)
	p.vars("/run/env", "env", r.Env)
	p.abspath("/run/workdir", r.Workdir)
	p.user(r.User)
	p.limits(r.Limits)
	p.ports(r)
	for _, k := range slices.Sorted(maps.Keys(r.Tmpfs)) {
		p.abspath("/run/tmpfs/"+escape(k), k)
		if k == "" || path.Clean(k) == "/" {
			p.add("tmpfs_invalid", "/run/tmpfs/"+escape(k), "want a path below /")
		}
		if r.Tmpfs[k] < 0 {
			p.add("tmpfs_invalid", "/run/tmpfs/"+escape(k), "the size is negative")
		}
	}
	p.count("/run/tmpfs", len(r.Tmpfs))
	p.mounts(r.Tmpfs)
	p.duration("stop_grace_invalid", "/run/stop_grace", r.StopGrace, 10*time.Minute)
	p.duration("keep_invalid", "/run/keep", r.Keep, MaxKeep)
	p.ready(r)
	p.count("/run/outputs", len(r.Outputs))
	for i, o := range r.Outputs {
		at := fmt.Sprintf("/run/outputs/%d", i)
		p.abspath(at, o)
		if o == "" || path.Clean(o) == "/" {
			p.add("output_invalid", at, "want a path below /")
		} else if why := EndsWithContainer(o, r.Tmpfs); why != "" {
			p.add("output_on_mount", at, "%s cannot be collected: %s; write it to another path", clip(o), why)
		}
	}
	if r.OutputsOn != "" && r.OutputsOn != OutputsAlways && r.OutputsOn != OutputsSuccess {
		p.add("outputs_on_invalid", "/run/outputs_on", "found %q; known are %s and %s", clip(r.OutputsOn), OutputsAlways, OutputsSuccess)
	}
	if r.Keep != 0 && len(r.Outputs) > 0 {
		p.add("outputs_with_keep", "/run/outputs", "outputs are collected from a stopped container; a kept service has none")
	}
}

func (p *problems) argv(ptr string, argv []string) {
	total := 0
	for i, a := range argv {
		total += len(a) + 1
		if strings.ContainsRune(a, 0) {
			p.add("command_invalid", fmt.Sprintf("%s/%d", ptr, i), "the argument has a NUL byte")
		}
	}
	if total > maxArgBytes {
		p.add("command_too_large", ptr, "%d bytes; the limit is %d", total, maxArgBytes)
	}
}

// program checks that there is something to run, as far as the document tells. An
// entrypoint of one empty text takes away that of the image, and its command too.
func (p *problems) program(r Run) {
	switch {
	case len(r.Entrypoint) == 0 || r.Entrypoint[0] != "":
	case len(r.Entrypoint) > 1:
		p.add("command_invalid", "/run/entrypoint/0", "the program's name is empty")
	case len(r.Command) == 0:
		p.add("command_missing", "/run/command", "an empty entrypoint takes away the image's command, too: give a command")
	case r.Command[0] == "":
		p.add("command_invalid", "/run/command/0", "the program's name is empty")
	}
}

func (p *problems) user(v string) {
	p.match(userPattern, "user_invalid", "/run/user", v, "user or user:group, names or numbers")
	for part := range strings.SplitSeq(v, ":") {
		if digits := strings.TrimLeft(part, "0"); strings.Trim(digits, "0123456789") == "" && (len(digits) > 10 || number(digits) > maxUserID) {
			p.add("user_invalid", "/run/user", "found %q; numbers of users and groups go from 0 to %d", clip(v), maxUserID)
			return
		}
	}
}

// number is the value of at most ten digits, 0 for none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // ten digits always fit
	return n
}

// mounts refuses what the container's runtime would refuse to mount.
func (p *problems) mounts(tmpfs map[string]Bytes) {
	seen := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(tmpfs)) {
		at, clean := "/run/tmpfs/"+escape(k), path.Clean(k)
		if below(clean, "/proc") {
			p.add("tmpfs_invalid", at, "nothing can be mounted on /proc")
		}
		if other, twice := seen[clean]; twice {
			p.add("tmpfs_invalid", at, "%s is asked for twice, as %s and as %s", clean, other, k)
		}
		seen[clean] = k
	}
}

func (p *problems) abspath(ptr, v string) {
	if tooLong := slices.ContainsFunc(strings.Split(v, "/"), func(part string) bool { return len(part) > maxPathPart }); tooLong || len(v) > maxPath {
		p.add("path_invalid", ptr, "found %q with %d bytes; the limit is %d, and %d between two slashes", clip(v), len(v), maxPath, maxPathPart)
		return
	}
	if v != "" && (!path.IsAbs(v) || strings.ContainsAny(v, "\x00:") || slices.Contains(strings.Split(v, "/"), "..")) {
		p.add("path_invalid", ptr, "found %q; want an absolute path without .. and :", clip(v))
	}
}

func (p *problems) ports(r Run) {
	if r.Network != "" && r.Network != "none" && r.Network != "bridge" {
		p.add("network_invalid", "/run/network", "found %q; known are none and bridge", clip(r.Network))
	}
	if r.Network == "none" && len(r.Ports) > 0 {
		p.add("ports_without_network", "/run/ports", "ports need the network bridge, and network is none")
	}
	p.count("/run/ports", len(r.Ports))
	hosts := map[string]bool{}
	for i, port := range r.Ports {
		at := fmt.Sprintf("/run/ports/%d", i)
		if port.Container < 1 || port.Container > 65535 || port.Host < 0 || port.Host > 65535 {
			p.add("port_invalid", at, "found %d:%d; ports go from 1 to 65535 (host 0: any)", port.Host, port.Container)
		}
		if port.Protocol != "" && port.Protocol != "tcp" && port.Protocol != "udp" {
			p.add("port_invalid", at+"/protocol", "found %q; known are tcp and udp", clip(port.Protocol))
		}
		key := fmt.Sprintf("%d/%s", port.Host, port.Proto())
		if port.Host != 0 && hosts[key] {
			p.add("port_duplicate", at, "host port %s is asked for twice", key)
		}
		hosts[key] = true
	}
}

func (p *problems) ready(r Run) {
	if r.Ready == nil {
		return
	}
	if r.Keep == 0 {
		p.add("ready_without_keep", "/run/ready", "ready is for a service: say with keep how long it stays up")
	}
	if (r.Ready.HTTP == "") == !r.Ready.TCP {
		p.add("ready_invalid", "/run/ready", "give either http (a path) or tcp: true")
	}
	if r.Ready.HTTP != "" && (!strings.HasPrefix(r.Ready.HTTP, "/") || strings.ContainsAny(r.Ready.HTTP, "\r\n\x00 ")) {
		p.add("ready_invalid", "/run/ready/http", "found %q; want a path that starts with /", clip(r.Ready.HTTP))
	}
	if !slices.ContainsFunc(r.Ports, func(q Port) bool { return q.Container == r.Ready.Port && q.Proto() == "tcp" }) {
		p.add("ready_invalid", "/run/ready/port", "found %d; want a tcp port of /run/ports", r.Ready.Port)
	}
	p.duration("timeout_invalid", "/run/ready/timeout", r.Ready.Timeout, MaxTimeout)
}

// Proto is the port's protocol, tcp unless said otherwise.
func (q Port) Proto() string {
	if q.Protocol == "" {
		return "tcp"
	}
	return q.Protocol
}
