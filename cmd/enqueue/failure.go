package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/remote"
)

// failure is an error with everything its reader needs: what happened, what to
// do about it, and the exit code.
type failure struct {
	code int
	// what is one line; when it is empty, err says it.
	what string
	// lines are details below what, one finding each.
	lines []string
	hint  string
	err   error
	// silent failures have been reported already; only the code counts.
	silent bool
}

func (f failure) Error() string {
	switch {
	case f.what != "" && f.err != nil:
		return f.what + ": " + f.err.Error()
	case f.err != nil:
		return f.err.Error()
	default:
		return f.what
	}
}

func (f failure) Unwrap() error { return f.err }

// usage is a mistake in the command line.
func usage(hint, format string, args ...any) error {
	return failure{code: jobs.ExitUsage, what: fmt.Sprintf(format, args...), hint: hint}
}

// exit ends the program with a code and says nothing more.
func exit(code int) error {
	if code == jobs.ExitOK {
		return nil
	}
	return failure{code: code, silent: true, what: fmt.Sprintf("exit %d", code)}
}

// report prints err for people and returns the exit code it stands for.
func (a *app) report(err error) int {
	if err == nil {
		return jobs.ExitOK
	}
	f := a.explain(err)
	if f.silent {
		return f.code
	}
	p := a.paint(a.stderr)
	fmt.Fprintf(a.stderr, "%s %s\n", p.red("error:"), oneLine(f.Error()))
	for _, l := range f.lines {
		fmt.Fprintf(a.stderr, "  %s\n", oneLine(l))
	}
	if f.hint != "" {
		fmt.Fprintf(a.stderr, "%s %s\n", p.bold("hint:"), oneLine(f.hint))
	}
	return f.code
}

// explain finds the exit code and the advice for an error of any layer.
func (a *app) explain(err error) failure {
	var f failure
	var m *flags.Mistake
	var refusal rebuild.Refusal
	var file *fs.PathError
	place, mend := a.place()
	switch {
	case errors.As(err, &file) && file.Path == os.Stdout.Name() && file.Op == "write": // not the farm's, whatever it did
		return failure{code: jobs.ExitFailed, what: "stdout cannot be written", err: file.Err}
	case errors.As(err, &f) && f.code != 0:
		return f
	case errors.As(err, &m):
		return failure{code: jobs.ExitUsage, what: m.Message, hint: m.Hint}
	case errors.As(err, &refusal):
		return failure{code: jobs.ExitUsage, err: refusal, hint: refusal.Hint()}
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return failure{code: jobs.ExitDetached, what: "interrupted"}
	case errors.Is(err, jobs.ErrInvalid):
		return invalid(err, nil)
	case errors.Is(err, jobs.ErrConflict):
		return failure{code: jobs.ExitUsage, err: err}
	case errors.Is(err, jobs.ErrNotFound):
		return failure{code: jobs.ExitUsage, err: err, hint: "enqueue ls shows the jobs of this farm"}
	case errors.Is(err, jobs.ErrFinished):
		return failure{code: jobs.ExitUsage, err: err}
	case errors.Is(err, jobs.ErrFull):
		return failure{
			code: jobs.ExitInfra, err: lastOf(err, jobs.ErrFull),
			hint: "submit it again when jobs have ended; an operator can raise maxmemory, or keep ended jobs for a shorter time (--retention-age)",
		}
	case redisconn.Says(err, "OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"):
		return failure{code: jobs.ExitInfra, what: place + " takes no writes at the moment", err: innermost(err), hint: redisHint(err)}
	case errors.Is(err, remote.ErrServer):
		return failure{code: jobs.ExitUnreachable, what: "cannot reach " + place, err: lastCause(err), hint: mend}
	case errors.Is(err, remote.ErrDenied):
		return failure{
			code: jobs.ExitAuth, err: err,
			hint: "put the text of a token that may do this into SLIPWAY_TOKEN, or its file into --token-file; enqueue tokens create makes one",
		}
	case isDenied(err):
		return failure{
			code: jobs.ExitAuth, what: place + " denied access", err: err,
			hint: "put the right user and password into --redis or SLIPWAY_REDIS",
		}
	case redisconn.Unreachable(err), errors.Is(err, context.DeadlineExceeded):
		f := failure{
			code: jobs.ExitUnreachable, what: "cannot reach " + place, err: lastCause(err), hint: cmp.Or(redisconn.Protocol(a.redisURL, err), mend),
		}
		if strings.HasPrefix(f.err.Error(), jobs.ErrUnreachable.Error()) {
			f.what = "" // the error says it
		}
		return f
	default:
		return failure{code: jobs.ExitInfra, err: err}
	}
}

// redisHint says what to do about a Redis that answers and does not do as it is
// told.
func redisHint(err error) string {
	switch {
	case redisconn.Says(err, "READONLY"):
		return "it is a replica: name the primary with --redis or SLIPWAY_REDIS, or use redis+sentinel://"
	case redisconn.Says(err, "OOM"):
		return "its memory is full: submit it again when jobs have ended; an operator can raise maxmemory"
	case redisconn.Says(err, "MISCONF"):
		return "it cannot write to its disk; an operator has to look at it"
	case redisconn.Says(err, "NOREPLICAS"):
		return "it wants replicas that have what it takes (min-replicas-to-write): try again in a moment, or ask an operator to look at them"
	}
	return "it is starting or failing over: try again in a moment"
}

// innermost is Redis' own answer in a chain, which may have branches.
func innermost(err error) error {
	var answer interface {
		error
		RedisError()
	}
	if errors.As(err, &answer) {
		return answer
	}
	return err
}

// lastOf is the innermost error of a chain that is still of a kind: what was
// attempted around it says nothing new.
func lastOf(err, kind error) error {
	for next := errors.Unwrap(err); next != nil && next != kind && errors.Is(next, kind); next = errors.Unwrap(err) { //nolint:errorlint // the sentinel itself says too little
		err = next
	}
	return err
}

// isDenied tells Redis' answers about credentials and ACLs from the others.
func isDenied(err error) bool {
	for _, word := range []string{"NOAUTH", "WRONGPASS", "NOPERM"} {
		if strings.Contains(err.Error(), word) {
			return true
		}
	}
	return false
}

// lastCause is the network's own error where there is one: the chain around it
// would only repeat that Redis cannot be reached.
func lastCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// invalid renders the findings about a document. flagOf names the flag that a
// JSON pointer came from, "" when it came from a document; it may be nil.
func invalid(err error, flagOf func(pointer string) string) failure {
	f := failure{code: jobs.ExitUsage, what: "the job is not acceptable", err: nil}
	var inv *jobs.Invalid
	if !errors.As(err, &inv) {
		f.err = err
		return f
	}
	for _, p := range inv.Problems {
		line := p.String()
		if flagOf != nil {
			if name := flagOf(p.Pointer); name != "" {
				line = fmt.Sprintf("%s: %s (%s, %s)", name, p.Message, p.Pointer, p.Code)
			}
		}
		f.lines = append(f.lines, line)
	}
	if len(f.lines) == 1 {
		f.what, f.lines = f.what+": "+f.lines[0], nil
	}
	return f
}

// oneLine keeps a message on its line and its control characters off the
// terminal: parts of it were written by others.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !strconv.IsPrint(r): // also what changes the direction of text
			return '\uFFFD'
		}
		return r
	}, strings.TrimRight(s, "\n"))
}
