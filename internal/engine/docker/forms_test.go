//go:build integration

package docker

import "github.com/slipway-farm/slipway/internal/jobs"

// form is one way in which a Dockerfile can name the images that a build stands on.
//
// R/ is a place in the registry that the form has to itself. What the form names there is
// published, each image with a layer of its own and of the kind that its name says, see
// depot.publish; <R/a:1> is the digest of R/a:1.
type form struct {
	name, dockerfile string
	spec             jobs.Build
	hidden           bool     // the Dockerfile is not in the context
	have             []string // what the host has pulled before
	away             bool     // the registry does not answer while it is built
	again            bool     // it is built once more, from the cache
	// want are the materials: role, reference, and what is true of it.
	want []string
	// fails are the kinds of failures where an engine does not build it, by the API of
	// the engine, "" for all.
	fails map[string][]jobs.Kind
}

// The APIs by which engines are told apart.
const (
	api2010 = "1.41"
	api26   = "1.45"
	api29   = "1.51" // it knows newer ones, which the client does not
)

func forms() []form {
	args := func(kv ...string) jobs.Build {
		b := jobs.Build{Args: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			b.Args[kv[i]] = kv[i+1]
		}
		return b
	}
	noImageInTriggers := map[string][]jobs.Kind{api2010: {jobs.KindBuildFailed}, api26: {jobs.KindBuildFailed}}
	noLaterStage := map[string][]jobs.Kind{api26: {jobs.KindBuildFailed}, api29: {jobs.KindBuildFailed}}
	return []form{
		{name: "FROM", again: true, dockerfile: "FROM R/a\n", want: []string{"from R/a:latest"}},
		{name: "FROM with a tag", dockerfile: "FROM R/a:1\n", want: []string{"from R/a:1"}},
		{name: "FROM with a digest", dockerfile: "FROM R/a@<R/a:1>\n", want: []string{"from R/a@<R/a:1> pinned"}},
		{name: "FROM with a tag and a digest", dockerfile: "FROM R/a:1@<R/a:1>\n", want: []string{"from R/a:1@<R/a:1> pinned"}},
		{name: "tag and digest of another tag", dockerfile: "FROM R/a:1@<R/a:2>\n", want: []string{"from R/a:1@<R/a:2> pinned"}},
		{name: "short name", dockerfile: "FROM busybox\n", want: []string{"from busybox:latest local"}},
		{name: "the same in full", dockerfile: "FROM docker.io/library/busybox\n", want: []string{"from busybox:latest local"}},
		{name: "lower case", dockerfile: "from R/a:1 as x\nfrom x\n", want: []string{"from R/a:1"}},
		{name: "Dockerfile beside the context", dockerfile: "FROM R/a:1\nCOPY --from=R/b:1 /id /b\n", hidden: true, want: []string{"from R/a:1", "copy R/b:1"}},
		{name: "Dockerfile with another name", dockerfile: "FROM R/a:1\n", spec: jobs.Build{Dockerfile: "docker/app.Dockerfile"}, want: []string{"from R/a:1"}},

		{name: "ARG", dockerfile: "ARG V=1\nFROM R/a:$V\n", want: []string{"from R/a:1"}},
		{name: "build argument", dockerfile: "ARG V=1\nFROM R/a:${V}\n", spec: args("V", "2"), want: []string{"from R/a:2"}},
		{name: "ARG is the whole name", dockerfile: "ARG BASE\nFROM $BASE\n", spec: args("BASE", "R/a:1"), want: []string{"from R/a:1"}},
		{name: "default of a variable", dockerfile: "FROM R/${N:-a}:1\n", want: []string{"from R/a:1"}},
		{name: "default that is not needed", dockerfile: "ARG N=b\nFROM R/${N:-a}:1\n", want: []string{"from R/b:1"}},
		{name: "alternative of a variable", dockerfile: "ARG DEBUG\nFROM R/a${DEBUG:+-debug}:1\n", spec: args("DEBUG", "yes"), want: []string{"from R/a-debug:1"}},
		{name: "alternative that is not needed", dockerfile: "ARG DEBUG\nFROM R/a${DEBUG:+-debug}:1\n", want: []string{"from R/a:1"}},
		{name: "ARG twice", dockerfile: "ARG V=1\nARG V=2\nFROM R/a:$V\n", want: []string{"from R/a:2"}},
		{name: "ARG in an ARG", dockerfile: "ARG V=2\nARG I=R/a:$V\nFROM ${I}\n", want: []string{"from R/a:2"}},
		{name: "ARG of a stage is not the next FROM's", dockerfile: "ARG V=1\nFROM R/b:1 AS b\nARG V=2\nFROM R/a:$V\nCOPY --from=b /id /b\n", want: []string{"from R/a:1", "stage R/b:1"}},
		{name: "build argument in quotes", dockerfile: "ARG V=\"1\"\nARG N='a'\nFROM R/${N}:$V\nARG T\nRUN test \"$T\" = 'R/\"b\":1'\n", spec: args("T", `R/"b":1`), want: []string{"from R/a:1"}},
		{name: "predefined argument", dockerfile: "FROM R/a${HTTP_PROXY:+-proxy}:1\nRUN test \"$HTTP_PROXY\" = http://127.0.0.1:9\n", spec: args("HTTP_PROXY", "http://127.0.0.1:9"), want: []string{"from R/a:1"}},

		{name: "stage that is not used", dockerfile: "FROM R/b:1 AS b\nFROM R/a:1\n", want: []string{"from R/a:1"}},
		{name: "image of a stage that is not used", dockerfile: "FROM R/a:1 AS b\nCOPY --from=R/a:1 /id /b\nFROM R/a:1\n", want: []string{"from R/a:1"}},
		{name: "stages behind the target", dockerfile: "FROM R/a:1 AS x\nFROM R/b:1 AS wanted\nFROM R/c:1\nCOPY --from=wanted /id /\nCOPY --from=x /id /x\n", spec: jobs.Build{Target: "wanted"}, want: []string{"from R/b:1"}},
		{name: "target in another case", dockerfile: "FROM R/a:1 AS Wanted\nFROM R/b:1\n", spec: jobs.Build{Target: "wANTED"}, want: []string{"from R/a:1"}},
		{name: "target by number", dockerfile: "FROM R/a:1 AS x\nFROM R/b:1\n", spec: jobs.Build{Target: "0"}, fails: map[string][]jobs.Kind{"": {jobs.KindDockerfileInvalid}}},
		{name: "stage on a stage", dockerfile: "FROM R/a:1 AS one\nFROM one AS two\nFROM R/b:1 AS three\nFROM two\nCOPY --from=three /id /3\n", want: []string{"from R/a:1", "stage R/b:1"}},
		{name: "argument in the name of a stage", dockerfile: "ARG KIND=debug\nFROM R/a:1 AS release\nFROM R/b:1 AS debug\nFROM $KIND\n", want: []string{"from R/b:1"}},
		{name: "two stages of one name", dockerfile: "FROM R/a:1 AS x\nFROM R/b:1 AS x\nFROM scratch\nCOPY --from=x /id /\n", want: []string{"stage R/b:1"}},
		{name: "stage with the name of an image", dockerfile: "FROM R/a:1 AS busybox\nFROM busybox\nCOPY --from=busybox /id /x\n", want: []string{"from R/a:1"}},
		{name: "stage that comes later", dockerfile: "FROM R/a:1\nCOPY --from=later /id /b\nFROM R/b:1 AS later\nFROM R/c:1\n", spec: jobs.Build{}, want: []string{"from R/c:1"}},
		{name: "stage that comes later, for the target", dockerfile: "FROM R/a:1 AS wanted\nCOPY --from=later /id /b\nFROM R/b:1 AS later\n", spec: jobs.Build{Target: "wanted"}, fails: noLaterStage, want: []string{"from R/a:1", "stage R/b:1"}},
		{name: "scratch", dockerfile: "FROM scratch\nCOPY hello.txt /\n"},
		{name: "scratch with a copy", dockerfile: "FROM scratch\nCOPY --from=R/a:1 /id /\n", want: []string{"copy R/a:1"}},

		{name: "COPY --from a stage", dockerfile: "FROM R/a:1 AS a\nFROM R/b:1\nCOPY --from=a /id /a\n", want: []string{"from R/b:1", "stage R/a:1"}},
		{name: "COPY --from a number", dockerfile: "FROM R/a:1\nFROM R/b:1\nCOPY --from=0 /id /a\n", want: []string{"from R/b:1", "stage R/a:1"}},
		{name: "COPY --from an image", again: true, dockerfile: "FROM R/a:1\nCOPY --from=R/b:1 /id /b\n", want: []string{"from R/a:1", "copy R/b:1"}},
		{name: "COPY --from an image by digest", dockerfile: "FROM R/a:1\nCOPY --from=R/b@<R/b:1> /id /b\n", want: []string{"from R/a:1", "copy R/b@<R/b:1> pinned"}},
		{name: "COPY --from an image without a tag", dockerfile: "FROM R/a:1\nCOPY --from=R/b /id /b\n", want: []string{"from R/a:1", "copy R/b:latest"}},
		{name: "RUN --mount an image", again: true, dockerfile: "FROM R/a:1\nRUN --mount=type=bind,from=R/b:1,target=/b cat /b/id\n", want: []string{"from R/a:1", "mount R/b:1"}},
		{name: "RUN --mount a stage", dockerfile: "FROM R/b:1 AS b\nFROM R/a:1\nRUN --mount=from=b,target=/b cat /b/id\n", want: []string{"from R/a:1", "stage R/b:1"}},
		{name: "cache mount with an image", dockerfile: "FROM R/a:1\nRUN --mount=type=cache,from=R/b:1,target=/b cat /b/id\n", want: []string{"from R/a:1", "mount R/b:1"}},
		{name: "chain of copies", dockerfile: "FROM R/c:1 AS c\nFROM R/b:1 AS b\nCOPY --from=c /id /c\nADD hello.txt /\nFROM scratch AS x\nCOPY --from=b /c /id /\nFROM R/a:1\nCOPY --from=x / /x/\nADD hello.txt /\n", want: []string{"from R/a:1", "stage R/b:1", "stage R/c:1"}},
		{name: "image in two roles", again: true, dockerfile: "FROM R/a:1 AS x\nADD hello.txt /x\nFROM R/a:1\nCOPY --from=x /x /\nCOPY --from=R/a:1 /id /y\n", want: []string{"from R/a:1", "stage R/a:1", "copy R/a:1"}},
		{name: "image under two names", dockerfile: "FROM R/a:1\nCOPY --from=R/alias:1 /id /y\n", want: []string{"from R/a:1", "copy R/alias:1"}},
		{name: "tag and its digest", again: true, dockerfile: "FROM R/a:1\nCOPY --from=R/a:1@<R/a:1> /id /y\n", want: []string{"from R/a:1", "copy R/a:1@<R/a:1> pinned"}},
		{name: "tag and the digest of another image", dockerfile: "FROM R/a:1\nCOPY --from=R/a:1@<R/a:2> /id /y\n", want: []string{"from R/a:1", "copy R/a:1@<R/a:2> pinned"}},
		{name: "the same with the tag on the host", dockerfile: "FROM R/a:1\nCOPY --from=R/a:1@<R/a:2> /id /y\n", have: []string{"R/a:1"}, want: []string{"from R/a:1", "copy R/a:1@<R/a:2> pinned"}},

		{name: "ONBUILD COPY in a base", again: true, dockerfile: "FROM R/copying:1\n", fails: noImageInTriggers, want: []string{"from R/copying:1", "copy R/b:1"}},
		// What the trigger of a base does with an image is not told.
		{name: "ONBUILD RUN in a base", dockerfile: "FROM R/mounting:1\n", fails: noImageInTriggers, want: []string{"from R/mounting:1", "copy R/b:1"}},
		{name: "ONBUILD COPY in a stage", again: true, dockerfile: "FROM R/a:1 AS x\nONBUILD COPY --from=R/b:1 /id /b\nFROM x\n", fails: noImageInTriggers, want: []string{"from R/a:1", "copy R/b:1"}},
		{name: "ONBUILD RUN in a stage", dockerfile: "FROM R/a:1 AS x\nONBUILD RUN --mount=from=R/b:1,target=/b cat /b/id\nFROM x\n", fails: noImageInTriggers, want: []string{"from R/a:1", "mount R/b:1"}},
		{name: "ONBUILD that nothing triggers", dockerfile: "FROM R/a:1\nONBUILD COPY --from=R/b:1 /id /b\n", want: []string{"from R/a:1"}},

		{name: "syntax", again: true, dockerfile: "# syntax=R/front:1\nFROM R/a:1\n", want: []string{"from R/a:1", "syntax R/front:1"}},
		{name: "syntax by digest", dockerfile: "# syntax=R/front:1@<R/front:1>\nFROM R/a:1\n", want: []string{"from R/a:1", "syntax R/front:1@<R/front:1> pinned"}},
		{name: "escape", dockerfile: "# escape=`\nFROM `\n  R/a:1\n", want: []string{"from R/a:1"}},
		{name: "lines and comments in a FROM", dockerfile: "FROM \\\n# FROM R/b:1\n  R/a:1 \\\n\n  AS x\n# FROM R/c:1\n", want: []string{"from R/a:1"}},
		{name: "FROM in a script", dockerfile: "FROM R/a:1\nRUN echo 'FROM R/b:1' >/x && \\\n    echo COPY --from=R/c:1 / /\n", want: []string{"from R/a:1"}},

		{name: "FROM in a here-document", dockerfile: "FROM R/a:1\nRUN <<E\ncat >/x <<F\nFROM R/b:1\nCOPY --from=R/c:1 / /\nF\nE\nCOPY <<E /y\nFROM R/c:1\nE\n", fails: map[string][]jobs.Kind{api2010: {jobs.KindDockerfileInvalid}}, want: []string{"from R/a:1"}},

		{name: "platform of the builder", dockerfile: "FROM --platform=$BUILDPLATFORM R/multi:1\n", want: []string{"from R/multi:1"}},
		{name: "builder's platform for another", again: true, dockerfile: "FROM --platform=$BUILDPLATFORM R/multi:1 AS x\nLABEL x=y\nFROM R/multi:2\nCOPY --from=x /id /\n", spec: jobs.Build{Platform: "linux/arm64"}, want: []string{"from R/multi:2 arm64", "stage R/multi:1"}},
		{name: "one image for two platforms", dockerfile: "ARG P=$BUILDPLATFORM\nFROM --platform=$P R/multi:1 AS x\nLABEL x=y\nFROM --platform=linux/arm64 R/multi:1\nCOPY --from=x /id /x\n", want: []string{"from R/multi:1 arm64", "stage R/multi:1"}},
		{name: "copy for another platform", dockerfile: "FROM R/multi:2\nCOPY --from=R/multi:1 /id /x\n", spec: jobs.Build{Platform: "linux/arm64"}, want: []string{"from R/multi:2 arm64", "copy R/multi:1 arm64"}},
		{name: "copy in a stage of the builder's", dockerfile: "FROM --platform=$BUILDPLATFORM R/multi:1 AS x\nCOPY --from=R/multi:3 /id /3\nFROM R/multi:2\nCOPY --from=x /3 /\n", spec: jobs.Build{Platform: "linux/arm64"}, want: []string{"from R/multi:2 arm64", "stage R/multi:1", "copy R/multi:3 arm64"}},
		{name: "platform in the name of a stage", dockerfile: "FROM R/a:1 AS base-amd64\nFROM R/b:1 AS base-arm64\nFROM base-$TARGETARCH\n", want: []string{"from R/a:1"}},
		{name: "platform in a name", dockerfile: "FROM R/a-${TARGETARCH}:1\n", want: []string{"from R/a-amd64:1"}},
		{name: "index", dockerfile: "FROM R/multi:1\n", want: []string{"from R/multi:1"}},
		{name: "index by digest", dockerfile: "FROM R/multi@<R/multi:1>\n", want: []string{"from R/multi@<R/multi:1> pinned"}},
		{name: "index with an attestation", again: true, dockerfile: "FROM R/attested:1\nCOPY --from=R/multi:1 /id /m\n", want: []string{"from R/attested:1", "copy R/multi:1"}},

		{name: "base on the host only", again: true, dockerfile: "FROM only-here:1\nCOPY --from=R/b:1 /id /b\n", want: []string{"from only-here:1 local", "copy R/b:1"}},
		{name: "base that was pulled", dockerfile: "FROM R/a:1\n", have: []string{"R/a:1"}, want: []string{"from R/a:1"}},
		{name: "base that was pulled, in all roles", again: true, dockerfile: "FROM R/a:1 AS x\nFROM R/b:1\nCOPY --from=x /id /x\nCOPY --from=R/c:1 /id /c\n", have: []string{"R/a:1", "R/b:1", "R/c:1"}, want: []string{"from R/b:1", "stage R/a:1", "copy R/c:1"}},
		{name: "pull", again: true, dockerfile: "FROM R/a:1\nCOPY --from=R/b:1 /id /b\n", spec: jobs.Build{Pull: true}, have: []string{"R/a:1", "R/b:1"}, want: []string{"from R/a:1", "copy R/b:1"}},
		{name: "registry that is away", again: true, dockerfile: "FROM R/a:1\n", have: []string{"R/a:1"}, away: true, want: []string{"from R/a:1 away"}},
		// It is taken for a name in Docker Hub, which may be out of reach.
		{name: "image by its ID", dockerfile: "FROM <only-here:1>\n", fails: map[string][]jobs.Kind{"": {jobs.KindRegistryUnavailable, jobs.KindBaseMissing}}},
	}
}
