package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// longestEvery bounds Every: the times that Alive asks for end soon after the service does.
const longestEvery = 30 * time.Second

// Service tells a manager what is new. One goroutine at a time uses it.
type Service struct {
	log     *slog.Logger
	manager Manager
	// longestEnd is how long the service may take to end before the manager's own limit
	// counts again.
	longestEnd time.Duration

	now  Condition
	said string // the text that the manager knows
	up   bool   // the manager knows that the service is up
	// ending is when the manager was told that the service ends; zero before.
	ending time.Time
}

// NewService makes the service of a manager. It may take longestEnd to end, also when the
// manager has a shorter limit. A nil logger is silent.
func NewService(lg *slog.Logger, m Manager, longestEnd time.Duration) *Service {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return &Service{log: lg, manager: m, longestEnd: longestEnd}
}

// Every is how often Alive is to be called: twice in the time that the manager waits for.
func (s *Service) Every() time.Duration {
	if s.manager.Watchdog == 0 {
		return longestEvery
	}
	return min(s.manager.Watchdog/2, longestEvery)
}

// Is tells the manager how the service is, if that is new to it.
func (s *Service) Is(ctx context.Context, c Condition) {
	s.now = c
	s.tell(ctx, false)
}

// Alive gives the manager a sign of life. It asks for more time while the service starts,
// and while it ends as long as it may: no limit of the manager's should cut off a service
// that is at work. The time that it asks for passes when Alive is not called any more.
func (s *Service) Alive(ctx context.Context) { s.tell(ctx, true) }

// tell sends what is new, and a sign of life if this is one. What the manager did not take
// is new the next time, too.
func (s *Service) tell(ctx context.Context, alive bool) {
	up, ending, said := s.up, s.ending, s.said
	var lines []string
	if s.now.Phase == Up && !up {
		lines, up = append(lines, "READY=1"), true
	}
	if s.now.Phase == Ending && ending.IsZero() {
		lines, ending = append(lines, "STOPPING=1"), time.Now()
	}
	if text := oneLine(s.now.Text); text != said {
		lines, said = append(lines, "STATUS="+text), text
	}
	if alive && s.manager.Watchdog > 0 {
		lines = append(lines, "WATCHDOG=1")
	}
	starts := !up && ending.IsZero()
	ends := !ending.IsZero() && time.Since(ending) < s.longestEnd
	if (starts || ends) && (alive || len(lines) > 0) {
		lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (2*s.Every()).Microseconds()))
	}
	// The end of a service is news, too.
	if err := s.manager.tell(context.WithoutCancel(ctx), lines); err != nil {
		s.log.WarnContext(ctx, "the service manager was not told; tried again", "err", err)
		return
	}
	s.up, s.ending, s.said = up, ending, said
}
