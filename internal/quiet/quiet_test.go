package quiet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/quiet"
)

func TestNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var names quiet.Names
		has := func(name string, want bool) {
			t.Helper()
			if got := names.Has(name); got != want {
				t.Errorf("%s is left alone: %t, want %t", name, got, want)
			}
		}
		has("a", false)
		names.Add("a", time.Minute)
		has("a", true)
		has("b", false)
		time.Sleep(59 * time.Second)
		names.Add("b", time.Minute)
		has("a", true)
		time.Sleep(time.Second)
		has("a", false)
		has("b", true)
		names.Add("a", time.Minute)
		has("a", true)
	})
}
