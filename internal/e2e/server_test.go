//go:build integration

package e2e_test

import (
	"bufio"
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// overHTTP has enqueue reach every farm over its server, without Redis and the artifact store.
var overHTTP = flag.Bool("e2e.http", false, "have enqueue reach farms over HTTP (not where tests take these themselves away)")

// apiServer is a process of enqueue serve.
type apiServer struct{ url, token string }

// serve starts the farm's server, and ends it with the test.
func (f *farm) serve(args ...string) apiServer {
	f.t.Helper()
	argv := append([]string{"serve", "--listen", "127.0.0.1:0", "--rate", "10000", "--upload-dir", filepath.Join(f.dir, "uploads")}, args...)
	cmd := exec.Command(filepath.Join(bins, "enqueue"), argv...)
	cmd.Env = f.envWith(f.serverURL())
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	var log bytes.Buffer
	lines := bufio.NewScanner(stderr)
	var s apiServer
	for s.url == "" && lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if _, url, ok := strings.Cut(lines.Text(), "serving the farm at "); ok {
			s.url = url
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
			log.WriteString(lines.Text() + "\n")
		}
	}()
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		<-drained
		err := cmd.Wait()
		late.Stop()
		if f.t.Failed() || err != nil {
			f.t.Logf("the server ended with %v; its log:\n%s", err, log.Bytes())
		}
	})
	if s.url == "" {
		f.t.Fatal("enqueue serve did not begin to listen")
	}
	token := exec.Command(filepath.Join(bins, "enqueue"), "tokens", "create", "e2e", "--scope", "admin")
	token.Env = f.envWith(f.serverURL())
	out, err := token.Output()
	if err != nil {
		f.t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(out))
	return s
}

// serverURL is how the server reaches Redis, with its own rights.
func (f *farm) serverURL() string { return strings.ReplaceAll(f.producer, "producer", "server") }

// env is the environment of a producer that sees the server and nothing else of the farm.
func (s apiServer) env(f *farm) []string {
	env := slices.DeleteFunc(f.envWith("redis://nowhere.invalid:6379"), func(v string) bool { return strings.HasPrefix(v, "SLIPWAY_STORE=") })
	return append(env, "SLIPWAY_STORE=/nonexistent/store", "SLIPWAY_SERVER="+s.url, "SLIPWAY_TOKEN="+s.token)
}

// producerEnv is the environment of a run of enqueue.
func (f *farm) producerEnv() []string {
	if !*overHTTP || f.at != nil {
		return f.envWith(f.producer)
	}
	if f.server.url == "" {
		f.server = f.serve()
	}
	return f.server.env(f)
}

// A context goes to a farm, and its log and outputs come back, over HTTP alone.
func TestProducerOverHTTP(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	f := newFarm(t)
	f.worker(hostA, "one")
	server := f.serve()
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nCOPY hello.txt /\nCMD cat /hello.txt; mkdir /out; echo left > /out/file\n", "hello.txt": "hello\n"})
	enqueue := func(args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bins, "enqueue"), args...)
		cmd.Env = server.env(f)
		out, err := cmd.Output()
		return string(out), err
	}
	if out, err := enqueue("submit", "--output-path", "/out", dir); err != nil || out != "hello\n" {
		t.Fatalf("submit: %q, %v", out, err)
	}
	id, err := enqueue("ls", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if out, err := enqueue("outputs", strings.TrimSpace(id), "/out/file", "--to", to); err != nil {
		t.Fatalf("outputs: %q, %v", out, err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "file")); err != nil || string(got) != "left\n" {
		t.Errorf("the output is %q, %v", got, err)
	}
	if out, err := enqueue("logs", strings.TrimSpace(id)); err != nil || out != "hello\n" {
		t.Errorf("logs: %q, %v", out, err)
	}
}
