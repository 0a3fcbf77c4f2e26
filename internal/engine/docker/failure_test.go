package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want jobs.Kind
	}{
		{"cut stream", t.Context(), fmt.Errorf("read: %w", io.ErrUnexpectedEOF), jobs.KindDaemonLost},
		{"disk", t.Context(), errors.New("write /var/lib/docker/x: no space left on device"), jobs.KindDiskFull},
		{"refusal", t.Context(), errors.New("invalid mount config at /var/lib/docker"), jobs.KindEngine},
		{"a failure already", t.Context(), containerLost("abc", nil), jobs.KindContainerLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := jobs.AsFailure(failure(tt.ctx, tt.err, "do it"))
			if f.Kind != tt.want || strings.Contains(f.Message, "/var/lib") {
				t.Errorf("failure = %s %q, want %s without paths", f.Kind, f.Message, tt.want)
			}
		})
	}
	if err := failure(over, io.EOF, "do it"); !errors.Is(err, context.Canceled) {
		t.Errorf("failure after a cancel = %v, want context.Canceled", err)
	}
	if err := failure(t.Context(), nil, "do it"); err != nil {
		t.Errorf("no failure = %v", err)
	}
}

// The words of engines 20.10, 26.1 with both image stores, and 29.
func TestReadRefusal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]verdict{
		"unauthorized: authentication required":              denied,
		"denied: requested access to the resource is denied": denied,
		"unauthorized": denied,
		"pulling from host r:5000 failed with status code [manifests v1]: 401 Unauthorized":                denied,
		"failed to fetch anonymous token: unexpected status: 403 Forbidden":                                denied,
		"error parsing HTTP 403 response body: unexpected end of JSON input: \"\"":                         denied,
		"unexpected status from HEAD request to http://r:5000/v2/a/manifests/1: 403 Forbidden":             denied,
		"manifest for sha256:401403401 not found: manifest unknown":                                        missing,
		"name unknown: The repository with name 'app' does not exist":                                      missing,
		"unexpected status from POST request to http://r:5000/v2/a/blobs/uploads/: 404 Not Found":          missing,
		"dial tcp: lookup registry-1.docker.io: no such host":                                              passing,
		"dial tcp 127.0.0.1:1: connect: connection refused":                                                passing,
		`Head "http://r:5000/v2/a/manifests/1": EOF`:                                                       passing,
		"toomanyrequests: You have reached your pull rate limit.":                                          passing,
		"pulling from host r:5000 failed with status code [manifests 1]: 429 Too Many Requests":            passing,
		"received unexpected HTTP status: 503 Service Unavailable":                                         passing,
		"received unexpected HTTP status: 500 Internal Server Error":                                       passing,
		"error unmarshalling content: invalid character '<' looking for beginning of value":                passing,
		"could not fetch content descriptor sha256:a28d (text/html) from remote: not found":                passing,
		"image config verification failed for digest sha256:f16c":                                          passing,
		"unsupported manifest media type and no default available: text/html":                              passing,
		"received unexpected HTTP status: 200 OK":                                                          unclear,
		"error from registry: internal":                                                                    unclear,
		"error parsing HTTP 413 response body: invalid character '<': \"<html>413 Request Entity Too...\"": final,
		"unknown: <html>413 Request Entity Too Large</html>":                                               final,
		"tag invalid: The image tag '1' already exists and cannot be overwritten":                          final,
		"unexpected status from PUT request to http://r:5000/v2/a/manifests/1: 400 Bad Request":            final,
	} {
		if got := readRefusal(text).verdict(); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

// TestBuildWords is about what newer engines say; the words of 20.10 are tested
// against the engine itself.
func TestBuildWords(t *testing.T) {
	t.Parallel()
	e, err := New(nil, Options{Host: "tcp://127.0.0.1:1"}) // not asked for anything
	if err != nil {
		t.Fatal(err)
	}
	const calledOff = "context canceled: context canceled"
	for _, tt := range []struct {
		name, text string
		step       step
		kind       jobs.Kind
		message    string
	}{
		{"parse error", "failed to solve: dockerfile parse error on line 3: unknown instruction: RUM (did you mean RUN?)", step{}, jobs.KindDockerfileInvalid, "app.Dockerfile line 3: unknown instruction: RUM (did you mean RUN?)"},
		{"no stage", "failed to solve: invalid stage index 9", step{}, jobs.KindDockerfileInvalid, "app.Dockerfile: invalid stage index 9"},
		{"no file", "failed to solve: failed to read dockerfile: open app.Dockerfile: no such file or directory", step{}, jobs.KindDockerfileMissing, "the context has no app.Dockerfile"},
		{"exit code", `process "/bin/sh -c false" did not complete successfully: exit code: 1`, step{name: "[build 2/3] RUN false", err: `process "/bin/sh -c false" did not complete successfully: exit code: 1`}, jobs.KindBuildFailed, `step "RUN false" ended with exit code 1`},
		{"exit code of a step without status", `executor failed running [/bin/sh -c echo "a"; exit 9]: exit code: 9`, step{}, jobs.KindBuildFailed, `command "/bin/sh -c echo \"a\"; exit 9" ended with exit code 9`},
		{"exit code of a step that was only announced", `executor failed running [/bin/sh -c echo a; exit 9]: exit code: 9`, step{name: "[2/2] RUN echo a; exit 9"}, jobs.KindBuildFailed, `step "RUN echo a; exit 9" ended with exit code 9`},
		{"exit code of a step without status, newer", `failed to solve: process "/bin/sh -c echo \"a\"" did not complete successfully: exit code: 9`, step{name: "[internal] load build context", err: "the session ended"}, jobs.KindBuildFailed, `command "/bin/sh -c echo \"a\"" ended with exit code 9`},
		{"user", "failed to solve", step{name: "[2/2] RUN true", err: `process "/bin/sh -c echo \"a\"" did not complete successfully: unable to find user nosuch: no matching entries in passwd file`}, jobs.KindBuildFailed, `step "RUN true" failed: unable to find user nosuch: no matching entries in passwd file`},
		{"user, by 20.10", "failed to solve", step{name: "[2/2] RUN true", err: "executor failed running [/bin/sh -c true]: unable to find user nosuch: no matching entries in passwd file"}, jobs.KindBuildFailed, `step "RUN true" failed: unable to find user nosuch: no matching entries in passwd file`},
		{"host path", "failed to solve: lstat /var/lib/docker/tmp/buildkit-mount123/a: no such file or directory", step{}, jobs.KindBuildFailed, "the build failed: lstat ...: no such file or directory"},
		{"a step that is told of the build's end only", `failed to solve: failed to compute cache key: failed to calculate checksum of ref a1::b2: "/nofile": not found`, step{name: "[2/2] COPY nofile /x", err: calledOff}, jobs.KindBuildFailed, `step "COPY nofile /x" failed: "/nofile": not found`},
		{
			"a context that a prune took away", `failed to solve with frontend dockerfile.v0: failed to read downloaded context: Get "http://build-context-vr0pl2f87ydeiny6bqgg0e5t5": context not found`,
			step{name: "[internal] load remote build context", err: "context not found"},
			jobs.KindEngine, "the build host lost the context before the build had read it",
		},
		{
			"a worker that was stopped", `failed to solve: failed to read downloaded context: failed to load cache key: rpc error: code = Unavailable desc = transport is closing`,
			step{name: "[internal] load remote build context", err: "rpc error: code = Unavailable desc = transport is closing"},
			jobs.KindEngine, "the build host lost its connection to the worker",
		},
		{
			"the same in a step", `failed to solve: rpc error: code = Unknown desc = failed to compute cache key: no active session for 0a1b2c: context deadline exceeded`,
			step{name: "[2/2] RUN --mount=type=secret,id=a true", err: "no active session for 0a1b2c: context deadline exceeded"},
			jobs.KindEngine, "the build host lost its connection to the worker",
		},
		{"the same to a newer engine", `failed to solve: failed to read dockerfile: rpc error: code = Unavailable desc = error reading from server: EOF`, step{}, jobs.KindEngine, "the build host lost its connection to the worker"},
		{
			"a step that says the same", `executor failed running [/bin/sh -c echo 'rpc error: code = Unavailable desc = transport is closing'; false]: exit code: 1`,
			step{name: "[2/2] RUN echo ...", err: "executor failed running [/bin/sh -c echo 'rpc error: code = Unavailable desc = transport is closing'; false]: exit code: 1"},
			jobs.KindBuildFailed, `step "RUN echo ..." ended with exit code 1`,
		},
		{
			"a step that says so", `executor failed running [/bin/sh -c echo 'failed to read downloaded context: Get "http://build-context-a": context not found']: exit code: 1`,
			step{name: "[2/2] RUN echo ...", err: "exit code: 1"},
			jobs.KindBuildFailed, `step "RUN echo ..." ended with exit code 1`,
		},
		{"base", "failed to solve: busybox:9: failed to resolve source metadata for docker.io/library/busybox:9: docker.io/library/busybox:9: not found", step{name: "[internal] load metadata for docker.io/library/busybox:9", err: "not found"}, jobs.KindBaseMissing, "base image busybox:9 was not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrace(nil)
			if tt.step.name != "" && tt.kind == jobs.KindBuildFailed {
				tr.order = append(tr.order, &step{name: "[internal] load .dockerignore", err: "the session ended"})
			}
			tr.order = append(tr.order, &step{name: "[1/2] FROM docker.io/library/busybox", err: calledOff}, &tt.step)
			if tt.step.err != calledOff { // nothing tells two of them apart
				tr.order = append(tr.order, &step{name: "[a 1/1] RUN sleep", err: calledOff}, &step{name: "[b 1/1] RUN sleep", err: calledOff})
			}
			f := jobs.AsFailure(e.buildFailure(t.Context(), tr, &solveError{tt.text}, jobs.Build{Dockerfile: "app.Dockerfile"}))
			if f.Kind != tt.kind || f.Message != tt.message {
				t.Errorf("failure = %s %q, want %s %q", f.Kind, f.Message, tt.kind, tt.message)
			}
		})
	}
}

// What the engine says of a container that it does not start is a sentence in the
// message, and whole in the cause.
func TestContainerRefused(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", 300)
	for _, tt := range []struct {
		said           string
		run            jobs.Run
		message, cause string
	}{
		{
			`failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting "tmpfs" to rootfs at "/etc/passwd": ` +
				`mount tmpfs:/etc/passwd (via /proc/self/fd/6), flags: 0xe, data: size=1048576: not a directory: unknown: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type`,
			jobs.Run{Tmpfs: map[string]jobs.Bytes{"/etc/passwd": 1 << 20}},
			`the engine refused the container because of run.tmpfs /etc/passwd: error mounting "tmpfs" to rootfs at "/etc/passwd": mount tmpfs:/etc/passwd: not a directory`, "",
		},
		// As runc 1.3 says it.
		{
			`error mounting "tmpfs" to rootfs at "/etc/passwd": mount src=tmpfs dstFd=/proc/thread-self/fd/8, flags=MS_NOSUID|MS_NODEV, data=mode=0644,size=1048576: not a directory`,
			jobs.Run{},
			`the engine refused the container: error mounting "tmpfs" to rootfs at "/etc/passwd": mount: not a directory`, "",
		},
		{"cannot use " + long, jobs.Run{}, "the engine refused the container: cannot use /" + strings.Repeat("x", maxQuoted-len("cannot use /...")) + "...", "cannot use " + long},
	} {
		if f := containerRefused(errors.New(tt.said), tt.run); f.Message != tt.message || f.Cause != tt.cause {
			t.Errorf("got  %q, %q\nwant %q, %q", f.Message, f.Cause, tt.message, tt.cause)
		}
	}
	if f := commandFailure([]string{"", long, "stat " + long + ": file name too long"}, nil); len(f.Message) > 300 || !strings.Contains(f.Cause, long) {
		t.Errorf("got %q, %q", f.Message, f.Cause)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var got tail
	for i := range 30 {
		got.add(1, fmt.Sprintf("line %d", i))
		got.add(1, "\n")
	}
	got.add(1, strings.Repeat("x", 2*maxLine))
	got.add(1, "y\nlast")
	lines := got.last()
	want := []string{"line 12", strings.Repeat("x", maxLine), "last"}
	if diff := cmp.Diff(want, []string{lines[0], lines[maxTail-2], lines[maxTail-1]}); diff != "" || len(lines) != maxTail {
		t.Errorf("%d lines (-want +got):\n%s", len(lines), diff)
	}
	// BuildKit tells what went to stderr before a flood on stdout.
	var both tail
	both.add(stderrStream, "the reason\n")
	for i := range 30 {
		both.add(1, fmt.Sprintf("line %d\n", i))
	}
	lines = both.last()
	if diff := cmp.Diff([]string{"the reason", "line 11", "line 29"}, []string{lines[0], lines[1], lines[maxTail-1]}); diff != "" || len(lines) != maxTail {
		t.Errorf("%d lines of both streams (-want +got):\n%s", len(lines), diff)
	}
}

// The output of steps that went well is not kept: a build may have any number of them.
func TestTailOfSteps(t *testing.T) {
	t.Parallel()
	tr := newTrace(nil)
	well, badly, now := digest.FromString("well"), digest.FromString("badly"), time.Now()
	err := tr.add(&client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: well, Started: &now, Completed: &now}, {Digest: badly, Started: &now, Completed: &now, Error: "exit code: 1"}},
		Logs:     []*client.VertexLog{{Vertex: well, Stream: 1, Data: []byte("it went well\n")}, {Vertex: badly, Stream: 1, Data: []byte("it went badly\n")}},
	})
	if got := tr.step(badly).tail.last(); err != nil || len(tr.step(well).tail.last()) != 0 || len(got) != 1 || got[0] != "it went badly" {
		t.Errorf("kept are %q and %q (%v)", tr.step(well).tail.last(), got, err)
	}
}

// Engines say in three ways that a port is taken.
func TestPortMessage(t *testing.T) {
	t.Parallel()
	for complaint, want := range map[string]string{
		"driver failed programming external connectivity on endpoint x (abc): Bind for 0.0.0.0:8080 failed: port is already allocated": "host address 0.0.0.0:8080 is taken",
		"Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use":                                      "host address 127.0.0.1:8080 is taken",
		"failed to set up container networking: failed to bind host port 127.0.0.1:8080/tcp: address already in use":                   "host address 127.0.0.1:8080 is taken",
		"failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use":                                          "host address 0.0.0.0:8080 is taken",
		"failed to bind host port [::1]:8080/tcp: address already in use":                                                              "host address [::1]:8080 is taken",
		"the port is gone": "a host port of the job is taken",
	} {
		if got := portMessage(complaint); got != want {
			t.Errorf("portMessage(%q) = %q, want %q", complaint, got, want)
		}
	}
}
