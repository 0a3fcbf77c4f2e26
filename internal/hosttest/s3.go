package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// S3 is an S3 server (versitygw) of the test's own, on a loopback port, with one
// bucket.
type S3 struct {
	// Dir holds its data and its log.
	Dir string
	// Endpoint is http://127.0.0.1:port.
	Endpoint string
	// Bucket is the name of the bucket.
	Bucket               string
	AccessKey, SecretKey string
	daemon               *daemon
	// run starts the server at its address.
	run func(ctx context.Context) (*daemon, error)
}

// StartS3 starts a server for the length of the test, inside the host's network
// namespace when there is one.
func StartS3(t testing.TB, h *Host) *S3 {
	t.Helper()
	s, cleanup, err := RunS3(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// RunS3 is StartS3 for TestMain.
func RunS3(h *Host) (*S3, func() error, error) {
	tool, err := repositoryFile("scripts/tool.sh")
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-s3-")
	if err != nil {
		return nil, nil, err
	}
	s := &S3{Dir: dir, Bucket: "slipway", AccessKey: "test-access", SecretKey: "test-secret"}
	// The first use builds the server.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err = os.MkdirAll(filepath.Join(dir, "data", s.Bucket), 0o750); err == nil {
		// Another process may take the free port before the server does.
		for range 5 {
			if err = s.start(ctx, h, tool); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() error { return errors.Join(s.daemon.stop(syscall.SIGTERM), os.RemoveAll(dir)) }, nil
}

func (s *S3) start(ctx context.Context, h *Host, tool string) error {
	listen, dial := (&net.ListenConfig{}).Listen, (&net.Dialer{}).DialContext
	var argv []string
	if h != nil {
		listen, dial = h.Listen, h.Dial
		argv = []string{"nsenter", "--net=" + h.Netns}
	}
	l, err := listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	argv = append(argv, tool, "versitygw", "--port", addr, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet", "posix", filepath.Join(s.Dir, "data"))
	s.Endpoint = "http://" + addr
	s.run = func(ctx context.Context) (*daemon, error) {
		return start(ctx, filepath.Join(s.Dir, "s3.log"), argv, func(ctx context.Context) error {
			conn, err := dial(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	s.daemon, err = s.run(ctx)
	return err
}

// Env is the environment that S3 programs find the server by.
func (s *S3) Env() []string {
	return []string{"AWS_ENDPOINT_URL_S3=" + s.Endpoint, "AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey, "AWS_REGION=us-east-1"}
}

// Stop ends the server in order; it keeps its data.
func (s *S3) Stop() error { return s.daemon.stop(syscall.SIGTERM) }

// StartAgain starts a server that was stopped, at the same address.
func (s *S3) StartAgain() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := s.run(ctx)
	if err == nil {
		s.daemon = d
	}
	return err
}

// repositoryFile finds a file of this repository: tests run in the folder of
// their package.
func repositoryFile(name string) (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, found := os.Stat(filepath.Join(dir, "go.mod")); found == nil {
			return filepath.Join(dir, name), nil
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod above")
		}
	}
	return "", fmt.Errorf("look for %s: %w", name, err)
}
