package farmtest

import (
	"errors"
	"testing"
	"time"
)

// Eventually waits until ok returns nil, and fails the test with its last error after limit.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
		<-tick.C
	}
}

// Until is Eventually for what is so or not.
func Until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	Eventually(t, limit, what, func() error {
		if !ok() {
			return errors.New("it is not so yet")
		}
		return nil
	})
}
