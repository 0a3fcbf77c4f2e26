package oracle

import (
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// service checks what is recorded of a kept service.
func (h *hearing) service() {
	s := h.job.Result.Service
	if !h.task.Serves || h.job.State != jobs.Succeeded {
		if s != nil {
			h.bad("I9", "it keeps no service, and has one that is %s", s)
		}
		return
	}
	if s == nil || s.State == jobs.ServiceUp || s.Ended.Before(h.job.Finished) {
		h.bad("I9", "the end of its service is not recorded: %+v", s)
		return
	}
	if n := Count(h.events, jobs.EventServiceEnded); n != 1 && !h.blurred {
		h.bad("I9", "its service ended %d times", n)
	}
	whole, byItself := true, h.task.Exit != 0
	switch s.State {
	case jobs.ServiceUp: // see above
	case jobs.ServiceEnded:
		if !byItself || s.ExitCode == nil || *s.ExitCode != h.task.Exit {
			h.bad("I9", "its service %s (%v)", s, s.ExitCode)
		}
	case jobs.ServiceExpired:
		if early := h.job.Result.KeepUntil.Sub(s.Ended); byItself || early > time.Microsecond { // Redis cuts off what is less
			h.bad("I9", "its service expired at %s, and was kept until %s", s.Ended, h.job.Result.KeepUntil)
		}
	case jobs.ServiceCancelled:
		whole = false // it ended wherever it was
		if !h.cancelled {
			h.bad("I9", "its service is %s, which no user asked for", s)
		}
	case jobs.ServiceLost:
		whole = false
		host := h.job.Result.Host
		if !h.removed && !h.blurred && !(h.o.silent[host] && endedByAnother(s.Reason, h.o.shared[host])) {
			h.bad("I9", "its service is %s, and nothing was done to it", s)
		}
	}
	if whole && h.log != h.task.Log || !strings.HasPrefix(h.task.Log, h.log) {
		h.bad("I8", "the log of its service, which %s, is %q, and should be %q", s, h.log, h.task.Log)
	}
}

// endedByAnother reports whether the reason is one of another worker of the daemon. One
// that died before it reported the end has left the container without the reason.
func endedByAnother(reason string, shared bool) bool {
	if shared && reason == "another client of the engine stopped the container" {
		return true
	}
	return strings.HasSuffix(reason, " is silent") || strings.HasPrefix(reason, "it was stopped while ") ||
		reason == "its host did not report its end"
}
