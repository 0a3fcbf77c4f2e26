package docker

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/docker/docker/client"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Hints that several failures share.
const (
	hintRetry    = "the farm tries again by itself"
	hintOperator = "ask the operator to look at the worker's log"
	hintRegistry = "ask the operator for registry credentials on the worker, and check the name"
)

// failure turns an error of the daemon into a Failure. what says what the
// daemon was asked to do. The daemon's own words stay in the cause: they may
// hold paths of the host.
func failure(ctx context.Context, err error, what string) error {
	var f *jobs.Failure
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &f):
		return err
	case isLost(err):
		return daemonLost(err)
	case isDiskFull(err.Error()):
		return jobs.Fail(jobs.KindDiskFull, err, "ask the operator to make room on the host", "the build host's disk is full")
	default:
		return jobs.Fail(jobs.KindEngine, err, hintOperator, "the Docker daemon did not %s", what)
	}
}

func daemonLost(err error) *jobs.Failure {
	return jobs.Fail(jobs.KindDaemonLost, err, hintRetry, "the connection to the Docker daemon was lost")
}

func containerLost(id string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindContainerLost, err, hintRetry, "container %s is gone", id[:min(12, len(id))])
}

// isLost tells a broken connection from an answer of the daemon. The client
// marks some; hijacked connections and streams break with the plain errors.
func isLost(err error) bool {
	var op *net.OpError
	return client.IsErrConnectionFailed(err) || errors.As(err, &op) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isDiskFull(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error())
}

// missingHint says what to do about an image that was not found.
func missingHint(text string) string {
	switch {
	case strings.Contains(strings.ToLower(text), "may require"):
		return "check the name; a private image needs registry credentials on the worker"
	default:
		return "check the name and the tag"
	}
}
