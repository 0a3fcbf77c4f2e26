package contextstest

import (
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Instructions are a Dockerfile as a stranger may write it, and the farm's
// answer under the default policy.
type Instructions struct {
	Name, Text string
	// Build is what the job says besides.
	Build jobs.Build
	// Kind of the refusal, "" when it is taken.
	Kind jobs.Kind
	// Says is a part of the refusal's message.
	Says string
}

// Dockerfiles is the corpus of Dockerfiles.
func Dockerfiles() []Instructions {
	const (
		invalid  = jobs.KindDockerfileInvalid
		frontend = jobs.KindFrontendNotAllowed
		source   = jobs.KindSourceNotAllowed
		rights   = jobs.KindEntitlementNotAllowed
	)
	args := func(kv ...string) jobs.Build {
		b := jobs.Build{Args: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			b.Args[kv[i]] = kv[i+1]
		}
		return b
	}
	return []Instructions{
		{Name: "plain", Text: "FROM busybox\nRUN true\n"},
		{Name: "everything at once", Text: "# escape=`\nARG V=latest\nFROM busybox:${V} AS a\nENV X=1\nRUN --mount=type=cache,target=/c true\nFROM scratch\nCOPY --from=a /bin /bin\nHEALTHCHECK NONE\n"},
		{Name: "here-document", Text: "FROM busybox\nRUN <<EOF\necho hello\nEOF\n"},
		{Name: "shift that looks like a here-document", Text: "FROM busybox\nRUN echo $((1 <<2)) $((1 << 2)) $((1<<2))\n"},
		{Name: "official frontend", Text: "# syntax=docker/dockerfile:1\nFROM busybox\n"},
		{Name: "comments before FROM", Text: "# a comment\n# another = one\n\nFROM busybox\n"},
		{Name: "ADD of a file", Text: "FROM busybox\nARG FILE=a.tar\nADD ${FILE} https /x/\n"},
		{Name: "ADD of a file for a platform", Text: "FROM busybox\nARG TARGETARCH=arm64 TARGETOS V=1\nENV V=v$V\nADD app-$V-x /x/\nADD app-$TARGETOS-${TARGETARCH}.tar /x/\n"},
		{Name: "ADD of a file with what a base says", Text: "FROM busybox\nENV B=${PATH}x\nADD dir/$B /x/\n"},
		{Name: "inline cache", Text: "FROM busybox\n", Build: args("BUILDKIT_INLINE_CACHE", "1")},
		{Name: "tag besides the base", Text: "FROM busybox:1\n", Build: jobs.Build{Tags: []string{"busybox:2"}}},

		{Name: "empty", Text: " \n", Kind: invalid, Says: "Dockerfile: it is empty"},
		{Name: "comments only", Text: "# FROM x\n", Kind: invalid, Says: "file with no instructions"},
		{Name: "unknown instruction", Text: "FROM busybox\nRUNN echo\n", Kind: invalid, Says: "Dockerfile line 2: unknown instruction: RUNN"},
		{Name: "no FROM", Text: "RUN true\n", Kind: invalid, Says: "Dockerfile line 1: the first instruction must be FROM"},
		{Name: "arguments only", Text: "ARG A\n", Kind: invalid, Says: "it has no FROM"},
		{Name: "missing argument", Text: "FROM busybox\nENV\n", Kind: invalid, Says: "Dockerfile line 2: ENV requires at least one argument"},
		{Name: "unknown flag", Text: "FROM busybox\nCOPY --chwon=1 a b\n", Kind: invalid, Says: "Dockerfile line 2: unknown flag: --chwon"},
		{Name: "binary", Text: "\x00\x01\x02\x03", Kind: invalid, Says: "Dockerfile line 1: unknown instruction"},

		{Name: "strange frontend", Text: "# syntax=evil/frontend\nFROM busybox\n", Kind: frontend, Says: `Dockerfile wants the frontend "evil/frontend"`},
		{Name: "frontend like the official one", Text: "# syntax=docker.io.evil.example/docker/dockerfile:1\nFROM busybox\n", Kind: frontend, Says: "evil.example"},
		{Name: "frontend behind a directive", Text: "# check=skip=all\n#syntax = evil/frontend\nFROM busybox\n", Kind: frontend, Says: "evil/frontend"},
		{Name: "frontend behind an unknown directive", Text: "# unknown=1\n# syntax=evil/frontend\nFROM busybox\n", Kind: frontend, Says: "evil/frontend"},
		{Name: "frontend behind a byte order mark", Text: "\ufeff# syntax=evil/frontend\nFROM busybox\n", Kind: frontend, Says: "evil/frontend"},
		{Name: "frontend in the style of C", Text: "// syntax=evil/frontend\n{}", Kind: frontend, Says: "evil/frontend"},
		{Name: "frontend in JSON", Text: `{"syntax": "evil/frontend"}`, Kind: frontend, Says: "evil/frontend"},
		{Name: "frontend behind a shebang", Text: "#!/bin/x\n# syntax=evil/frontend\nFROM busybox\n", Kind: frontend, Says: "evil/frontend"},

		{Name: "argument of the frontend", Text: "FROM busybox\n", Build: args("BUILDKIT_SYNTAX", "evil/frontend"), Kind: jobs.KindBuildArgReserved, Says: "BUILDKIT_SYNTAX"},
		{Name: "argument of the cache", Text: "FROM busybox\n", Build: args("BUILDKIT_CACHE_MOUNT_NS", "other"), Kind: jobs.KindBuildArgReserved, Says: "BUILDKIT_CACHE_MOUNT_NS"},
		{Name: "argument of a later BuildKit", Text: "FROM busybox\n", Build: args("BUILDKIT_OF_TOMORROW", "1"), Kind: jobs.KindBuildArgReserved, Says: "BUILDKIT_OF_TOMORROW"},

		{Name: "ADD of a URL", Text: "FROM busybox\nADD https://example.com/x /x\n", Kind: source, Says: `Dockerfile line 2: ADD from the host "example.com"`},
		{Name: "ADD of the metadata", Text: "FROM busybox\nADD http://169.254.169.254/latest/ /x\n", Kind: source, Says: "169.254.169.254"},
		{Name: "ADD of git", Text: "FROM busybox\nADD git@github.com:moby/buildkit.git /x\n", Kind: source, Says: `"github.com"`},
		{Name: "ADD of git with a scheme", Text: "FROM busybox\nADD git://example.com/x.git#main /x\n", Kind: source, Says: `"example.com"`},
		{Name: "ADD of a URL in an argument", Text: "ARG U=https://a.example\nFROM busybox\nARG U\nADD ${U}/x /x\n", Kind: source, Says: `"a.example"`},
		{Name: "ADD of a URL from the job", Text: "FROM busybox\nARG U=file\nADD $U /x\n", Build: args("U", "http://127.0.0.1:6379/"), Kind: source, Says: `"127.0.0.1"`},
		{Name: "ADD of a URL in the environment", Text: "FROM busybox AS a\nENV H=b.example\nFROM a\nADD http://$H/x /x\n", Kind: source, Says: `"b.example"`},
		{Name: "ADD of a URL in pieces", Text: "FROM busybox\nENV A=ht B=tp\nADD ${A}${B}://c.example/ /x\n", Kind: source, Says: `"c.example"`},
		{Name: "ADD of a URL among files", Text: "FROM busybox\nADD a b https://d.example/x /x/\n", Kind: source, Says: `"d.example"`},
		{Name: "ADD of a URL in JSON", Text: "FROM busybox\nADD [\"https://e.example/x\", \"/x\"]\n", Kind: source, Says: `"e.example"`},
		{Name: "ADD of a URL in a trigger", Text: "FROM busybox\nONBUILD ADD https://f.example/x /x\n", Kind: source, Says: `"f.example"`},
		{Name: "ADD of a URL in a here-document", Text: "FROM busybox\nRUN <<EOF\nADD https://g.example/x /x\nEOF\n", Kind: source, Says: `"g.example"`},

		{Name: "ADD of a URL behind a shift", Text: "FROM busybox\nRUN echo $((1 <<2))\nADD https://h.example/x /x\n", Kind: source, Says: `"h.example"`},
		{Name: "ADD of a URL behind a here-document without end", Text: "FROM busybox\nRUN <<EOF\nADD https://i.example/x /x\n", Kind: source, Says: `"i.example"`},

		{Name: "ADD of a URL with PATH, which every image has", Text: "FROM scratch\nADD ${PATH:+http://j.example/} /x\n", Kind: source, Says: "where it takes a build to tell"},
		{Name: "ADD of a URL for a platform", Text: "FROM busybox\nARG TARGETOS\nADD ${TARGETOS:+http://j.example/} /x\n", Kind: source, Says: "TARGETOS"},
		{Name: "ADD of a URL out of a platform", Text: "FROM busybox\nARG TARGETARCH\nARG U=${TARGETARCH/arm64/http:}\nADD $U//j.example /x\n", Kind: source, Says: "$U//j.example"},
		{Name: "ADD of a URL of the old environment", Text: "FROM busybox\nENV A=http://j.example/\nENV A=x B=$A\nADD $B /x\n", Kind: source, Says: "$B"},
		{Name: "ADD of a URL under a name in a variable", Text: "FROM busybox\nENV K=B B=file\nENV $K=http://j.example/\nADD $B /x\n", Kind: source, Says: "$B"},
		{Name: "ADD of the end of a long value", Text: "FROM busybox\nENV A=" + strings.Repeat("a", 5000) + "%http://j.example/\nADD ${A##*%} /x\n", Kind: source, Says: "${A##*%}"},
		{Name: "ADD of a URL instead of an argument of another stage", Text: "FROM busybox AS a\nARG X=file\nFROM a\nADD ${X:-http://j.example/} /x\n", Kind: source, Says: "j.example"},
		{Name: "ADD of a URL in the environment of a base", Text: "FROM busybox\nADD $UNKNOWN /x\n", Kind: source, Says: "$UNKNOWN"},
		{Name: "ADD of a URL in half", Text: "FROM busybox\nADD http:/$UNKNOWN /x\n", Kind: source, Says: "http:/$UNKNOWN"},

		{Name: "network of the host", Text: "FROM busybox\nRUN --network=host true\n", Kind: rights, Says: "Dockerfile line 2: RUN --network=host"},
		{Name: "more rights", Text: "FROM busybox\nRUN --security=insecure true\n", Kind: rights, Says: "RUN --security=insecure"},
		{Name: "devices", Text: "FROM busybox\nRUN --device=vendor.com/gpu true\n", Kind: rights, Says: "RUN --device"},
		{Name: "network of the host in a trigger", Text: "FROM busybox\nONBUILD RUN --network=host true\n", Kind: rights, Says: "RUN --network=host"},

		{Name: "tag that is the base", Text: "FROM busybox:1\n", Build: jobs.Build{Tags: []string{"other", "docker.io/library/busybox:1"}}, Kind: jobs.KindTagIsBase, Says: "docker.io/library/busybox:1"},
	}
}
