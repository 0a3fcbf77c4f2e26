package disks_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/slipway-farm/slipway/internal/disks"
	"github.com/slipway-farm/slipway/internal/engine"
)

// daemon says where its data is, or does not answer.
type daemon struct {
	details engine.Details
	err     error
	asked   int
}

func (d *daemon) Details(context.Context) (engine.Details, error) {
	d.asked++
	return d.details, d.err
}

func TestWatched(t *testing.T) {
	t.Parallel()
	root, state := t.TempDir(), t.TempDir()
	own := disks.Directory{Name: "state", Path: state}
	for name, tt := range map[string]struct {
		daemon *daemon
		engine bool
		asked  int // for three looks
	}{
		"on this host":           {&daemon{details: engine.Details{Address: "unix:///run/docker.sock", DataRoot: root}}, true, 1},
		"on another host":        {&daemon{details: engine.Details{Address: "tcp://10.0.0.1:2376", DataRoot: root}}, false, 1},
		"in a container of ours": {&daemon{details: engine.Details{Address: "unix:///run/docker.sock", DataRoot: filepath.Join(root, "none")}}, false, 1},
		"away":                   {&daemon{err: errors.New("away")}, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := disks.New(slog.New(slog.DiscardHandler), tt.daemon, own)
			want := []disks.Directory{own}
			if tt.engine {
				want = []disks.Directory{{Name: disks.EngineName, Path: root}, own}
			}
			for range 3 {
				if got := d.Watched(); !reflect.DeepEqual(got, want) {
					t.Errorf("watched are %v; want %v", got, want)
				}
			}
			if tt.daemon.asked != tt.asked {
				t.Errorf("the daemon was asked %d times; want %d", tt.daemon.asked, tt.asked)
			}
			if filling := d.Filling(1 << 30); filling != tt.engine {
				t.Errorf("filling %t; want %t: no disk has room for that much", filling, tt.engine)
			}
		})
	}
}

// A directory that is not there is left out, and is no shortage.
func TestLeft(t *testing.T) {
	t.Parallel()
	state, store := t.TempDir(), t.TempDir()
	d := disks.New(slog.New(slog.DiscardHandler), &daemon{err: errors.New("away")},
		disks.Directory{Name: "state", Path: state}, disks.Directory{Name: "store", Path: store})
	if left := d.Left(); len(left) != 2 || left[0].Name != "state" || left[1].Room.Total == 0 {
		t.Errorf("left %+v; want the disks of both", left)
	}
	free := d.FreeDisk()
	if len(free) != 2 || free[1].Directory != "store" || free[1].Free <= 0 || free[1].Free > free[1].Size || free[1].Least <= 0 || free[1].Least > free[1].Size/10 {
		t.Errorf("the registry hears %+v; want the disks of both", free)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if left := d.Left(); len(left) != 1 || left[0].Name != "store" {
		t.Errorf("left %+v; want that of the store", left)
	}
	if err := d.Room(); err != nil {
		t.Errorf("short of room: %v", err)
	}
}
