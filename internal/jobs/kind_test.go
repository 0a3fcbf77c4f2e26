package jobs_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// declaredKinds reads the constants of kind.go, so that none is left out of
// the table.
func declaredKinds(t *testing.T) []jobs.Kind {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "kind.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []jobs.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Kind" {
			for _, v := range spec.Values {
				name, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, jobs.Kind(name))
			}
		}
		return true
	})
	return kinds
}

func TestKinds(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	exits := []int{jobs.ExitFailed, jobs.ExitUsage, jobs.ExitInfra, jobs.ExitAuth, jobs.ExitCancelled, jobs.ExitTimeout}
	var listed []jobs.Kind
	for _, k := range jobs.Kinds() {
		if slices.Contains(listed, k.Kind) {
			t.Errorf("%s stands in the table twice", k.Kind)
		}
		listed = append(listed, k.Kind)
		if !word.MatchString(string(k.Kind)) || k.Meaning == "" {
			t.Errorf("%s: want a snake_case word with a meaning", k.Kind)
		}
		if !k.State.Terminal() || k.State == jobs.Succeeded {
			t.Errorf("%s leads to %s; want an end that is no success", k.Kind, k.State)
		}
		if !jobs.Running.CanBecome(k.State) && !jobs.Queued.CanBecome(k.State) {
			t.Errorf("%s leads to %s, which no job can become", k.Kind, k.State)
		}
		if !slices.Contains(exits, k.Exit) {
			t.Errorf("%s has exit code %d; want one of %v", k.Kind, k.Exit, exits)
		}
		if k.HTTP < 400 || http.StatusText(k.HTTP) == "" {
			t.Errorf("%s has status %d; want an error that HTTP knows", k.Kind, k.HTTP)
		}
		if k.State == jobs.Refused && (k.Retryable || k.Exit != jobs.ExitUsage || k.Fault != jobs.UserFault) {
			t.Errorf("%s is refused: want it not retryable, exit %d, the user's", k.Kind, jobs.ExitUsage)
		}
		switch k.Fault {
		case jobs.UserFault:
			if k.Exit == jobs.ExitInfra {
				t.Errorf("%s is the user's fault and has the exit code of the farm's", k.Kind)
			}
			if k.HTTP >= 500 && k.Kind != jobs.KindQueueTimeout {
				t.Errorf("%s is the user's fault and has status %d", k.Kind, k.HTTP)
			}
		case jobs.InfraFault:
			if k.Exit != jobs.ExitInfra || k.HTTP < 500 || k.State != jobs.Failed {
				t.Errorf("%s is the farm's fault: want exit %d, a 5xx status and failed", k.Kind, jobs.ExitInfra)
			}
			// What was tried for long within its attempt is not built again.
			if !k.Retryable && !slices.Contains([]jobs.Kind{jobs.KindPoisoned, jobs.KindRecord, jobs.KindPush}, k.Kind) {
				t.Errorf("%s is the farm's fault and not tried again", k.Kind)
			}
		default:
			t.Errorf("%s is the fault of %q", k.Kind, k.Fault)
		}
	}
	declared := declaredKinds(t)
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared kinds and the table differ:\n%v\n%v", declared, listed)
	}
}

func TestKindInfo(t *testing.T) {
	t.Parallel()
	if got := jobs.KindOOM.Info(); got.Kind != jobs.KindOOM || got.State != jobs.Failed {
		t.Errorf("got %+v", got)
	}
	// A record of a newer build may hold a kind that this one does not know.
	got := jobs.Kind("of_tomorrow").Info()
	if got.Kind != "of_tomorrow" || got.Exit != jobs.ExitInfra || got.State != jobs.Failed {
		t.Errorf("unknown kind: got %+v; want it like an internal error, under its name", got)
	}
}

func TestAsFailure(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk quota exceeded at /var/lib/x")
	f := jobs.Fail(jobs.KindDiskFull, cause, "free some", "the disk of %s is full", "host-a")
	wrapped := errors.Join(errors.New("collect outputs"), f)
	if got := jobs.AsFailure(wrapped); got != f {
		t.Errorf("got %v; want the failure of the chain", got)
	}
	if !errors.Is(f, cause) || f.Message != "the disk of host-a is full" || f.Hint != "free some" {
		t.Errorf("got %+v", f)
	}
	if got := jobs.AsFailure(cause); got.Kind != jobs.KindInternal || !errors.Is(got, cause) || got.Message == "" || got.Hint == "" {
		t.Errorf("any other error: got %+v; want an internal error with a message", got)
	}
}

func TestResultExit(t *testing.T) {
	t.Parallel()
	fail := func(k jobs.Kind) jobs.Result {
		return jobs.Result{State: k.Info().State, Failure: jobs.Fail(k, nil, "", "x")}
	}
	for _, tt := range []struct {
		name   string
		result jobs.Result
		want   int
	}{
		{"success", jobs.Result{State: jobs.Succeeded}, jobs.ExitOK},
		{"no reason given", jobs.Result{State: jobs.Failed}, jobs.ExitFailed},
		{"exit code", fail(jobs.KindExitNonzero), jobs.ExitFailed},
		{"digest", fail(jobs.KindContextDigest), jobs.ExitUsage},
		{"daemon", fail(jobs.KindDaemonLost), jobs.ExitInfra},
		{"registry", fail(jobs.KindRegistryDenied), jobs.ExitAuth},
		{"cancelled", fail(jobs.KindCancelled), jobs.ExitCancelled},
		{"queue timeout", fail(jobs.KindQueueTimeout), jobs.ExitTimeout},
		{"run timeout", fail(jobs.KindTimeout), jobs.ExitTimeout},
	} {
		if got := tt.result.Exit(); got != tt.want {
			t.Errorf("%s: got exit code %d; want %d", tt.name, got, tt.want)
		}
	}
}
