package artifacts

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Registry is what the farm's Redis remembers of the farm and of its store.
// Package store keeps it.
type Registry interface {
	// FarmID returns the ID of the farm, and makes one if there is none. With
	// pretend it makes none, and returns "".
	FarmID(ctx context.Context, pretend bool) (string, error)
	// StoreID returns the identity of the store that the farm has marked, that of
	// AnyMark, or "" when it has marked none yet.
	StoreID(ctx context.Context) (string, error)
	// RememberStore notes the identity, over another one only if over is true, and
	// returns the one that is noted then.
	RememberStore(ctx context.Context, id string, over bool) (string, error)
	// MarkTurn reports whether it is the caller's turn to mark the first store of
	// the farm. It is no other's for so long, or until EndTurn.
	MarkTurn(ctx context.Context, d time.Duration) (bool, error)
	// EndTurn gives the turn up.
	EndTurn(ctx context.Context) error
}

// Owner makes sure that a store is the farm's before it is used, and goes on
// looking. The farm's store carries its [Mark], and Redis remembers which store
// that is:
//
//	the store carries     Redis remembers
//	the farm, store S     S                it is the farm's
//	the farm, store S     nothing          it is, and Redis notes it
//	the farm, store S     another          it is not: the farm uses another one
//	another farm          whatever         it is not
//	nothing               nothing          it becomes the farm's
//	nothing               a store          it is not: is it mounted?
//	whatever              any store        it may be used
//
// A store is marked first and remembered then, so that nothing is lost when its
// worker dies in between. Of two workers that mark two directories of one new farm,
// one has the turn; if that is over before it is done, the store that is remembered
// first is the farm's. Owner is safe for concurrent use.
type Owner struct {
	reg   Registry
	store Store
	where string

	mu sync.Mutex // guards what follows
	// known is the mark of the farm's store, zero when it is not known, and asked
	// when Redis said so.
	known Mark
	asked time.Time
}

// NewOwner looks after store, which people know by where. No worker or command
// uses the store until it was found to be the farm's.
func NewOwner(reg Registry, store Store, where string) *Owner {
	store.Expect(Mark{})
	return &Owner{reg: reg, store: store, where: where}
}

const (
	// askEvery is how often Redis is asked for what an operator may have changed.
	askEvery = time.Minute
	// lookTime bounds a look at the store: with the pauses between them a store
	// that hangs is found out within ten seconds.
	lookTime = 3 * time.Second
	// markTime is how long one worker has to mark a store.
	markTime  = 10 * time.Second
	markPause = 100 * time.Millisecond
)

// Check makes sure that the store is the farm's. One without a mark becomes the
// farm's if that has no store yet.
func (o *Owner) Check(ctx context.Context) error { return o.check(ctx, false) }

// Ask is [Owner.Look] for those who change neither the store nor Redis. A store
// without a mark is good enough if the farm has none yet.
func (o *Owner) Ask(ctx context.Context) error {
	return o.look(ctx, func(ctx context.Context) error { return o.check(ctx, true) })
}

// Exclusive is Check, or Ask, for those who delete what the farm does not know of.
func (o *Owner) Exclusive(ctx context.Context, ask bool) error {
	err := o.check(ctx, ask)
	if known, _ := o.remembered(); err == nil && known == AnyMark() {
		return errors.New("this farm takes any artifact store, for trying out, and cannot tell what others have in it")
	}
	return err
}

func (o *Owner) remembered() (known Mark, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known, o.known != Mark{} && time.Since(o.asked) < askEvery
}

// expect notes what is known and holds the store to it.
func (o *Owner) expect(known, want Mark) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known, o.asked = known, time.Now()
	o.store.Expect(want)
}

func (o *Owner) check(ctx context.Context, ask bool) error {
	known, fresh := o.remembered()
	found, err := o.store.Mark(ctx)
	if err != nil || fresh && known.Is(found) {
		return err
	}
	id, err := o.reg.StoreID(ctx)
	farm := ""
	if err == nil && id != anyStore {
		farm, err = o.reg.FarmID(ctx, ask)
	}
	switch {
	case err != nil && known.Is(found): // it was the farm's when Redis was last heard of
		return nil
	case err != nil:
		return unsaid{fmt.Errorf("the farm's Redis does not say whose the artifact store at %s is: %w", o.where, err)}
	case id == anyStore:
		o.expect(AnyMark(), AnyMark())
		return nil
	}
	return o.judge(ctx, farm, id, ask)
}

// judge decides by the farm and the store that Redis remembers.
func (o *Owner) judge(ctx context.Context, farm, id string, ask bool) error {
	for {
		found, err := o.store.Mark(ctx)
		if err != nil {
			return err
		}
		ours := found.Farm != "" && found.Farm == farm
		switch {
		case ours && id == "" && !ask:
			if id, err = o.reg.RememberStore(ctx, found.Store, false); err != nil {
				return unsaid{fmt.Errorf("the farm's Redis does not note the artifact store at %s as the farm's: %w", o.where, err)}
			}
			continue
		case ours && (id == "" || id == found.Store):
			o.expect(found, found)
			return nil
		case found == Mark{} && id == "" && ask:
			o.expect(Mark{}, AnyMark())
			return nil
		case found == Mark{} && id == "":
			if id, err = o.take(ctx, farm); err != nil {
				return err
			}
			continue
		}
		want := Mark{Farm: cmp.Or(farm, "(none yet)"), Store: id} // never the zero Mark
		o.expect(Mark{}, want)
		return Foreign(o.where, found, want)
	}
}

// take marks the store as that of a farm that has none yet, when it is the caller's
// turn, or waits until another has marked one. It returns what Redis remembers.
func (o *Owner) take(ctx context.Context, farm string) (id string, err error) {
	for {
		turn, err := o.reg.MarkTurn(ctx, markTime)
		if err == nil {
			id, err = o.reg.StoreID(ctx)
		}
		if err != nil {
			return "", unsaid{fmt.Errorf("the farm's Redis does not say which artifact store the farm has: %w", err)}
		}
		if id != "" {
			return id, nil
		}
		if turn {
			err := o.store.SetMark(ctx, Mark{Farm: farm, Store: rand.Text()}, false)
			if err != nil { // another host's store may do
				_ = o.reg.EndTurn(ctx) // else it ends by itself
			}
			return "", err
		}
		select {
		case <-time.After(markPause):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return "", unsaid{errors.New("another worker of this new farm is about to mark its artifact store")}
		}
		if found, err := o.store.Mark(ctx); err != nil || found != (Mark{}) {
			return "", err
		}
	}
}

// Take makes the store the farm's because an operator says so: it was moved, or is
// begun anew. The farm uses no other from then on. One that belongs to another farm
// is taken with force only.
func (o *Owner) Take(ctx context.Context, force bool) (Mark, error) {
	farm, err := o.reg.FarmID(ctx, false)
	if err != nil {
		return Mark{}, err
	}
	found, err := o.store.Mark(ctx)
	switch {
	case err != nil:
		return Mark{}, err
	case found.Farm == farm:
	case found != Mark{} && !force:
		return Mark{}, Foreign(o.where, found, Mark{Farm: farm})
	default:
		err = o.store.SetMark(ctx, Mark{Farm: farm, Store: rand.Text()}, true)
		if err == nil {
			found, err = o.store.Mark(ctx)
		}
		if err != nil {
			return Mark{}, err
		}
	}
	if _, err := o.reg.RememberStore(ctx, found.Store, true); err != nil {
		return Mark{}, err
	}
	o.expect(found, found)
	return found, nil
}

// Look is Check for those who watch the store: it takes a few seconds at most, and
// its error is a sentence. With prove it writes to the store, too.
func (o *Owner) Look(ctx context.Context, prove bool) error {
	return o.look(ctx, func(ctx context.Context) error {
		err := o.Check(ctx)
		if err == nil && prove {
			err = o.prove(ctx)
		}
		return err
	})
}

func (o *Owner) look(ctx context.Context, how func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return o.tell(ctx, how(ctx))
}

// prove writes a blob as jobs do, and removes it. One that stays is garbage.
func (o *Owner) prove(ctx context.Context) error {
	blob, err := NewBlobs(o.store, "").Write(ctx, strings.NewReader("a look at the store "+rand.Text()))
	if err == nil {
		_ = o.store.Delete(ctx, blob.Digest)
	}
	return err
}

// unsaid is an error that says nothing against the store.
type unsaid struct{ error }

func (u unsaid) Unwrap() error { return u.error }

// IsUnsaid reports whether an error of an Owner is about Redis, and says nothing
// against the store.
func IsUnsaid(err error) bool {
	_, ok := errors.AsType[unsaid](err)
	return ok
}

// told is an error in the words for people.
type told struct {
	error
	text string
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.error }

// tell makes a sentence of what came of a look.
func (o *Owner) tell(ctx context.Context, err error) error {
	var own *StoreError
	var path *fs.PathError
	switch {
	case err == nil, IsUnsaid(err):
		return err
	case errors.As(err, &own):
		return told{err, own.Message}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return told{err, fmt.Sprintf("the artifact store at %s does not answer", o.where)}
	case errors.As(err, &path):
		return told{err, fmt.Sprintf("the artifact store at %s cannot be used: %v", o.where, path)}
	}
	return told{err, fmt.Sprintf("the artifact store at %s cannot be used: %v", o.where, err)}
}

// IsSetting reports whether an error of a store is one of its operator's settings:
// it does not pass by itself, as those of a file system that is away do.
func IsSetting(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.ENOTDIR, syscall.EROFS, syscall.ENOENT, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EINVAL,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
