// Package policy reads what the operator of a worker allows: a YAML file with a
// default for everything in it. The worker's wiring turns it into the options
// of the packages that hold to it.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Policy is the whole file. The zero value of a list allows nothing where the
// list opens something, and everything where it narrows something; each says
// which.
type Policy struct {
	// Version of this file, 1.
	Version    int        `yaml:"version"`
	Context    Context    `yaml:"context"`
	Dockerfile Dockerfile `yaml:"dockerfile"`
	Images     Images     `yaml:"images"`
	Run        Run        `yaml:"run"`
	Ports      Ports      `yaml:"ports"`
	Webhooks   Webhooks   `yaml:"webhooks"`
	// Tenants are left out as a whole where all may do the same: an empty list in
	// them is not what no list is.
	Tenants Tenants `yaml:"tenants,omitzero"`
}

// Context is about where contexts come from and how large they may be.
type Context struct {
	// Schemes that a reference may have.
	Schemes []string `yaml:"schemes"`
	// RequireDigest refuses references that are announced without a digest.
	RequireDigest bool  `yaml:"require_digest"`
	MaxCompressed Size  `yaml:"max_compressed"`
	MaxUnpacked   Size  `yaml:"max_unpacked"`
	MaxEntries    Count `yaml:"max_entries"`
	MaxRatio      Count `yaml:"max_ratio"`
	MaxDepth      Count `yaml:"max_depth"`
	MaxName       Count `yaml:"max_name"`
	// KeepSetID leaves setuid, setgid and sticky bits as they are.
	KeepSetID bool `yaml:"keep_setid"`
	// StallTimeout ends a transfer of which nothing comes for this long; it is
	// then resumed.
	StallTimeout Duration `yaml:"stall_timeout"`
	// FileRoots are folders that file:// contexts may come from; none opens
	// none.
	FileRoots []string `yaml:"file_roots"`
	HTTP      HTTP     `yaml:"http"`
	// S3 are the buckets that s3:// contexts may come from; none opens none.
	S3 []Bucket `yaml:"s3"`
}

// HTTP is about https:// and http:// contexts.
type HTTP struct {
	// Hosts that contexts may come from, with * for any characters; none means
	// all that have a public address.
	Hosts []string `yaml:"hosts"`
	// Networks are address ranges that are allowed although they are not
	// public, such as 10.1.2.0/24.
	Networks []string `yaml:"networks"`
	// Credentials that jobs may name.
	Credentials map[string]Credential `yaml:"credentials"`
}

// Credential is sent to some hosts. Exactly one of its files is given; each
// holds one line.
type Credential struct {
	// Hosts it is for, without patterns, with a port such as host:8443 unless it
	// is 443; it is sent to no other.
	Hosts []string `yaml:"hosts"`
	// BearerFile holds a token, BasicFile user:password.
	BearerFile string `yaml:"bearer_file"`
	BasicFile  string `yaml:"basic_file"`
}

// Bucket is one or more buckets behind one endpoint.
type Bucket struct {
	// Buckets by name, with * for any characters.
	Buckets []string `yaml:"buckets"`
	// Endpoint is a URL; "" is that of Amazon.
	Endpoint string `yaml:"endpoint"`
	Region   string `yaml:"region"`
	// AccessKeyFile and SecretKeyFile hold one line each; without them the usual
	// environment of S3 clients is asked.
	AccessKeyFile string `yaml:"access_key_file"`
	SecretKeyFile string `yaml:"secret_key_file"`
}

// Dockerfile is about what a build may ask for.
type Dockerfile struct {
	// Frontends that a # syntax= line may name, with * for any characters.
	Frontends []string `yaml:"frontends"`
	// AddHosts that ADD may fetch from; none opens none.
	AddHosts []string `yaml:"add_hosts"`
	// BuildkitArgs are the BUILDKIT_ build arguments that a job may set.
	BuildkitArgs []string `yaml:"buildkit_args"`
	// CacheMounts says who shares what RUN --mount=type=cache keeps: jobs of one
	// "recipe" (jobs without a name: of one queue), of one "queue", or of the whole
	// "farm".
	CacheMounts string `yaml:"cache_mounts"`
}

// Images is about images that jobs use and push.
type Images struct {
	// From are images that builds and runs may use, with * for any characters;
	// none means all.
	From []string `yaml:"from"`
	// Push are names that may be pushed; none means all.
	Push []string `yaml:"push"`
	// Registries are opened besides public ones and those on the build host's
	// loopback, as package registries describes them: registry.lan:5000,
	// *.internal.example.com, or * for all.
	Registries []string `yaml:"registries"`
	// Tag are names that jobs may give to images on a build host; none means all.
	// A name that an image of the operator, of a registry or of another recipe has
	// there is given to no other, but for those in Replace.
	Tag     []string `yaml:"tag"`
	Replace []string `yaml:"replace"`
	// Pull is "missing" or "always": always asks the registry for newer bases,
	// whatever the job says.
	Pull string `yaml:"pull"`
}

// Run is about how much a run may ask for.
type Run struct {
	// Pids is the highest number of processes.
	Pids Bound `yaml:"pids"`
	// Disk is the highest amount that a container may write to the host's disk, 0 for
	// any.
	Disk Size `yaml:"disk"`
	// Ulimits are the highest hard limits by name. Those that are not named have no
	// bound but for nice and rtprio: with these a job takes the CPUs from its
	// neighbours.
	Ulimits map[string]Bound `yaml:"ulimits"`
}

// Ulimit is the highest hard limit that a run may ask for.
func (r Run) Ulimit(name string) int64 {
	highest, ok := r.Ulimits[name]
	if !ok {
		highest, ok = Defaults().Run.Ulimits[name]
	}
	if !ok {
		return jobs.Unlimited
	}
	return int64(highest)
}

// Defaults is the policy of an operator who chose nothing.
func Defaults() Policy {
	limits, rules := contexts.Defaults(), dockerfile.Defaults()
	return Policy{
		Version: 1,
		Context: Context{
			Schemes:       []string{"cas", "file", "https", "s3"},
			MaxCompressed: Size(limits.Compressed), MaxUnpacked: Size(limits.Size), MaxEntries: Count(limits.Entries),
			MaxRatio: Count(limits.Ratio), MaxDepth: Count(limits.Depth), MaxName: Count(limits.Name),
			StallTimeout: Duration(30 * time.Second),
		},
		Dockerfile: Dockerfile{Frontends: rules.Frontends, BuildkitArgs: rules.BuildArgs, CacheMounts: "recipe"},
		Images:     Images{Pull: "missing"},
		Run:        Run{Pids: jobs.Unlimited, Ulimits: map[string]Bound{"nice": 0, "rtprio": 0}},
		Ports:      Ports{Host: []PortRange{{1024, maxPort}}},
		Webhooks:   Webhooks{Schemes: []string{"https"}},
	}
}

// Load reads a file over the defaults; "" is the defaults. Errors name the line.
func Load(file string) (Policy, error) {
	if file == "" {
		return Defaults(), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	p, err := Parse(text)
	if err != nil {
		return Policy{}, fmt.Errorf("policy %s: %w", file, err)
	}
	return p, nil
}

// Parse reads a policy over the defaults.
func Parse(text []byte) (Policy, error) {
	p := Defaults()
	p.Version = 0
	file := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	switch err := file.Decode(&p); {
	case errors.Is(err, io.EOF):
		return Policy{}, errors.New(`it is empty; write at least "version: 1"`)
	case err != nil:
		return Policy{}, errors.New(oneLine(err))
	}
	if err := checkTenantsGiven(text); err != nil {
		return Policy{}, errors.New(oneLine(err))
	}
	if err := file.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return Policy{}, errors.New("there is more than one document in it")
	}
	if err := p.check(); err != nil {
		return Policy{}, errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return p, nil
}

// String is the policy as a file.
func (p Policy) String() string {
	text, err := yaml.Marshal(p)
	if err != nil { // every field can be marshalled
		panic(fmt.Sprintf("marshal policy: %v", err))
	}
	return string(text)
}

// Schemes are the schemes of context references that a policy can allow: the one
// list of them, which the sources in the worker's wiring have to serve.
func Schemes() []string { return []string{"cas", "file", "http", "https", "s3"} }

// check finds what cannot be meant.
func (p Policy) check() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Version != 1 {
		add("version: found %d; want 1", p.Version)
	}
	c := p.Context
	for _, s := range c.Schemes {
		if !slices.Contains(Schemes(), s) {
			add("context.schemes: unknown scheme %q: want %s", s, jobs.Either(Schemes()))
		}
	}
	for _, limit := range []struct {
		name string
		n    int64
	}{
		{"max_compressed", int64(c.MaxCompressed)},
		{"max_unpacked", int64(c.MaxUnpacked)},
		{"max_entries", int64(c.MaxEntries)},
		{"max_ratio", int64(c.MaxRatio)},
		{"max_depth", int64(c.MaxDepth)},
		{"max_name", int64(c.MaxName)},
		{"stall_timeout", int64(c.StallTimeout)},
	} {
		if limit.n <= 0 {
			add("context.%s: want more than 0", limit.name)
		}
	}
	hosts := map[string][]string{"context.http.hosts": c.HTTP.Hosts, "dockerfile.add_hosts": p.Dockerfile.AddHosts}
	for name, cred := range c.HTTP.Credentials {
		hosts["context.http.credentials."+name+".hosts"] = cred.Hosts
	}
	for _, where := range slices.Sorted(maps.Keys(hosts)) {
		for _, h := range hosts[where] {
			if h == "" || strings.ContainsAny(h, "/@ ") {
				add("%s: found %q; want the name of a host, without scheme and path", where, h)
			}
		}
	}
	for _, r := range c.FileRoots {
		if !filepath.IsAbs(r) {
			add("context.file_roots: %q is not an absolute path", r)
		}
	}
	for _, n := range c.HTTP.Networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			add("context.http.networks: found %q; want an address range such as 10.1.2.0/24", n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.HTTP.Credentials)) {
		cred := c.HTTP.Credentials[name]
		if len(cred.Hosts) == 0 || (cred.BearerFile == "") == (cred.BasicFile == "") {
			add("context.http.credentials.%s: want hosts, and either bearer_file or basic_file", name)
		}
	}
	for i, b := range c.S3 {
		if len(b.Buckets) == 0 || (b.AccessKeyFile == "") != (b.SecretKeyFile == "") {
			add("context.s3[%d]: want buckets, and both access_key_file and secret_key_file or neither", i)
		}
		if u, err := url.Parse(b.Endpoint); b.Endpoint != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "") {
			add("context.s3[%d].endpoint: found %q; want a URL such as https://s3.example.com", i, b.Endpoint)
		}
	}
	for _, r := range p.Images.Registries {
		if !registryPattern.MatchString(r) {
			add("images.registries: found %q; want a registry as images name it, such as registry.lan:5000 or *.internal.example.com:*, without scheme and path", r)
		}
	}
	if p.Images.Pull != "missing" && p.Images.Pull != "always" {
		add("images.pull: unknown rule %q: want missing or always", p.Images.Pull)
	}
	if !slices.Contains([]string{"recipe", "queue", "farm"}, p.Dockerfile.CacheMounts) {
		add("dockerfile.cache_mounts: unknown scope %q: want recipe, queue or farm", p.Dockerfile.CacheMounts)
	}
	p.Webhooks.check(add)
	if p.Run.Pids == 0 {
		add("run.pids: want more than 0, or -1 for any number")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Run.Ulimits)) {
		if !slices.Contains(jobs.UlimitNames(), name) {
			add("run.ulimits: unknown ulimit %q: want %s", name, jobs.Either(jobs.UlimitNames()))
		}
	}
	return errors.Join(errs...)
}

// registryPattern is a host, or a domain of hosts, with its port, any port, or none;
// or * alone. A * elsewhere would take in more than it looks like: 10.1.* is
// also 10.1.example.com.
var registryPattern = regexp.MustCompile(`^(?:\*|(?:\*\.)?[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::(?:\d+|\*))?|\[[0-9a-fA-F:]+\](?::(?:\d+|\*))?)$`)

// CacheSpace tells the cache mounts of a job from those of jobs that it shares none
// with; it is the same for jobs that do.
func (p Policy) CacheSpace(job jobs.Spec) string {
	switch {
	case p.Dockerfile.CacheMounts == "farm":
		return ""
	case p.Dockerfile.CacheMounts == "recipe" && job.Name != "":
		return "recipe " + job.Name
	default:
		return "queue " + job.Queue
	}
}

// Limits are those of contexts.
func (c Context) Limits() contexts.Limits {
	return contexts.Limits{
		Compressed: int64(c.MaxCompressed), Size: int64(c.MaxUnpacked), Entries: int(c.MaxEntries), Ratio: int64(c.MaxRatio),
		Depth: int(c.MaxDepth), Name: int(c.MaxName), SetID: c.KeepSetID,
	}
}

// Rules are those of Dockerfiles.
func (p Policy) Rules() dockerfile.Rules {
	return dockerfile.Rules{
		Frontends: p.Dockerfile.Frontends, AddHosts: p.Dockerfile.AddHosts, Images: p.Images.From,
		BuildArgs: p.Dockerfile.BuildkitArgs, Push: p.Images.Push, AnyRegistry: slices.Contains(p.Images.Registries, "*"),
	}
}
