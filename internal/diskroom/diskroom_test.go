package diskroom

import "testing"

func TestShort(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, tt := range []struct {
		name  string
		room  Room
		times uint64
		want  bool
	}{
		{"plenty", Room{50 * gib, 100 * gib, 0, 0}, 1, false},
		{"a large disk needs no tenth", Room{3 * gib, 1000 * gib, 0, 0}, 1, false},
		{"nor twice 2 GiB when that is asked", Room{3 * gib, 1000 * gib, 0, 0}, 2, true},
		{"under 2 GiB of a large disk", Room{2*gib - 1, 100 * gib, 0, 0}, 1, true},
		{"a tenth of a small disk", Room{12 << 20, 120 << 20, 0, 0}, 1, false},
		{"less than that", Room{12<<20 - 1, 120 << 20, 0, 0}, 1, true},
		{"no files left", Room{50 * gib, 100 * gib, 99, 1000}, 1, true},
		{"files enough", Room{50 * gib, 100 * gib, 100_000, 16_000_000}, 1, false},
	} {
		if got := tt.room.Short(tt.times); got != tt.want {
			t.Errorf("%s: Short(%d) of %+v = %v", tt.name, tt.times, tt.room, got)
		}
	}
	here, err := At(t.TempDir())
	if err != nil || here.Total == 0 || here.Free > here.Total {
		t.Errorf("At(a directory) = %+v, %v", here, err)
	}
	if _, err := At("/no/such/directory"); err == nil {
		t.Error("At(nothing) = nil, want an error")
	}
}
