package client

import (
	"net/http"
	"sync"
)

// requests remembers what came to a server, and answers some of them in its place.
type requests struct {
	mu  sync.Mutex
	all []string
	// instead answers the next requests, one after the other.
	instead []http.HandlerFunc
}

func (r *requests) before(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.all = append(r.all, req.Method+" "+req.URL.Path)
		next := h
		if len(r.instead) > 0 {
			next, r.instead = r.instead[0], r.instead[1:]
		}
		r.mu.Unlock()
		next.ServeHTTP(w, req)
	})
}

// answer has the next requests answered otherwise.
func (r *requests) answer(with ...http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instead = append(r.instead, with...)
}

// take returns what came since the last time.
func (r *requests) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}
