//go:build integration

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// httpServer is the farm's server, for programs that are its clients.
type httpServer struct {
	t *testing.T
	apiServer
}

// addr is HOST:PORT.
func (s *httpServer) addr() string { return strings.TrimPrefix(s.url, "http://") }

// client runs a program that finds the server at url by the environment, in dir.
func (s *httpServer) client(url, dir, name string, args ...string) answer {
	s.t.Helper()
	return s.clientWith(nil, url, dir, name, args...)
}

func (s *httpServer) clientWith(stdin []byte, url, dir, name string, args ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SLIPWAY_SERVER="+url, "SLIPWAY_TOKEN="+s.token, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s %q: %v", name, args, err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}
