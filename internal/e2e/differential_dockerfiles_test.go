//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"runtime"
	"strings"
)

// triggerTag is an image with triggers that builds on top of it run.
const (
	triggerTag  = "differential-triggers:latest"
	triggerBase = `FROM busybox
ENV FROM=base
ONBUILD ARG WHAT=default
ONBUILD COPY a.txt /triggered/
ONBUILD RUN echo $WHAT >/triggered/what
ONBUILD ENV TRIGGERED=$WHAT
`
)

// tarball is an archive, compressed or not, with entries that an unpacking ADD
// has to keep.
func tarball(compressed bool) string {
	var buf bytes.Buffer
	var out io.Writer = &buf
	zip := gzip.NewWriter(&buf)
	if compressed {
		out = zip
	}
	w := tar.NewWriter(out)
	for _, h := range []tar.Header{
		{Name: "top/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7, Gid: 8},
		{Name: "top/file", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 1000, Gid: 1001, Size: 4},
		{Name: "top/set", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 4},
		{Name: "top/link", Typeflag: tar.TypeSymlink, Linkname: "file"},
		{Name: "top/hard", Typeflag: tar.TypeLink, Linkname: "top/file"},
		{Name: "caf\u00e9", Typeflag: tar.TypeReg, Mode: 0o600, Size: 4},
	} {
		_ = w.WriteHeader(&h) // a buffer takes everything
		_, _ = w.Write([]byte("data")[:h.Size])
	}
	_ = w.Close()
	if compressed {
		_ = zip.Close()
	}
	return buf.String()
}

// building is a recipe with a Dockerfile over a few files.
func building(name, dockerfile string, args ...string) recipe {
	return recipe{name: name, args: args, files: map[string]string{
		"Dockerfile": dockerfile, "a.txt": "a", "b.txt": "b", "c.md": "c", "dir/x.txt": "x", "dir/y.md": "y", "dir/sub/z": "z", "dir2/w": "w",
		"one file.txt": "spaces", "run.sh": "#!/bin/sh\necho $0 $*\n", "link.txt": "->a.txt", "dirlink": "->dir",
		"t.tar": tarball(false), "t.tar.gz": tarball(true), "no.tar.gz": "not an archive",
	}, modes: map[string]fs.FileMode{"run.sh": 0o755}}
}

// failsWith makes it a recipe for no image.
func (r recipe) failsWith(says string) recipe {
	r.fails = says
	return r
}

// needsHeredocs makes it one for an image where the frontend is new enough.
func (r recipe) needsHeredocs() recipe {
	r.fails, r.heredoc = noHeredocs, true
	return r
}

func instructions() []recipe {
	return []recipe{
		building("config", `FROM busybox
MAINTAINER nobody
LABEL one=1 "two words"="with \"quotes\"" three=3
LABEL multi.line="first \
second"
EXPOSE 80 443/tcp 53/udp 8000-8002
VOLUME /data ["/odd", "/volumes"]
VOLUME ["/json", "/with space"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=2 CMD wget -q -O - http://127.0.0.1/ || exit 1
USER nobody:nogroup
WORKDIR /work
ENV A=1 B="two words" C=three\ words
ENV D four words
ONBUILD RUN echo trigger
ONBUILD COPY . /later
ENTRYPOINT ["/bin/echo", "entry"]
CMD ["and", "args"]
`),
		building("config in shell form", `FROM busybox
HEALTHCHECK CMD ["true"]
ENTRYPOINT exec echo $HOME
CMD echo "in shell form" && true
`),
		building("config that is reset", `FROM busybox
CMD echo first
HEALTHCHECK CMD true
HEALTHCHECK NONE
USER 1:2
USER root
STOPSIGNAL 9
ENTRYPOINT ["one"]
ENTRYPOINT []
CMD []
`),
		building("shell", `FROM busybox
RUN echo before >/before
SHELL ["/bin/sh", "-e", "-u", "-c"]
RUN echo after >/after
CMD echo later
ENTRYPOINT echo entry
HEALTHCHECK CMD echo check
`),
		building("scratch and config", "FROM scratch\nENV A=b\nCMD [\"/x\"]\nWORKDIR /made/here\n"),
		building("stages", `FROM busybox AS first
RUN mkdir -p /out/deep && echo 1 >/out/one && chmod 640 /out/one && ln -s one /out/link && ln /out/one /out/hard && chown 5:6 /out/deep
FROM scratch AS second
COPY --from=first /out /first/
COPY a.txt /
FROM busybox
COPY --from=second / /second
COPY --from=1 /first/one /number
COPY --from=first /out/* /out/d*p /wild/
COPY --from=busybox:latest /etc/passwd /image
`),
		building("stage upon stage", `FROM busybox AS base
ENV A=base
WORKDIR /base
USER nobody
FROM base AS next
RUN id -u >/tmp/id && pwd >/tmp/pwd && echo $A >/tmp/a
FROM next
ENV B=$A.b
`),
		building("target", "FROM busybox AS one\nRUN echo one >/one\nFROM one AS two\nRUN echo two >/two\nFROM two\nRUN false\n", "--target", "two"),
		building("target in another case", "FROM scratch AS Stage\nCOPY a.txt /\nFROM scratch\nCOPY nothing /\n", "--target", "stage"),
		building("build arguments", `ARG BASE=busybox
ARG TAG=none
ARG BEFORE=before
FROM ${BASE}:${TAG}
ARG BEFORE
ARG UNSET
ARG EMPTY=full
ARG HOME
ARG GIVEN=default
ARG QUOTED="a b"
ARG ONE=1 TWO=$ONE.2
RUN echo "$BEFORE|$UNSET|$EMPTY|$HOME|$GIVEN|$QUOTED|$ONE|$TWO|$TAG" >/args
ENV GIVEN=${GIVEN}-env
RUN echo "$GIVEN" >/env
LABEL args=$BEFORE.$GIVEN
FROM scratch
COPY --from=0 /args /env /
ARG GIVEN
LABEL given=$GIVEN
`, "--build-arg", "TAG=latest", "--build-arg", "GIVEN=given value", "--build-arg", "EMPTY=", "--build-arg", "HOME"),
		building("predefined arguments", `FROM --platform=$BUILDPLATFORM busybox
ARG TARGETPLATFORM
ARG TARGETOS
ARG TARGETARCH
ARG BUILDARCH
ARG TARGETVARIANT
RUN echo "$TARGETPLATFORM|$TARGETOS|$TARGETARCH|$BUILDARCH|$TARGETVARIANT" >/platform
RUN echo "$HTTP_PROXY|$no_proxy" >/proxy
`, "--build-arg", "HTTP_PROXY=http://192.0.2.1:3128", "--build-arg", "no_proxy=*"),
		building("arguments that nothing uses", "FROM busybox\nRUN echo x >/x\n", "--build-arg", "UNUSED=1"),
		building("expansion", `FROM busybox
ENV DIR=dir NAME=x EMPTY=
ENV SELF=${DIR}/${NAME:-none} DEFAULT=${UNSET:-default} PLUS=${NAME:+set} NOPLUS=${UNSET:+set} EMPTYDEFAULT=${EMPTY:-filled} ESCAPED=\$DIR SINGLE='$DIR' DOUBLE="$DIR"
ENV PATH=$PATH:/more
ENV abc=hello
ENV abc=bye def=$abc
ENV ghi=$abc
WORKDIR /$DIR/${NAME}
COPY ${DIR}/${NAME}.txt ./$NAME.copy
ADD $DIR/sub $EMPTY/sub/
USER ${UNSET:-nobody}
EXPOSE ${PORT:-8080}
VOLUME /${DIR}-volume
LABEL dir="$DIR" raw='$DIR'
STOPSIGNAL ${SIG:-15}
RUN echo "$DIR ${NAME} \$DIR" >/tmp/shell
CMD echo $DIR
`),
		building("work directories", `FROM busybox
WORKDIR a
RUN pwd >pwd
WORKDIR b/../c
RUN pwd >pwd
WORKDIR /abs/
WORKDIR ./rel
COPY a.txt .
COPY a.txt sub/
COPY a.txt ../up
USER 12:13
WORKDIR /made/by/user
RUN stat -c %u . >/tmp/owner
`),
		building("COPY files", `FROM scratch
COPY a.txt /
COPY a.txt /renamed
COPY a.txt /dir/
COPY a.txt b.txt /two/
COPY *.txt /wild/
COPY ?.md [ab].txt dir/*.txt /wild2/
COPY ["one file.txt", "c.md", "/json form/"]
COPY ./dir/../a.txt /cleaned
COPY ../../../a.txt /up
COPY /a.txt /absolute
COPY link.txt /link-to-file
COPY dirlink /link-to-dir
COPY dirlink/x.txt /through-link
COPY run.sh /bin/
`),
		building("COPY directories", `FROM scratch
COPY dir /no-slash
COPY dir/ /slash/
COPY dir dir2 /both/
COPY dir /there/
COPY dir2 /there
COPY d* /wild/
COPY dir/* /below/
COPY dir/sub /deep/er/and/er
COPY . .
`),
		building("COPY into what is there", `FROM busybox
RUN mkdir -p /real/dir && chmod 700 /real && ln -s /real /link && echo old >/real/a.txt && chown 9:9 /real/a.txt && ln -s nowhere /dangling
COPY a.txt /link/
COPY dir /link/dir/
COPY a.txt b.txt /real/
COPY dir/ /
`),
		building("COPY with an owner", `FROM busybox
COPY --chown=1000:1001 a.txt /numbers
COPY --chown=5 dir /one-number
COPY --chown=nobody b.txt /name
COPY --chown=nobody:nogroup *.txt /names/
COPY --chown=root:7 run.sh /new/dirs/here/
ARG WHO=77
COPY --chown=$WHO c.md /arg
ADD --chown=3:4 t.tar.gz /unpacked/
ADD --chown=3:4 a.txt /added
`),
		building("COPY with an owner from a stage", `FROM busybox AS one
RUN mkdir /d && echo x >/d/x && chown 5:5 /d/x
FROM busybox
COPY --from=one /d /kept
COPY --from=one --chown=1:1 /d /changed
`),
		building("COPY with a mode", "FROM scratch\nCOPY --chmod=640 a.txt dir /m/\nADD --chmod=7 b.txt /\n"),
		building("COPY with an owner that is not there", "FROM busybox\nCOPY --chown=somebody a.txt /\n"),
		building("COPY of nothing that matches", "FROM scratch\nCOPY n*thing /\n"),
		building("COPY of several files to one", "FROM scratch\nCOPY a.txt b.txt /file\n"),
		building("ADD", `FROM scratch
ADD a.txt /
ADD dir /dir
ADD dir/ dir2 /both/
ADD *.md /wild/
ADD ["one file.txt", "/json/"]
ADD no.tar.gz /as-it-is/
`),
		building("ADD of archives", `FROM busybox
ADD t.tar /plain/
ADD t.tar.gz /zipped
ADD t.tar t.tar.gz a.txt /several/
COPY t.tar.gz /copied/
RUN mkdir -p /there/top && echo old >/there/top/file && chmod 777 /there/top
ADD t.tar /there
ADD t.ta? /wild/
`),
		building("triggers of a base", "FROM "+triggerTag+"\nRUN echo $TRIGGERED >/env\n", "--build-arg", "WHAT=given"),
		building("triggers of a stage", "FROM busybox AS base\nONBUILD RUN echo triggered >/triggered\nONBUILD COPY a.txt /\nFROM base\nRUN ls / >/ls\n"),
		building("escape directive", "# escape=`\nFROM busybox\nRUN echo one `\n  two `\n  >/three\nENV PATHS=C:\\dir\\ A=`$x\nWORKDIR /a`\\b\nCOPY a.txt `\n  /copied\n"),
		building("directive that comes too late", "# a comment\n# escape=`\nFROM busybox\nRUN echo one \\\n  two >/two\n"),
		building("continuations and comments", `# comment
  # indented comment

from busybox
   RUN echo one && \
# comment inside
      echo two && \

    echo three >/three
Run echo "# not a comment" >/x # a comment for the shell
ENV A=1 \
    B=2 \
    # comment inside
    C=3
CMD [ "a", \
  "b" ]
`),
		building("CRLF", strings.ReplaceAll("FROM busybox\nENV A=1 \\\n  B=2\nCOPY a.txt /\nRUN echo one \\\n  two >/two\nCMD [\"x\"]\n", "\n", "\r\n")),
		building("byte order mark", "\ufeffFROM scratch\nCOPY a.txt /\n"),
		building("no newline at the end", "FROM scratch\nCOPY a.txt /"),
		building("JSON that is none", "FROM busybox\nCMD ['single', 'quotes']\nENTRYPOINT [ \"unclosed\"\n"),
		building("RUN forms", `FROM busybox
RUN ["/bin/sh", "-c", "echo exec form >/exec"]
RUN ["mkdir", "/with space"]
RUN set -e; for i in 1 2 3; do echo $i >>/loop; done
RUN umask 027 && touch /masked && mkdir /masked.d
USER 1000
RUN touch /tmp/user
`),
		building("RUN that takes away", `FROM busybox
RUN mkdir -p /d/e && echo 1 >/d/1 && echo 2 >/d/2 && echo 3 >/d/e/3
RUN rm /d/1
RUN rm -r /d/e && mkdir /d/e && echo new >/d/e/new
RUN mv /d/2 /d/two && chmod 600 /d/two && chown 8:9 /d/two
RUN rm -r /d
RUN true
`),
		building("RUN mounts", `FROM busybox AS tools
RUN echo tool >/tool
FROM busybox
RUN --mount=type=bind,target=/src cat /src/a.txt /src/dir/x.txt >/bound
RUN --mount=type=bind,from=tools,source=/tool,target=/tool cat /tool >/tooled
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && ls /scratch >/seen
RUN --mount=target=/ctx,rw touch /ctx/new && ls -a /ctx >/listed
`),
		building("RUN with a cache", "FROM busybox\nRUN --mount=type=cache,target=/cache echo x >/cache/x && cat /cache/x >/x\n"),
		building("volumes that are written to", "FROM busybox\nRUN mkdir /v && echo before >/v/before\nVOLUME /v\nRUN echo after >/v/after\nCOPY a.txt /v/\n"),
		building("platform", "FROM busybox\nARG TARGETPLATFORM\nRUN echo $TARGETPLATFORM >/platform\n", "--platform", "linux/"+runtime.GOARCH),
		building("RUN without a network", "FROM busybox\nRUN ip addr | grep -c ': ' >/links\n", "--network", "none"),
		building("labels of the command", "FROM busybox\nLABEL a=dockerfile b=dockerfile\n", "--label", "a=command", "--label", "c=command"),
		building("heredoc in RUN", "FROM busybox\nRUN <<EOF\necho one >/one\necho two >/two\nEOF\n").needsHeredocs(),
		building("heredoc in COPY", "FROM scratch\nCOPY <<one <<-two /dir/\nfirst\none\n\tsecond\n\ttwo\n").needsHeredocs(),
		building("heredoc for a command", "FROM busybox\nRUN cat <<EOF >/file\nhello\nEOF\n").needsHeredocs(),
		building("RUN that fails", "FROM busybox\nRUN exit 3\n").failsWith("exit code:? 3"),
		building("COPY of what is not there", "FROM scratch\nCOPY nothing /\n").failsWith(`"/nothing" not found`),
		building("unknown instruction", "FROM scratch\nFROBNICATE\n").failsWith("unknown instruction: FROBNICATE"),
		building("unknown flag", "FROM scratch\nCOPY --frob=1 a.txt /\n").failsWith("(?i)unknown flag: (--)?frob"),
		building("no FROM", "RUN true\n").failsWith("no build stage in current context|first instruction must be FROM"),
		building("nothing in it", "").failsWith("empty"),
		building("comments only", "# FROM scratch\n").failsWith("file with no instructions"),
		building("unknown target", "FROM scratch AS a\n", "--target", "b").failsWith(`target stage b could not be found|no stage "b"`),
		building("target by number", "FROM scratch\nCOPY a.txt /\n", "--target", "0").failsWith("target stage 0 could not be found"),
		building("unknown stage", "FROM scratch\nCOPY --from=7 /x /\n").failsWith("invalid stage index 7"),
		building("ENV without a value", "FROM scratch\nENV A\n").failsWith("ENV must have two arguments"),
		building("words in an expansion", "FROM scratch\nENV A=${B:-two words}\n").failsWith("can't find ="),
		building("two directives of a kind", "# escape=`\n# escape=\\\nFROM scratch\n").failsWith("only one escape parser directive can be used"),
	}
}
