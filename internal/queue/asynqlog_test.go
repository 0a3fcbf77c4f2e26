package queue

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestAsynqLog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, want string
	}{
		{"Failed to forward scheduled tasks: INTERNAL_ERROR: INTERNAL_ERROR: redis eval error: dial tcp 127.0.0.1:6379: connect: connection refused", `level=WARN msg="looking for delayed tickets failed; tried again" err="redis eval error: dial tcp 127.0.0.1:6379: connect: connection refused"`},
		{"Dequeue error: UNKNOWN: redis eval error: NOAUTH Authentication required.", `level=WARN msg="taking tickets failed; tried again" err="redis eval error: NOAUTH Authentication required."`},
		{"Could not push task id=job-1:1:1 back to queue: EOF", `err=EOF`},
		{"Could not push task id=job-1:1:1 back to queue: EOF", `task=job-1:1:1`},
		{`Could not remove task id=a type="slipway:job" from "builds" err: EOF; Will retry syncing`, `msg="removing a ticket that is spent failed; tried again"`},
		{"Retry exhausted for task id=nightly", `msg="asynq takes back a task that was tried as often as its producer allows; its job is on record" task=nightly`},
		{"something new", `level=ERROR msg=asynq text="something new"`},
	} {
		var out bytes.Buffer
		l := asynqLog{slog.New(slog.NewTextHandler(&out, nil))}
		l.Error(tt.text)
		if got := out.String(); !strings.Contains(got, tt.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q is logged as %s; want %s", tt.text, got, tt.want)
		}
	}
}
