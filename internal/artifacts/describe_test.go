package artifacts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	o := artifacts.NewOwner(&registry{}, artifactstest.NewStore(), "/store")
	if err := o.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := o.Describe(t.Context()); err != nil || got != "/store has no owner, and the farm has no store yet: the first worker takes it" {
		t.Errorf("%q, %v; want that it has no owner", got, err)
	}
	if _, err := o.Take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got, err := o.Describe(t.Context()); err != nil || !strings.HasPrefix(got, "/store is the store of this farm (A, store ") {
		t.Errorf("%q, %v; want that it is the farm's", got, err)
	}
}

// broken is a store that answers with an error.
type broken struct{ artifacts.Store }

func (broken) Stat(context.Context, string) (artifacts.Info, error) {
	return artifacts.Info{}, errors.New("input/output error")
}

func (broken) Mark(context.Context) (artifacts.Mark, error) {
	return artifacts.Mark{}, errors.New("input/output error")
}

func TestReachable(t *testing.T) {
	t.Parallel()
	if err := artifacts.Reachable(t.Context(), artifactstest.NewStore()); err != nil {
		t.Errorf("an empty store: %v; want it reachable", err)
	}
	s := broken{artifactstest.NewStore()}
	if err := artifacts.Reachable(t.Context(), s); err == nil {
		t.Error("a store that does not answer is reachable")
	}
	if _, err := artifacts.NewOwner(&registry{}, s, "/store").Describe(t.Context()); err == nil {
		t.Error("a store that does not answer has an owner")
	}
}

func TestAdvised(t *testing.T) {
	t.Parallel()
	own := &artifacts.StoreError{Err: errors.New("EROFS"), Message: "the store is read-only", Hint: "mount it again"}
	if got := artifacts.Advised(fmt.Errorf("collect: %w", own)).Error(); got != "the store is read-only; mount it again" {
		t.Errorf("%q; want what is wrong and what to do", got)
	}
	other := errors.New("another error")
	if got := artifacts.Advised(other); !errors.Is(got, other) || artifacts.Advised(nil) != nil {
		t.Errorf("%v; want another error left alone", got)
	}
}
