package artifacts_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// registry is an artifacts.Registry in memory.
type registry struct {
	mu       sync.Mutex
	farm, id string
	turnEnds time.Time
	asked    int
	away     error
}

func (r *registry) FarmID(_ context.Context, pretend bool) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.farm == "" && !pretend {
		r.farm = "A"
	}
	return r.farm, r.away
}

func (r *registry) StoreID(context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.id, r.away
}

func (r *registry) RememberStore(_ context.Context, id string, over bool) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == "" || over {
		r.id = id
	}
	return r.id, r.away
}

func (r *registry) MarkTurn(_ context.Context, d time.Duration) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.turnEnds) {
		return false, r.away
	}
	r.turnEnds = time.Now().Add(d)
	return true, r.away
}

func (r *registry) EndTurn(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turnEnds = time.Time{}
	return r.away
}

func (r *registry) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// TestWhoseStore is the table of rules.
func TestWhoseStore(t *testing.T) {
	t.Parallel()
	const (
		none    = ""
		right   = "right"
		taken   = "taken"
		unowned = "it has no owner although the farm has one; is it mounted?"
		other   = "it belongs to farm B, and this Redis is of farm A"
		second  = "it is another one than the farm uses"
	)
	mark := func(farm, id string) artifacts.Mark { return artifacts.Mark{Farm: farm, Store: id} }
	tests := []struct {
		name       string
		carries    artifacts.Mark
		farm       string
		remembered string
		check, ask string
	}{
		{"a new farm and a new store", mark(none, none), none, none, taken, right},
		{"a farm that has no store yet", mark(none, none), "A", none, taken, right},
		{"the farm's store", mark("A", "1"), "A", "1", right, right},
		{"marked by a worker that died before Redis noted it", mark("A", "1"), "A", none, right, right},
		{"marked by an earlier version", mark("A", "A"), "A", none, right, right},
		{"not mounted", mark(none, none), "A", "1", unowned, unowned},
		{"another store of the farm", mark("A", "2"), "A", "1", second, second},
		{"another farm's", mark("B", "1"), "A", "1", other, other},
		{"another farm's, and this one has none", mark("B", "2"), "A", none, other, other},
		{"another farm's, and this one is new", mark("B", "2"), none, none, other, other},
		{"another farm's under the same identity", mark("B", "1"), "A", "1", other, other},
		{"any store, new", mark(none, none), none, "*", right, right},
		{"any store, another farm's", mark("B", "1"), none, "*", right, right},
	}
	for _, tt := range tests {
		if tt.farm == none && tt.ask == other { // who only asks makes no farm
			tt.ask = strings.Replace(other, "farm A", "farm (none yet)", 1)
		}
		for _, ask := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asks only: %t", tt.name, ask), func(t *testing.T) {
				t.Parallel()
				reg, store := &registry{farm: tt.farm, id: tt.remembered}, artifactstest.NewStore()
				if tt.carries != mark(none, none) {
					if err := store.SetMark(t.Context(), tt.carries, false); err != nil {
						t.Fatal(err)
					}
				}
				o := artifacts.NewOwner(reg, store, "/mnt/store")
				blobs := artifacts.NewBlobs(store, t.TempDir())
				if _, err := blobs.Write(t.Context(), strings.NewReader("early")); !errors.Is(err, artifacts.ErrForeign) {
					t.Errorf("Write = %v before it is known whose the store is", err)
				}
				want, check := tt.check, o.Check
				if ask {
					want, check = tt.ask, o.Ask
				}
				for range 2 { // a second look says the same
					err := check(t.Context())
					if want == right || want == taken {
						if err != nil {
							t.Errorf("got %v, want it %s", err, want)
						}
						continue
					}
					f := artifacts.StoreFailure(err, "it")
					if !errors.Is(err, artifacts.ErrForeign) || f.Kind != jobs.KindStore || f.Message != "the artifact store at /mnt/store is not this farm's: "+want {
						t.Errorf("got %v, told as %q, want that %s", err, f.Message, want)
					}
				}
				_, err := blobs.Write(t.Context(), strings.NewReader("late"))
				if may := want == right || want == taken; may != (err == nil) {
					t.Errorf("Write = %v, want that it may be: %t", err, may)
				}
				m, _ := store.Mark(t.Context())
				if want == taken {
					if m.Farm != "A" || m.Store == "" || reg.id != m.Store {
						t.Errorf("the store has the mark %q and Redis remembers %q, want them to agree", m, reg.id)
					}
					return
				}
				if m != tt.carries {
					t.Errorf("the store has the mark %q, want the %q that it had", m, tt.carries)
				}
				noted := tt.remembered
				if !ask && want == right && noted == "" {
					noted = tt.carries.Store
				}
				if reg.id != noted || ask && reg.farm != tt.farm {
					t.Errorf("Redis remembers store %q of farm %q, want %q of %q", reg.id, reg.farm, noted, tt.farm)
				}
			})
		}
	}
}

// Many workers of a new farm start at once, on one store or each on its own.
func TestWorkersAgree(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{true, false} {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				reg := &registry{}
				stores := make([]*artifactstest.Store, 5)
				errs := make([]error, len(stores))
				var wg sync.WaitGroup
				for i := range stores {
					stores[i] = artifactstest.NewStore()
					if shared {
						stores[i] = stores[0]
					}
					wg.Go(func() { errs[i] = artifacts.NewOwner(reg, stores[i], fmt.Sprint("/", i)).Look(t.Context(), false) })
				}
				wg.Wait()
				right, marked := 0, 0
				for i, s := range stores {
					m, _ := s.Mark(t.Context())
					if m != (artifacts.Mark{}) {
						marked++
					}
					if errs[i] == nil {
						right++
						if m.Store != reg.id {
							t.Errorf("store %d is right with the mark %q, and Redis remembers %q", i, m, reg.id)
						}
					} else if !strings.Contains(errs[i].Error(), "no owner although the farm has one") {
						t.Errorf("store %d: %v", i, errs[i])
					}
				}
				want := 1
				if shared {
					want = len(stores)
				}
				if right != want || marked != want {
					t.Errorf("shared: %t: %d workers have a store, and %d stores have a mark, want %d", shared, right, marked, want)
				}
			})
		}
	}
}

// A worker that dies while it has the turn keeps the others for some seconds only.
func TestTurnIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg, store := &registry{}, artifactstest.NewStore()
		if _, err := reg.MarkTurn(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		o, began := artifacts.NewOwner(reg, store, "/s"), time.Now()
		err := o.Look(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), "another worker of this new farm is about to mark") {
			t.Errorf("Look = %v while another has the turn", err)
		}
		for err != nil && time.Since(began) < time.Minute {
			err = o.Look(t.Context(), false)
		}
		if err != nil || time.Since(began) > 15*time.Second {
			t.Errorf("Look = %v after %s", err, time.Since(began))
		}
	})
}

// A worker whose store cannot be marked does not keep the turn.
func TestTurnIsHandedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg, bad := &registry{}, spoiled{Store: artifactstest.NewStore(), set: syscall.EROFS}
		if err := artifacts.NewOwner(reg, bad, "/bad").Look(t.Context(), false); !errors.Is(err, syscall.EROFS) {
			t.Errorf("Look = %v", err)
		}
		began := time.Now()
		if err := artifacts.NewOwner(reg, artifactstest.NewStore(), "/good").Look(t.Context(), false); err != nil || time.Since(began) > 0 {
			t.Errorf("Look = %v after %s", err, time.Since(began))
		}
	})
}

// What Redis does not say does not take a store from its farm, and what an operator
// changes is heard of within a minute.
func TestOwnerWithoutRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("connection refused")
		reg, store := &registry{away: away}, artifactstest.NewStore()
		o := artifacts.NewOwner(reg, store, "/s")
		if err := o.Look(t.Context(), false); !errors.Is(err, away) || !strings.Contains(err.Error(), "Redis does not say whose") {
			t.Errorf("Look = %v, want that Redis is away", err)
		}
		reg.set(func() { reg.away = nil })
		if err := o.Look(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		reg.set(func() { reg.asked = 0 })
		for range 11 {
			time.Sleep(5 * time.Second)
			if err := o.Look(t.Context(), false); err != nil {
				t.Errorf("Look = %v", err)
			}
		}
		if reg.asked != 0 {
			t.Errorf("Redis was asked %d times within a minute", reg.asked)
		}
		reg.set(func() { reg.away = away })
		time.Sleep(time.Hour)
		if err := o.Look(t.Context(), false); err != nil {
			t.Errorf("Look = %v without Redis, want the store to stay the farm's", err)
		}
		undo := store.Swap()
		if err := o.Look(t.Context(), false); err == nil {
			t.Error("an empty store is the farm's while Redis is away")
		}
		undo()
		reg.set(func() { reg.away, reg.id = nil, "new" })
		if err := o.Look(t.Context(), false); err == nil || !strings.Contains(err.Error(), "another one than the farm uses") {
			t.Errorf("Look = %v after the operator took another store", err)
		}
	})
}

// An operator moves the farm to another store, or begins anew.
func TestTake(t *testing.T) {
	t.Parallel()
	reg, old, fresh := &registry{}, artifactstest.NewStore(), artifactstest.NewStore()
	before := artifacts.NewOwner(reg, old, "/old")
	if err := before.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := artifacts.NewOwner(reg, fresh, "/new")
	if err := o.Check(t.Context()); !errors.Is(err, artifacts.ErrForeign) {
		t.Fatalf("Check = %v", err)
	}
	m, err := o.Take(t.Context(), false)
	if err != nil || m.Farm != "A" || reg.id != m.Store {
		t.Fatalf("Take = %q, %v, and Redis remembers %q", m, err, reg.id)
	}
	if err := o.Check(t.Context()); err != nil {
		t.Errorf("Check after Take = %v", err)
	}
	if err := artifacts.NewOwner(reg, old, "/old").Check(t.Context()); !errors.Is(err, artifacts.ErrForeign) {
		t.Errorf("Check of the old store = %v", err)
	}
	if again, err := o.Take(t.Context(), false); again != m || err != nil {
		t.Errorf("Take again = %q, %v, want the same", again, err)
	}
	if back, err := artifacts.NewOwner(reg, old, "/old").Take(t.Context(), false); err != nil || back == m || reg.id != back.Store {
		t.Errorf("Take of the old one = %q, %v", back, err)
	}

	other := artifacts.NewOwner(&registry{farm: "B"}, fresh, "/new")
	if _, err := other.Take(t.Context(), false); !errors.Is(err, artifacts.ErrForeign) {
		t.Errorf("Take of another farm's store = %v, want it refused", err)
	}
	if got, _ := fresh.Mark(t.Context()); got != m {
		t.Errorf("the store has the mark %q, want %q", got, m)
	}
	if m, err := other.Take(t.Context(), true); err != nil || m.Farm != "B" {
		t.Errorf("Take with force = %q, %v", m, err)
	}
}

// The collector deletes what the farm does not know of, and needs a store that is the
// farm's alone.
func TestExclusive(t *testing.T) {
	t.Parallel()
	o := artifacts.NewOwner(&registry{id: artifacts.AnyMark().Store}, artifactstest.NewStore(), "/s")
	if err := o.Exclusive(t.Context(), false); err == nil || o.Check(t.Context()) != nil {
		t.Errorf("Exclusive = %v for a farm that takes any store, want it refused", err)
	}
	o = artifacts.NewOwner(&registry{}, artifactstest.NewStore(), "/s")
	if err := errors.Join(o.Exclusive(t.Context(), true), o.Exclusive(t.Context(), false)); err != nil {
		t.Errorf("Exclusive = %v", err)
	}
}

// spoiled is a store that fails, or hangs.
type spoiled struct {
	artifacts.Store
	mark, put, set error
	hang           bool
}

func (s spoiled) SetMark(ctx context.Context, m artifacts.Mark, over bool) error {
	if s.set != nil {
		return s.set
	}
	return s.Store.SetMark(ctx, m, over)
}

func (s spoiled) Mark(ctx context.Context) (artifacts.Mark, error) {
	if s.hang {
		<-ctx.Done()
		return artifacts.Mark{}, context.Cause(ctx)
	}
	m, err := s.Store.Mark(ctx)
	return m, errors.Join(s.mark, err)
}

func (s spoiled) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (bool, error) {
	if s.put != nil {
		return false, s.put
	}
	return s.Store.Put(ctx, b, data)
}

func TestLook(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "stat", Path: "/mnt/store", Err: syscall.EACCES}
	for _, tt := range []struct {
		name        string
		store       spoiled
		look, prove string
		setting     bool
	}{
		{"well", spoiled{}, "", "", false},
		{"denied", spoiled{mark: fmt.Errorf("read the owner: %w", denied)}, "cannot be used: stat /mnt/store: permission denied", "cannot be used: stat /mnt/store: permission denied", true},
		{"read only", spoiled{put: &fs.PathError{Op: "openat", Path: "tmp/x", Err: syscall.EROFS}}, "", "cannot be used: openat tmp/x: read-only file system", true},
		{"away", spoiled{mark: syscall.ESTALE}, "cannot be used: stale file handle", "cannot be used: stale file handle", false},
		{"says itself", spoiled{mark: &artifacts.StoreError{Err: errors.New("x"), Message: "the S3 server cannot be reached"}}, "the S3 server cannot be reached", "the S3 server cannot be reached", false},
		{"hangs", spoiled{hang: true}, "does not answer", "does not answer", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory := artifactstest.NewStore()
				tt.store.Store = memory
				o := artifacts.NewOwner(&registry{}, tt.store, "/mnt/store")
				for _, prove := range []bool{false, true} {
					want := tt.look
					if prove {
						want = tt.prove
					}
					began := time.Now()
					err := o.Look(t.Context(), prove)
					if want == "" {
						if err != nil {
							t.Errorf("Look = %v", err)
						}
					} else if err == nil || !strings.HasSuffix(err.Error(), want) {
						t.Errorf("Look = %v, want ...%s", err, want)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("it took %s", took)
					}
					if prove && artifacts.IsSetting(err) != tt.setting {
						t.Errorf("%v is a setting: %t, want %t", err, !tt.setting, tt.setting)
					}
				}
				if err := memory.List(t.Context(), func(s artifacts.Stored) error { t.Errorf("%+v is left", s); return nil }); err != nil && !errors.Is(err, artifacts.ErrForeign) {
					t.Error(err)
				}
			})
		})
	}
}
