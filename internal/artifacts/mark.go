package artifacts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Mark is what a store carries of whose it is. A network file system that is not
// mounted is an empty directory: only the mark tells it from the farm's store.
type Mark struct {
	// Farm is the ID of the farm that the store belongs to, "" for none.
	Farm string
	// Store tells the store from all others that the farm has, had or will have.
	Store string
}

// AnyMark is what a farm expects that takes any store, for trying out.
func AnyMark() Mark { return Mark{Store: anyStore} }

// anyStore is no identity of a store.
const anyStore = "*"

// Is reports whether a store that carries found is the one that is expected.
func (m Mark) Is(found Mark) bool { return m == AnyMark() || m != Mark{} && m == found }

// String is the mark as stores keep it: the farm on the first line, the store on
// the second.
func (m Mark) String() string { return m.Farm + "\n" + m.Store + "\n" }

// MaxMark is more than a mark has bytes.
const MaxMark = 1 << 10

// ParseMark reads what String wrote. A mark without its second line is one of an
// earlier version, when a farm had no second store.
func ParseMark(text string) Mark {
	farm, id, _ := strings.Cut(strings.TrimSpace(text), "\n")
	farm = strings.TrimSpace(farm)
	return Mark{Farm: farm, Store: cmp.Or(strings.TrimSpace(id), farm)}
}

// Marked is a store that carries a mark and can be held to it.
type Marked interface {
	// Mark returns the mark that the store carries, the zero Mark when it has none
	// or is not there at all.
	Mark(ctx context.Context) (Mark, error)
	// SetMark writes a mark, and makes the store if it is not there. One that the
	// store carries already stays, without an error, unless over is true.
	SetMark(ctx context.Context, m Mark, over bool) error
	// Expect says which mark the store has to carry from now on; until the first
	// call that is [AnyMark]. While it carries another, Put, Delete and List fail,
	// nothing is written, and a blob that it lacks is not ErrNotFound; the error has
	// [ErrForeign] in its chain. The zero Mark is carried by no store.
	Expect(m Mark)
}

// ErrForeign is in the chain of errors of a store that is not the expected one.
var ErrForeign = errors.New("the artifact store is not this farm's")

// Foreign is the error of a store at where that carries another mark than it has
// to.
func Foreign(where string, found, want Mark) error {
	var why, hint string
	switch {
	case want == Mark{}:
		return &StoreError{
			Err:     fmt.Errorf("%w as far as is known: Redis has not said yet whose the one at %s is", ErrForeign, where),
			Message: fmt.Sprintf("the artifact store at %s cannot be used before Redis has said whose it is", where), Hint: "try again",
		}
	case found == Mark{}:
		why, hint = "it has no owner although the farm has one; is it mounted?", "mount it; if it was moved or is begun anew on purpose, make it the farm's with worker store --take"
	case found.Farm != want.Farm:
		why = fmt.Sprintf("it belongs to farm %s, and this Redis is of farm %s", found.Farm, cmp.Or(want.Farm, "(none yet)"))
		hint = "give each farm a store of its own; if that farm is gone for good, make it this farm's with worker store --take --force"
	default:
		why, hint = "it is another one than the farm uses", "use the store of the other workers; if this one takes its place, make it the farm's with worker store --take"
	}
	return &StoreError{
		Err:     fmt.Errorf("%w: the one at %s: %s", ErrForeign, where, why),
		Message: fmt.Sprintf("the artifact store at %s is not this farm's: %s", where, why), Hint: hint,
	}
}
