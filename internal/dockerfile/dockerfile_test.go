package dockerfile_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func named(text string) dockerfile.File {
	return dockerfile.File{Name: "Dockerfile", Content: []byte(text)}
}

// refusal is what Check refuses a Dockerfile with.
func refusal(d dockerfile.File, b jobs.Build, r dockerfile.Rules) error {
	_, err := dockerfile.Check(d, b, r)
	return err
}

func check(t *testing.T, err error, kind jobs.Kind, says string) {
	t.Helper()
	if kind == "" {
		if err != nil {
			t.Errorf("got %v, want nil", err)
		}
		return
	}
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || f.Kind != kind || !strings.Contains(f.Message, says) || f.Hint == "" {
		t.Errorf("got %v, want %s: ...%s... with a hint", err, kind, says)
	}
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, d := range contextstest.Dockerfiles() {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			check(t, refusal(named(d.Text), d.Build, dockerfile.Defaults()), d.Kind, d.Says)
			if err := dockerfile.Parse(named(d.Text)); (err != nil) != (d.Kind == jobs.KindDockerfileInvalid) && d.Kind != jobs.KindFrontendNotAllowed {
				t.Errorf("Parse = %v; the rules say %q", err, d.Kind)
			}
		})
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	own := dockerfile.Rules{
		Frontends: []string{"docker/dockerfile" + digest}, AddHosts: []string{"artifacts.example.com", "*.cdn.example.com"},
		Images: []string{"registry.example.com/*", "busybox"}, Push: []string{"registry.example.com/team/*"},
	}
	push := func(tags ...string) jobs.Build { return jobs.Build{Tags: tags, Push: true} }
	for _, tt := range []struct {
		name, text string
		build      jobs.Build
		kind       jobs.Kind
		says       string
	}{
		{"pinned frontend", "# syntax=docker/dockerfile" + digest + "\nFROM busybox\n", jobs.Build{}, "", ""},
		{"frontend by tag", "# syntax=docker/dockerfile:1\nFROM busybox\n", jobs.Build{}, jobs.KindFrontendNotAllowed, "docker/dockerfile:1"},
		{"ADD from an open host", "FROM busybox\nADD https://artifacts.example.com/x https://eu.cdn.example.com:8443/y /\n", jobs.Build{}, "", ""},
		{"ADD from another", "FROM busybox\nADD https://artifacts.example.com.evil.example/x /\n", jobs.Build{}, jobs.KindSourceNotAllowed, "evil.example"},
		{"ADD with a user in front", "FROM busybox\nADD https://artifacts.example.com@evil.example/x /\n", jobs.Build{}, jobs.KindSourceNotAllowed, `"evil.example"`},
		{"ADD from an open host of what a base says", "FROM busybox\nADD https://artifacts.example.com/$VERSION.tar /\n", jobs.Build{}, "", ""},
		{"ADD from a host that a base says", "FROM busybox\nADD https://artifacts.example.com$X/y /\n", jobs.Build{}, jobs.KindSourceNotAllowed, "$X"},
		{"base for a platform", "FROM registry.example.com/base-$TARGETARCH\n", jobs.Build{}, "", ""},
		{"strange base for a platform", "FROM ${TARGETOS:+alpine}\n", jobs.Build{}, jobs.KindImageNotAllowed, "TARGETOS"},
		{"strange base in an unknown argument", "FROM ${UNKNOWN:-busybox}\n", jobs.Build{}, jobs.KindImageNotAllowed, "UNKNOWN"},
		{"image with the number of a stage", "FROM busybox\nFROM 0\n", jobs.Build{}, jobs.KindImageNotAllowed, `"0"`},
		{"own base", "FROM registry.example.com/base:1\n", jobs.Build{}, "", ""},
		{"base with any tag", "FROM busybox:1.36\nFROM docker.io/library/busybox\n", jobs.Build{}, "", ""},
		{"strange base", "FROM alpine\n", jobs.Build{}, jobs.KindImageNotAllowed, `Dockerfile line 1: the image "alpine"`},
		{"strange base in an argument", "ARG B=busybox\nFROM $B\n", jobs.Build{Args: map[string]string{"B": "alpine"}}, jobs.KindImageNotAllowed, `"alpine"`},
		{"scratch and stages", "FROM busybox AS a\nFROM scratch AS b\nCOPY --from=a / /\nCOPY --from=0 / /\nFROM b\n", jobs.Build{}, "", ""},
		{"copy from a strange image", "FROM busybox\nCOPY --from=alpine / /\n", jobs.Build{}, jobs.KindImageNotAllowed, "line 2"},
		{"mount of a strange image", "FROM busybox\nRUN --mount=type=bind,from=alpine,target=/a true\n", jobs.Build{}, jobs.KindImageNotAllowed, "line 2"},
		{"own base by another name", "FROM base\n", with("base", "docker-image://registry.example.com/base:1"), "", ""},
		{"strange base by another name", "FROM busybox\nCOPY --from=base / /\n", with("base", "docker-image://alpine"), jobs.KindImageNotAllowed, `line 2: the image "alpine"`},
		{"strange base by the name of an own one", "FROM busybox\n", with("busybox", "docker-image://alpine"), jobs.KindImageNotAllowed, `"alpine"`},
		{"directory by a name", "FROM dir\nCOPY --from=dir / /\nRUN --mount=from=dir,target=/x x\n", with("dir", "libs"), "", ""},
		{"stage of the name of a context", "FROM busybox AS base\nFROM base\n", with("base", "docker-image://busybox"), jobs.KindDockerfileInvalid, `line 1: the stage "base"`},
		{"push", "FROM busybox\n", push("registry.example.com/team/app:1"), "", ""},
		{"push elsewhere in the registry", "FROM busybox\n", push("registry.example.com/other/app:1"), jobs.KindPushPrefix, "registry.example.com/other/app:1"},
		{"push to another registry", "FROM busybox\n", push("registry.example.com/team/app", "app:1"), jobs.KindRegistryNotAllowed, `"docker.io"`},
		{"tag without a push", "FROM busybox\n", jobs.Build{Tags: []string{"app:1"}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, refusal(named(tt.text), tt.build, own), tt.kind, tt.says)
		})
	}
	for ref, want := range map[string]bool{"busybox": true, "docker.io/library/busybox:1": true, "registry.example.com/x@" + digest[1:]: true, "alpine": false, "registry.example.com": false} {
		if got := own.ImageAllowed(ref); got != want {
			t.Errorf("ImageAllowed(%q) = %v, want %v", ref, got, want)
		}
	}
}

// FuzzCheck: whatever comes, there is an answer of the right type.
func FuzzCheck(f *testing.F) {
	for _, d := range contextstest.Dockerfiles() {
		f.Add(d.Text, d.Build.Args["U"])
	}
	f.Fuzz(func(t *testing.T, text, arg string) {
		err := refusal(named(text), jobs.Build{Args: map[string]string{"U": arg}, Tags: []string{"x"}}, dockerfile.Defaults())
		if err == nil {
			return
		}
		f, ok := errors.AsType[*jobs.Failure](err)
		if !ok || f.Kind == jobs.KindInternal || f.Hint == "" || len(f.Message) > 2000 || strings.IndexFunc(f.Message, func(r rune) bool { return !strconv.IsPrint(r) }) >= 0 {
			t.Fatalf("got %T: %v", err, err)
		}
	})
}

// TestHostileSize: a Dockerfile that is written to take time or memory is
// refused for what it is.
func TestHostileSize(t *testing.T) {
	t.Parallel()
	var stages strings.Builder
	stages.WriteString("FROM x AS a0\n")
	for i := range 2000 {
		fmt.Fprintf(&stages, "FROM a%d AS a%d\nENV x%d=y\nADD $q /\n", i, i+1, i)
	}
	check(t, refusal(named(stages.String()), jobs.Build{}, dockerfile.Defaults()), jobs.KindDockerfileInvalid, "2001 stages; the limit is 1000")
	doubling := "FROM x\nENV A=aa\n" + strings.Repeat("ENV A=$A$A\n", 10_000)
	check(t, refusal(named(doubling), jobs.Build{}, dockerfile.Defaults()), jobs.KindDockerfileInvalid, "come to more than")
}

// TestAsked: every image that a text names anywhere is judged by its registry, and
// what a build alone could tell is refused where it could be another registry.
func TestAsked(t *testing.T) {
	t.Parallel()
	args := func(kv ...string) jobs.Build {
		b := jobs.Build{Args: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			b.Args[kv[i]] = kv[i+1]
		}
		return b
	}
	const hub = jobs.DockerHub
	doubt := []string{"doubt"}
	for _, tt := range []struct {
		name, text string
		build      jobs.Build
		want       []string
	}{
		{"FROM", "FROM a.example/x\n", jobs.Build{}, []string{"a.example"}},
		{"one of each", "FROM busybox AS a\nFROM alpine\nFROM A.example:5000/x\nFROM a.example:5000/y\n", jobs.Build{}, []string{hub, "a.example:5000"}},
		{"stages and scratch", "FROM scratch AS a\nFROM a\nCOPY --from=0 / /\nRUN --mount=from=a,target=/x true\n", jobs.Build{}, nil},
		{"COPY --from", "FROM scratch\nCOPY --from=10.0.0.1/x / /\n", jobs.Build{}, []string{"10.0.0.1"}},
		{"RUN --mount", "FROM scratch\nRUN --mount=type=bind,from=10.0.0.2/x,target=/x true\n", jobs.Build{}, []string{"10.0.0.2"}},
		{"cache mount", "FROM scratch\nRUN --mount=type=cache,from=10.0.0.3/x,target=/x true\n", jobs.Build{}, []string{"10.0.0.3"}},
		{"syntax", "# syntax=a.example/docker/dockerfile:1\nFROM scratch\n", jobs.Build{}, []string{"a.example"}},
		{"syntax behind a directive", "# unknown=1\n# syntax=a.example/docker/dockerfile:1\nFROM scratch\n", jobs.Build{}, []string{"a.example"}},
		{"trigger", "FROM scratch\nONBUILD COPY --from=10.0.0.4/x / /\n", jobs.Build{}, []string{"10.0.0.4"}},
		{"what old engines take for instructions", "FROM scratch\nRUN <<E\nCOPY --from=10.0.0.5/x / /\nE\n", jobs.Build{}, []string{"10.0.0.5"}},
		{"no name of an image", "FROM 10.0.0.6:x/y:\n", jobs.Build{}, []string{"10.0.0.6:x"}},
		{"argument of the job", "ARG R=docker.io\nFROM $R/x\n", args("R", "10.0.0.7"), []string{"10.0.0.7"}},
		{"argument in an argument", "ARG R=10.0.0.8\nARG I=${R}:5000/x\nFROM ${I}\n", jobs.Build{}, []string{"10.0.0.8:5000"}},
		{"address in pieces", "ARG A=169.254 B=.169.254\nFROM ${A}${B}/latest\n", jobs.Build{}, []string{"169.254.169.254"}},

		{"prefix that is not set", "ARG PREFIX\nFROM ${PREFIX}golang\n", jobs.Build{}, []string{hub}},
		{"prefix that is not set, in an argument", "ARG PREFIX\nARG I=${PREFIX}golang\nFROM $I\n", jobs.Build{}, []string{hub}},
		{"default of what is not set", "FROM ${B:-golang}\n", jobs.Build{}, []string{hub}},
		{"base of a platform", "FROM base-$TARGETARCH\n", jobs.Build{}, []string{hub}},
		{"base of a platform with a default", "FROM base-${TARGETARCH:-amd64}\n", jobs.Build{}, []string{hub}},
		{"repository of a platform", "FROM ${TARGETARCH}/busybox\n", jobs.Build{}, []string{hub}},
		{"registry and a platform", "ARG R=a.example\nFROM $R/base:1-${TARGETARCH:-amd64}\n", jobs.Build{}, []string{"a.example"}},
		{"platform of the job", "FROM base-$TARGETARCH\n", args("TARGETARCH", "arm64"), []string{hub}},
		{"target", "FROM base-$TARGETSTAGE AS last\n", jobs.Build{}, []string{hub}},

		{"platform of the job that is a registry", "FROM $TARGETARCH/x\n", args("TARGETARCH", "10.0.0.9"), doubt},
		{"the same without a slash of its own", "FROM $TARGETARCH\n", args("TARGETARCH", "10.0.0.9/x"), doubt},
		{"variant that is a registry", "FROM $TARGETVARIANT/x\n", jobs.Build{Platform: "linux/amd64/10.0.0.9"}, doubt},
		{"variant that is empty", "FROM 10.0.0.9:5000$TARGETVARIANT/x\n", jobs.Build{}, doubt},
		{"variant that is empty in localhost", "FROM local${TARGETVARIANT}host/x\n", jobs.Build{}, doubt},
		{"default of a platform that is a registry", "ARG TARGETARCH=10.0.0.9\nFROM $TARGETARCH/x\n", jobs.Build{}, doubt},
		{"platform for which there is another", "FROM ${TARGETARCH/amd64/10.0.0.9:5000}/x\n", jobs.Build{}, doubt},
		{"the same through an argument", "ARG A=$TARGETARCH\nFROM ${A/amd64/10.0.0.9:5000}/x\n", jobs.Build{}, doubt},
		{"the same under the name of a stage", "FROM scratch AS linux\nFROM ${TARGETARCH/amd64/10.0.0.9:5000/}\n", jobs.Build{}, doubt},
		{"target that is a registry", "FROM $TARGETSTAGE/x AS db.internal\nFROM scratch\n", jobs.Build{Target: "db.internal"}, doubt},
		{"last stage that is a registry", "FROM $TARGETSTAGE/x AS db.internal\n", jobs.Build{}, doubt},
		{"argument of frontends to come", "FROM $TARGETMOON/x\n", args("TARGETMOON", "10.0.0.9"), doubt},
		{"arguments at once", "ARG A=10.0.0.9\nARG A=docker.io B=$A\nFROM $B/x\n", jobs.Build{}, doubt},
		{"name of a variable in a variable", "ARG N=A\nARG $N=10.0.0.9\nFROM $A/x\n", jobs.Build{}, doubt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rules := dockerfile.Defaults()
			rules.Frontends = []string{"*"}
			found, err := dockerfile.Check(named(tt.text), tt.build, rules)
			got := []string(nil)
			for _, image := range found.Asked {
				got = append(got, jobs.RegistryOf(image))
			}
			if slices.Equal(tt.want, doubt) {
				check(t, err, jobs.KindImageNotAllowed, "where it takes a build to tell")
				rules.AnyRegistry = true
				_, err = dockerfile.Check(named(tt.text), tt.build, rules)
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !slices.Equal(tt.want, doubt) && !slices.Equal(got, tt.want) {
				t.Errorf("the registries are %q, want %q", got, tt.want)
			}
		})
	}
}

// TestUsed: of all images that a text names, those count that the target needs.
func TestUsed(t *testing.T) {
	t.Parallel()
	const twoStages = "FROM a AS x\nFROM b AS y\nCOPY --from=x / /\nCOPY --from=d / /\n"
	for _, tt := range []struct {
		name, text string
		build      jobs.Build
		want       []string
	}{
		{"stages", twoStages, jobs.Build{}, []string{"from b", "stage a", "copy d"}},
		{"target", twoStages, jobs.Build{Target: "X"}, []string{"from a"}},
		{"target by number", twoStages, jobs.Build{Target: "0"}, []string{"from a"}},
		{"target of a frontend", "# syntax=f\n" + twoStages, jobs.Build{Target: "all"}, []string{"from b", "stage a", "copy d"}},
		{"what is not needed", "FROM a AS x\nCOPY --from=a / /\nFROM a\n", jobs.Build{}, []string{"from a"}},
		{"stage on a stage", "FROM a AS x\nFROM X AS y\nFROM y\nCOPY --from=1 / /\n", jobs.Build{}, []string{"from a"}},
		{"stage that comes later", "FROM a\nCOPY --from=x / /\nFROM b AS x\nCOPY --from=0 / /\n", jobs.Build{Target: "0"}, []string{"from a", "stage b"}},
		{"of two stages the later", "FROM a AS x\nFROM b AS x\nFROM scratch\nCOPY --from=x / /\n", jobs.Build{}, []string{"stage b"}},
		{"mount", "FROM a AS x\nFROM b\nRUN --mount=from=x --mount=type=cache,from=d,target=/d true\n", jobs.Build{}, []string{"from b", "stage a", "mount d"}},
		{"mount without an image", "FROM a\nRUN --mount=type=cache,target=/x true\n", jobs.Build{}, []string{"from a"}},
		{"trigger", "FROM a AS x\nONBUILD COPY --from=b / /\nONBUILD RUN --mount=from=d true\nFROM x AS y\nFROM y\n", jobs.Build{}, []string{"from a", "copy b", "mount d"}},
		{"trigger for others", "FROM a AS x\nFROM b\nONBUILD COPY --from=x / /\n", jobs.Build{}, []string{"from b"}},
		{"argument", "ARG V=1\nFROM a:$V\n", jobs.Build{Args: map[string]string{"V": "2"}}, []string{"from a:2"}},
		{"platforms", "FROM --platform=$BUILDPLATFORM a-$BUILDARCH AS x\nFROM a-$TARGETARCH$TARGETVARIANT\nCOPY --from=x / /\n", jobs.Build{Platform: "linux/arm/v7"}, []string{"from a-armv7 linux/arm/v7", "stage a-amd64 linux/amd64"}},
		{"platform of the daemon", "FROM a AS on-amd64\nFROM b AS on-arm64\nFROM on-$TARGETARCH\n", jobs.Build{}, []string{"from a"}},
		{"platform in an argument", "ARG P=linux/arm64\nFROM --platform=$P a\n", jobs.Build{}, []string{"from a linux/arm64"}},
		{"script", "FROM a\nRUN <<E\nCOPY --from=b / /\nE\n", jobs.Build{}, []string{"from a"}},
		{"no Dockerfile", "FRO a\n", jobs.Build{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, img := range dockerfile.Used(named(tt.text), tt.build, "linux/amd64") {
				got = append(got, strings.TrimSpace(string(img.Role)+" "+img.Ref+" "+img.Platform))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Used = %q, want %q", got, tt.want)
			}
		})
	}
}

// What a step fetches is known only when it is built.
func TestRemote(t *testing.T) {
	t.Parallel()
	rules := dockerfile.Rules{AddHosts: []string{"*"}}
	for text, want := range map[string]bool{
		"FROM a\nADD file dir/$X/x /\nCOPY --from=b / /\n":      false,
		"FROM a\nADD https://example.com/a.tar /\n":             true,
		"FROM a\nADD git@example.com:team/repo.git /\n":         true,
		"FROM a\nARG HOST=example.com\nADD https://$HOST/a /\n": true,
		"FROM a\nADD $WHAT /\n":                                 true,
		"FROM a\nRUN echo ADD https://example.com/a.tar /\n":    false,
	} {
		if got, err := dockerfile.Check(named(text), jobs.Build{}, rules); err != nil || got.Remote != want {
			t.Errorf("%q: remote is %t, %v; want %t", text, got.Remote, err, want)
		}
	}
}
