package bootclock

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The clock runs, and agrees with the one that the kernel shows to all processes.
func TestClock(t *testing.T) {
	t.Parallel()
	before := New()()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	after := New()()
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		t.Fatal(err)
	}
	kernel := time.Duration(seconds * float64(time.Second))
	// The kernel prints hundredths.
	if kernel < before-10*time.Millisecond || kernel > after || before <= 0 || after < before {
		t.Errorf("the clock said %s and then %s, and the kernel %s in between", before, after, kernel)
	}
}
