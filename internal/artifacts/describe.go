package artifacts

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Describe returns a sentence on which farm owns the store. The caller has called Ask or
// Take before, so another farm's store does not come here.
func (o *Owner) Describe(ctx context.Context) (string, error) {
	m, err := o.store.Mark(ctx)
	switch {
	case err != nil:
		return "", err
	case m == Mark{}:
		return o.where + " has no owner, and the farm has no store yet: the first worker takes it", nil
	default:
		return fmt.Sprintf("%s is the store of this farm (%s, store %s)", o.where, m.Farm, m.Store), nil
	}
}

// Reachable asks the store for a blob that need not be there. Its error is a sentence
// that says why the store cannot be used.
func Reachable(ctx context.Context, s Store) error {
	_, err := s.Stat(ctx, "sha256:"+strings.Repeat("0", 64))
	if err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	return errors.New(StoreFailure(err, "contexts, logs and outputs").Message)
}

// Advised adds the hint to an error of a store, for commands that print an error on one
// line.
func Advised(err error) error {
	if own, ok := errors.AsType[*StoreError](err); ok {
		return fmt.Errorf("%s; %s", own.Message, own.Hint)
	}
	return err
}
