package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// changesPause is for how long changes are gathered before the records are read.
	changesPause = 200 * time.Millisecond
	// changesKept is how many changes wait for a listener that is slow.
	changesKept = 1000
	// longestListen is for how long a client may listen before it has to come again.
	longestListen = 24 * time.Hour
)

// change is what is told of a job that is in another state now.
type change struct {
	ID      string     `json:"id"`
	Name    string     `json:"name,omitempty"`
	Tenant  string     `json:"tenant,omitempty"`
	Queue   string     `json:"queue"`
	State   jobs.State `json:"state"`
	Attempt int        `json:"attempt"`
	Worker  string     `json:"worker,omitempty"`
	// Kind is that of the failure of a job that has ended with one.
	Kind jobs.Kind `json:"kind,omitempty"`
}

func changeOf(j jobs.Job) change {
	c := change{ID: j.ID, Name: j.Spec.Name, Tenant: j.Spec.Tenant, Queue: j.Spec.Queue, State: j.State, Attempt: j.Attempt, Worker: j.Worker}
	if r := j.Result; r != nil && r.Failure != nil {
		c.Kind = r.Failure.Kind
	}
	return c
}

// changes hears of the farm's jobs while any client listens, once for all of them.
type changes struct {
	source jobs.Changes
	svc    *jobs.Service
	log    *slog.Logger

	mu        sync.Mutex
	listeners map[*listener]bool
	stop      context.CancelFunc
	closed    bool
}

// listener is a client that hears of jobs.
type listener struct {
	who  access.Principal
	told chan change
	// lost is closed when the listener was too slow, or the server ends.
	lost chan struct{}
}

// listen returns a listener, and what to call at its end.
func (c *changes) listen(who access.Principal) (*listener, func()) {
	l := &listener{who: who, told: make(chan change, changesKept), lost: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		close(l.lost)
		return l, func() {}
	}
	if c.listeners == nil {
		c.listeners = map[*listener]bool{}
	}
	if len(c.listeners) == 0 {
		ctx, cancel := context.WithCancel(context.Background())
		c.stop = cancel
		heard := c.source.Changes(ctx) // before anything that the client does next
		go c.run(ctx, heard)
	}
	c.listeners[l] = true
	return l, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(l)
	}
}

// drop forgets a listener, and hears of nothing when it was the last.
func (c *changes) drop(l *listener) {
	if !c.listeners[l] {
		return
	}
	delete(c.listeners, l)
	close(l.lost)
	if len(c.listeners) == 0 {
		c.stop()
	}
}

func (c *changes) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for l := range c.listeners {
		c.drop(l)
	}
}

// run reads the records of jobs that have changed, and tells of them.
func (c *changes) run(ctx context.Context, heard <-chan string) {
	for {
		ids := map[string]bool{}
		select {
		case id, ok := <-heard:
			if !ok {
				return
			}
			ids[id] = true
		case <-ctx.Done():
			return
		}
		for gather := time.After(changesPause); gather != nil; {
			select {
			case id, ok := <-heard:
				if !ok {
					return
				}
				ids[id] = true
			case <-gather:
				gather = nil
			}
		}
		list := make([]string, 0, len(ids))
		for id := range ids {
			list = append(list, id)
		}
		found, err := c.svc.GetAll(ctx, list)
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "reading jobs that have changed failed; their listeners do not hear of them", "err", err)
		}
		c.tell(found)
	}
}

func (c *changes) tell(found []jobs.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.listeners {
		for _, job := range found {
			if !l.who.Sees(job.Spec.Tenant) {
				continue
			}
			select {
			case l.told <- changeOf(job):
			default: // it comes again, and reads the list
				c.drop(l)
			}
			if !c.listeners[l] {
				break
			}
		}
	}
}

// farmEvents answers GET /v1/events: jobs of the farm that are in another state, as
// server-sent events. It is a hint, which may miss some: the lists are the truth.
func (s *Server) farmEvents(x *exchange) error {
	long, err := x.duration("for", longestListen)
	if err != nil {
		return err
	}
	if !x.params.Has("for") {
		long = longestListen
	}
	if !s.follows.take(x.who.Token) {
		return s.tooManyFollow()
	}
	defer s.follows.give(x.who.Token)
	l, done := s.changes.listen(x.who)
	defer done()
	w := &eventWriter{stream: newStream(x, "text/event-stream")}
	w.begin()
	if err := errors.Join(w.event("ready", "", struct{}{}), w.flush()); err != nil || x.Method == http.MethodHead {
		return nil //nolint:nilerr // the client has gone
	}
	tick, over := time.NewTicker(ping), time.NewTimer(long)
	defer tick.Stop()
	defer over.Stop()
	for {
		var err error
		select {
		case c := <-l.told:
			err = errors.Join(w.event("job", "", c), w.flush())
		case <-tick.C:
			err = errors.Join(w.idle(), w.flush())
		case <-l.lost:
			return nil
		case <-over.C:
			return nil
		case <-x.Context().Done():
			return nil
		}
		if err != nil {
			return nil //nolint:nilerr // the client has gone
		}
	}
}
