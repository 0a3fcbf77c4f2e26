package importtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const module = "github.com/slipway-farm/slipway"

// layer orders packages: each imports only from lower layers, so that siblings
// never meet.
type layer int

const (
	published layer = iota // what strangers import: it needs nothing of the module
	language               // what all others speak
	seams                  // contracts with the outside
	reading                // what is made of several of them
	adapters               // one outside thing each: Redis, Docker, a kind of store
	flow                   // the order of steps
	operation              // what an operator sets and asks for
	programs
	examples // stand outside: they may use what a stranger may use
	support  // packages for tests only; they may import what they like
)

func (l layer) String() string {
	return [...]string{"published", "language", "seams", "reading", "adapters", "flow", "operation", "programs", "examples", "support"}[l]
}

// rule places packages in a layer. The first pattern that matches the path
// below the module counts.
type rule struct {
	pattern string
	layer   layer
	// modules lists the third-party modules that may be imported; any says that
	// all may.
	modules []string
}

var anyModule = []string{"any"}

func rules() []rule {
	return []rule{
		{"internal/*test", support, anyModule},
		{"internal/*/*test", support, anyModule},
		{"internal/e2e", support, anyModule},
		{"internal/bench", support, anyModule},
		{"internal/chaos", support, anyModule},
		{"internal/oracle", support, anyModule},
		{"internal/scale", support, anyModule},
		{"internal/simulation", support, anyModule},
		{"client", published, nil},
		{"examples", examples, anyModule},
		{"examples/*", examples, anyModule},
		{"cmd/*", programs, anyModule},

		{"internal/control", operation, nil},
		{"internal/settings", operation, nil},
		// Pages are a client of the API.
		{"internal/pages", operation, nil},

		// A token bucket is not worth our own code.
		{"internal/api", flow, []string{"golang.org/x/time/rate"}},
		{"internal/worker", flow, nil},
		{"internal/reconcile", flow, nil},
		{"internal/webhooks", flow, nil},
		// Collectors are sent what OpenTelemetry's own client sends, by its variables and names.
		{"internal/traces", flow, []string{"go.opentelemetry.io/otel", "go.opentelemetry.io/proto/otlp", "github.com/google/uuid"}},
		{"internal/garbage", flow, nil},
		{"internal/images", flow, nil},
		{"internal/pins", flow, nil},
		{"internal/faults", flow, nil},
		{"internal/doctor", flow, nil},
		{"internal/seat", flow, nil},
		{"internal/admission", flow, nil},

		{"internal/joblog", adapters, nil},
		{"internal/supervisor", adapters, nil},
		{"internal/commandline", adapters, []string{"github.com/spf13/cobra", "github.com/spf13/pflag"}},
		{"internal/flags", adapters, []string{"github.com/spf13/pflag"}},
		{"internal/remote", adapters, nil},
		{"internal/disks", adapters, nil},
		{"internal/journal", adapters, nil},
		// Worker and doctor judge alike.
		{"internal/strays", adapters, nil},
		{"internal/redisconn", adapters, anyModule},
		{"internal/queue", adapters, anyModule},
		{"internal/records", adapters, anyModule},
		{"internal/telemetry", adapters, anyModule},
		{"internal/policy", adapters, anyModule},
		{"internal/registries", adapters, nil},
		{"internal/engine/*", adapters, anyModule},
		{"internal/artifacts/*", adapters, anyModule},
		{"internal/contexts/*", adapters, anyModule},
		{"internal/outputs", adapters, nil},
		{"internal/notify/*", adapters, anyModule},
		// A .dockerignore must mean exactly what it means to Docker.
		{"internal/pack", adapters, []string{"github.com/moby/patternmatcher"}},

		// What a source yields is decompressed and judged, and names that only look
		// different are told apart.
		{"internal/contexts", reading, []string{"github.com/klauspost/compress", "golang.org/x/text"}},

		{"internal/logread", reading, nil},
		{"internal/secretfiles", reading, nil},
		{"internal/timeline", reading, nil},
		// It speaks the language alone, so that the API and its clients have its questions and plans.
		{"internal/rebuild", reading, nil},

		{"internal/artifacts", seams, []string{"github.com/klauspost/compress", "github.com/restic/chunker", "golang.org/x/sync"}},
		{"internal/engine", seams, nil},
		{"internal/tree", language, nil},
		// The Dockerfile is read with the parser that the daemon has.
		{"internal/dockerfile", seams, []string{"github.com/moby/buildkit/frontend/dockerfile", "github.com/distribution/reference"}},
		// Sources and the S3 store share it; its pauses are not worth our own code.
		{"internal/download", seams, []string{"github.com/cenkalti/backoff"}},
		{"internal/netguard", seams, nil},
		// Layers are what a registry or a daemon has of them, read by the library that asks.
		{"internal/imagecontent", seams, []string{"github.com/google/go-containerregistry/pkg/v1", "github.com/google/go-containerregistry/pkg/name"}},
		{"internal/bake", seams, nil},
		// Signatures are made and verified by the library of their format, and images are named
		// as BuildKit's own provenance names them.
		{"internal/provenance", seams, []string{"github.com/secure-systems-lab/go-securesystemslib/dsse", "github.com/moby/buildkit/util/purl"}},
		// Names must mean what they mean to the daemon.
		{"internal/imagename", language, []string{"github.com/distribution/reference"}},
		// The server of a producer on Windows looks at its disk, too.
		{"internal/diskroom", seams, []string{"golang.org/x/sys"}},
		{"internal/access", seams, nil},
		{"internal/buildlog", seams, nil},
		{"internal/atomicfile", language, nil},
		{"internal/cachefile", seams, nil},
		{"internal/quiet", seams, nil},
		{"internal/safetext", seams, nil},
		{"internal/systemd", seams, nil},
		// clock_gettime(2) for the boot clock is not in the standard library.
		{"internal/bootclock", seams, []string{"golang.org/x/sys"}},
		// preadv2(2) is not in the standard library.
		{"internal/fsop", seams, []string{"golang.org/x/sys"}},
		// A source and a store share it.
		{"internal/s3conn", seams, []string{"github.com/minio/minio-go/v7"}},
		{"internal/notify", seams, nil},

		{"internal/mask", language, nil},
		{"internal/jobs", language, nil},
	}
}

// unlinked lists what a program must not link, however far away.
func unlinked() map[string][]string {
	return map[string][]string{
		// A producer talks to Redis only; the Docker client would double it.
		"cmd/enqueue": {"github.com/docker/docker", module + "/internal/engine", module + "/internal/faults"},
		// Places to stop a worker at are for tests; the tag faults links them.
		"cmd/worker": {module + "/internal/faults"},
	}
}

// find returns the rule of a package of the module.
func find(pkg string) (rule, bool) {
	below := strings.TrimPrefix(pkg, module+"/")
	for _, r := range rules() {
		if ok, err := path.Match(r.pattern, below); err == nil && ok {
			return r, true
		}
	}
	return rule{}, false
}

// within reports whether a package is root or below it.
func within(pkg, root string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }

// checkImports holds one package to the rules and returns what breaks them.
func checkImports(p pkg) []string {
	var found []string
	add := func(format string, args ...any) {
		found = append(found, p.ImportPath+": "+fmt.Sprintf(format, args...))
	}
	r, ok := find(p.ImportPath)
	if !ok {
		add("it is in no layer; give it a rule in internal/importtest")
		return found
	}
	for _, imp := range p.Imports {
		first, _, _ := strings.Cut(imp, "/")
		switch {
		case within(imp, module):
			to, ok := find(imp)
			switch {
			case r.layer == support || !ok: // a package without a rule is found by itself
			case to.layer == support:
				add("imports %s, which is for tests", imp)
			case r.layer == published:
				add("imports %s, which strangers would get with it", imp)
			case r.layer == examples && to.layer == published:
			case r.layer == examples:
				add("imports %s, which a stranger cannot", imp)
			case to.layer == r.layer:
				add("imports its sibling %s; both are %s", imp, r.layer)
			case to.layer > r.layer:
				add("imports %s: %s do not know %s", imp, r.layer, to.layer)
			}
		case strings.Contains(first, "."):
			if !slices.Equal(r.modules, anyModule) && !slices.ContainsFunc(r.modules, func(m string) bool { return within(imp, m) }) {
				add("imports %s; third-party modules belong in adapters and programs", imp)
			}
		}
	}
	for program, roots := range unlinked() {
		if p.ImportPath != module+"/"+program {
			continue
		}
		for _, dep := range p.Deps {
			for _, root := range roots {
				if within(dep, root) {
					add("links %s", dep)
				}
			}
		}
	}
	return found
}
