package api

import "sync"

// slots bound how many do something at the same time. One token has at most half of them: what
// it does slowly, or too often, must not keep the others out.
type slots struct {
	most int

	mu   sync.Mutex
	n    int
	held map[string]int // by token
}

// take takes a slot for a token, "" for one without, and reports whether there was one; give
// gives it back.
func (s *slots) take(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= s.most || token != "" && s.held[token] >= share(s.most) {
		return false
	}
	if s.held == nil {
		s.held = map[string]int{}
	}
	s.n++
	s.held[token]++
	return true
}

func (s *slots) give(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
	if s.held[token]--; s.held[token] == 0 {
		delete(s.held, token)
	}
}

// share is what one token may have of so many.
func share(most int) int { return (most + 1) / 2 }
