package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestHostUp(t *testing.T) {
	t.Parallel()
	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := jobs.Host{Seen: seen, Every: jobs.Duration(time.Minute)}
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{
		{-time.Second, true}, // Redis time was set back
		{0, true},
		{3 * time.Minute, true},
		{3*time.Minute + time.Second, false},
	} {
		if got := h.Up(seen.Add(tt.after)); got != tt.want {
			t.Errorf("Up %s after it was seen = %t; want %t", tt.after, got, tt.want)
		}
	}
	if (jobs.Host{Damaged: "it is not JSON"}).Up(seen) {
		t.Error("a host that says nothing readable is up")
	}
}
