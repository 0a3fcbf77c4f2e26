package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A host rests after three failures whose cause no probe finds. Once one does, the host
// is fit as soon as that is mended.
func TestRest(t *testing.T) {
	t.Parallel()
	why, now := jobs.Fail(jobs.KindEngine, nil, "", "no containers today"), time.Now()
	var f fitness
	for range mostInARow {
		if err := f.rest(now); err != nil {
			t.Fatalf("it rests early: %v", err)
		}
		f.failed(why, now)
	}
	fine, broken := func() error { return nil }, func() error { return errors.New("no bridge") }
	if err := f.prove(fine); err != nil || f.rest(now) == nil {
		t.Errorf("a probe finds nothing (%v), and the host does not rest", err)
	}
	f.failed(why, now)
	if err := f.prove(broken); err == nil || f.rest(now) != nil {
		t.Errorf("a probe fails with %v; rest says %v", err, f.rest(now))
	}
	f.failed(why, now)
	if err := f.rest(now); err != nil {
		t.Errorf("it rests after one failure: %v", err)
	}
}
