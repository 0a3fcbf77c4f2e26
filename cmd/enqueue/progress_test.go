package main

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/pack"
)

func TestContextProgress(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Unix(1000, 0)
	p := &contextProgress{w: &out, now: func() time.Time { return now }, started: now}
	drawn := func(want string) {
		t.Helper()
		if want != "" {
			want = "\r" + want + "\x1b[K"
		}
		if out.String() != want {
			t.Errorf("drew %q, want %q", out.String(), want)
		}
		out.Reset()
		now = now.Add(time.Second)
	}
	now = now.Add(2 * time.Second)
	p.packing(pack.Report{Files: 1, Bytes: 4 << 20})
	drawn("packing  1 file, 4.0 MiB, 2.0 MiB/s")
	p.packing(pack.Report{Files: 20, Bytes: 6 << 20, Ignored: 3})
	drawn("packing  20 files, 6.0 MiB, 2.0 MiB/s, 3 left out")
	now = now.Add(-time.Second + redrawn/2)
	p.packing(pack.Report{Files: 30})
	drawn("") // too soon

	now = now.Add(time.Minute)
	p.sending(1<<20, 10<<20)
	drawn("sending  [===                           ] 1.0 MiB of 10.0 MiB, -/s")
	p.sending(6<<20, 10<<20)
	drawn("sending  [==================            ] 6.0 MiB of 10.0 MiB, 6.0 MiB/s")
	p.sending(1<<20, 10<<20) // the store begins again
	drawn("sending  [===                           ] 1.0 MiB of 10.0 MiB, -/s")
	p.sending(10<<20, 10<<20)
	drawn("sending  [==============================] 10.0 MiB of 10.0 MiB, 10.0 MiB/s")
	p.sending(0, 0)
	drawn("")

	var none *contextProgress
	none.clear()
	if o := none.options(pack.UploadOptions{}); o.Sending != nil || o.Pack.Progress != nil {
		t.Error("progress is reported although it is not shown")
	}
}
