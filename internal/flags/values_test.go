package flags

import (
	"testing"
	"time"
)

func TestTimeFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want time.Time // zero where ago says it
		ago  time.Duration
	}{
		{"90s", time.Time{}, 90 * time.Second},
		{"7d", time.Time{}, 7 * 24 * time.Hour},
		{"2026-01-31", time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local), 0},
		{"2026-01-31 15:04:05", time.Date(2026, 1, 31, 15, 4, 5, 0, time.Local), 0},
		{"2026-01-31T15:04:05.5+02:00", time.Date(2026, 1, 31, 13, 4, 5, 5e8, time.UTC), 0},
	} {
		var got time.Time
		if err := Time(&got).Set(tt.text); err != nil {
			t.Errorf("Set(%q): %v", tt.text, err)
			continue
		}
		if tt.want.IsZero() {
			if off := time.Since(got) - tt.ago; off < 0 || off > time.Minute {
				t.Errorf("Set(%q) = %s; want %s ago", tt.text, got, tt.ago)
			}
		} else if !got.Equal(tt.want) {
			t.Errorf("Set(%q) = %s; want %s", tt.text, got, tt.want)
		}
	}
	for _, text := range []string{"", "-2h", "2", "yesterday", "2026-02-30", "15:04"} {
		if err := Time(new(time.Time)).Set(text); err == nil {
			t.Errorf("Set(%q) took it", text)
		}
	}
}
