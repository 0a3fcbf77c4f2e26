package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// shell runs the few commands a Fake knows. They mean what they mean in
// busybox:
//
//	echo [-n] words   true   false   exit N   sleep SECONDS   env   pwd
//	mkdir [-p] dir    cat file   head -c N /dev/zero   trap 'exit N' TERM
//	sh -c 'commands'  with ; && & quotes, > file, >&2 and $NAME
//
// and two that busybox lacks: oom ends the container as the kernel does when it
// has no memory left, httpd-ok answers every HTTP request with 200.
type shell struct {
	// container is nil in a build step; then build takes the output.
	container *container
	build     func(stream jobs.Stream, data []byte)
	ctx       context.Context
	env       map[string]string
	onTerm    int // exit code after SIGTERM
	ignore    bool
	over      bool // exit was called, or a signal came
	code      int
	oom       bool
}

var commands = []string{"sh", "/bin/sh", "echo", "true", "false", "exit", "sleep", "env", "pwd", "mkdir", "cat", "head", "trap", "oom", "httpd-ok", "wait"}

func isCommand(name string) bool { return slices.Contains(commands, name) }

// run returns the exit code of argv.
func (s *shell) run(argv []string) int {
	s.onTerm = 143
	s.env = map[string]string{"PATH": "/bin"}
	if s.container != nil {
		maps.Copy(s.env, s.container.spec.Spec.Env)
	}
	code := s.command(argv)
	if s.over {
		return s.code
	}
	return code
}

func (s *shell) command(argv []string) int {
	if (argv[0] == "sh" || argv[0] == "/bin/sh") && len(argv) > 2 && argv[1] == "-c" {
		return s.script(argv[2])
	}
	return s.simple(argv, s.out(jobs.Stdout))
}

func (s *shell) script(text string) int {
	code := 0
	for _, st := range parse(text, s.env) {
		if st.and && code != 0 {
			continue
		}
		w := s.out(jobs.Stdout)
		var file bytes.Buffer
		switch {
		case st.toStderr:
			w = s.out(jobs.Stderr)
		case st.file != "":
			w = &file
		}
		code = s.simple(st.argv, w)
		if st.file != "" && s.container != nil {
			s.store(st.file, file.Bytes())
		}
		if s.over || s.ctx.Err() != nil {
			break
		}
	}
	return code
}

func (s *shell) simple(argv []string, w io.Writer) int {
	if len(argv) == 0 {
		return 0
	}
	arg := func(i int) string {
		if i < len(argv) {
			return argv[i]
		}
		return ""
	}
	switch argv[0] {
	case "true", "wait":
	case "false":
		return 1
	case "exit":
		s.code, _ = strconv.Atoi(arg(1))
		s.over = true
		return s.code
	case "echo":
		words, end := argv[1:], "\n"
		if arg(1) == "-n" {
			words, end = argv[2:], ""
		}
		fmt.Fprint(w, strings.Join(words, " ")+end)
	case "env":
		for _, k := range slices.Sorted(maps.Keys(s.env)) {
			fmt.Fprintf(w, "%s=%s\n", k, s.env[k])
		}
	case "pwd":
		fmt.Fprintln(w, s.workdir())
	case "mkdir":
		for dir := s.abs(argv[len(argv)-1]); dir != "/"; dir = path.Dir(dir) {
			s.store(dir, nil)
		}
	case "cat":
		return s.cat(arg(1), w)
	case "head":
		n, _ := strconv.Atoi(arg(2))
		_, _ = w.Write(make([]byte, n))
	case "trap":
		s.ignore = arg(1) == ""
		if n, ok := strings.CutPrefix(arg(1), "exit "); ok {
			s.onTerm, _ = strconv.Atoi(n)
		}
	case "sleep":
		seconds, _ := strconv.ParseFloat(arg(1), 64)
		return s.sleep(time.Duration(seconds * float64(time.Second)))
	case "oom":
		s.oom, s.over, s.code = true, true, 137
	case "httpd-ok":
		return s.serve()
	case "sh", "/bin/sh":
		return s.command(argv)
	default:
		fmt.Fprintf(s.out(jobs.Stderr), "sh: %s: not found\n", argv[0])
		return 127
	}
	return 0
}

// sleep waits, and ends the shell when a signal comes.
func (s *shell) sleep(d time.Duration) int {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-s.termSignal():
		s.over, s.code = true, s.onTerm
	case <-s.ctx.Done():
		s.over, s.code = true, 137
	}
	return s.code
}

// termSignal is nil, which blocks for ever, when no process can ask or the program
// does not listen.
func (s *shell) termSignal() chan struct{} {
	if s.container == nil || s.ignore {
		return nil
	}
	return s.container.term
}

func (s *shell) serve() int {
	s.container.fake.mu.Lock()
	for _, l := range s.container.listeners {
		server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "ok")
		})}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
	}
	s.container.fake.mu.Unlock()
	return s.sleep(24 * time.Hour)
}

func (s *shell) cat(name string, w io.Writer) int {
	s.container.fake.mu.Lock()
	data, ok := s.container.files[s.abs(name)]
	s.container.fake.mu.Unlock()
	if file, inside := strings.CutPrefix(s.abs(name), jobs.SecretsDir+"/"); inside && s.container.spec.Secrets != "" {
		var err error
		data, err = os.ReadFile(filepath.Join(s.container.spec.Secrets, file))
		ok = err == nil
	}
	if !ok {
		fmt.Fprintf(s.out(jobs.Stderr), "cat: can't open '%s': No such file or directory\n", name)
		return 1
	}
	_, _ = w.Write(data)
	return 0
}

// store writes a file, or makes a directory when data is nil.
func (s *shell) store(name string, data []byte) {
	if s.container == nil {
		return
	}
	s.container.fake.mu.Lock()
	defer s.container.fake.mu.Unlock()
	s.container.files[s.abs(name)] = data
}

func (s *shell) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(s.workdir(), name)
}

func (s *shell) workdir() string {
	if s.container != nil && s.container.spec.Spec.Workdir != "" {
		return s.container.spec.Spec.Workdir
	}
	return "/"
}

func (s *shell) out(stream jobs.Stream) io.Writer {
	return writerFunc(func(data []byte) {
		if s.container != nil {
			s.container.write(stream, data)
		} else if s.build != nil {
			s.build(stream, data)
		}
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
