package jobstest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// hookCalls are the calls of a Memory.
type hookCalls struct {
	byID map[string]keptCall
	// lines are the IDs of the calls of a job to an endpoint, by both; only the first of a
	// line is due.
	lines map[string][]string
	fails map[string]int // calls of a webhook that were given up in a row
	seq   int            // of the last thing that happened to a call
	// caller is who calls webhooks, until calls.
	caller string
	calls  time.Time
}

type keptCall struct {
	call jobs.HookCall
	due  time.Time // when the first of its line is due
	seq  int       // of what happened to it last, 0 when the log is past it
	at   time.Time // when that was
}

func newHookCalls() *hookCalls {
	return &hookCalls{byID: map[string]keptCall{}, lines: map[string][]string{}, fails: map[string]int{}}
}

func (h *hookCalls) clone() *hookCalls {
	c := *h
	c.byID, c.lines, c.fails = maps.Clone(h.byID), map[string][]string{}, maps.Clone(h.fails)
	for line, ids := range h.lines {
		c.lines[line] = slices.Clone(ids)
	}
	return &c
}

func lineOf(c jobs.HookCall) string { return c.Endpoint() + " " + c.Line() }

// keep keeps a call that something has happened to, on top of the log.
func (h *hookCalls) keep(c jobs.HookCall, due, now time.Time) {
	h.seq++
	h.byID[c.ID] = keptCall{copyJSON(c), due, h.seq, now}
	for _, old := range h.byID {
		if old.seq > 0 && old.at.Before(now.Add(-jobs.CallLogAge)) {
			h.fall(old)
		}
	}
	if len(h.byID) <= jobs.CallsKept {
		return
	}
	logged := h.logged()
	for _, old := range logged[:max(0, len(logged)-jobs.CallsKept)] {
		h.fall(old)
	}
}

// fall takes a call out of the log, and forgets it if it has ended.
func (h *hookCalls) fall(c keptCall) {
	if c.seq = 0; c.call.State == jobs.CallDue {
		h.byID[c.call.ID] = c
	} else {
		delete(h.byID, c.call.ID)
	}
}

// logged are the calls of the log, those to which something happened last at the end.
func (h *hookCalls) logged() []keptCall {
	var list []keptCall
	for _, c := range h.byID {
		if c.seq > 0 {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b keptCall) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// heads are the calls of an endpoint that are the first of their lines, by when they are due.
func (h *hookCalls) heads(endpoint string) []keptCall {
	var list []keptCall
	for _, line := range h.lines {
		if c := h.byID[line[0]]; endpoint == "" || c.call.Endpoint() == endpoint {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b keptCall) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.call.ID, b.call.ID)) })
	return list
}

// AddCalls implements jobs.HookCalls.
func (m *Memory) AddCalls(ctx context.Context, calls ...jobs.HookCall) (refused int, err error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	return m.addCalls(calls), nil
}

// EndedCalls implements jobs.DueCalls.
func (m *Memory) EndedCalls(ctx context.Context, reader, nonce string, p jobs.EndedPage, calls ...jobs.HookCall) (mine bool, refused int, err error) {
	if err := m.begin(ctx); err != nil {
		return false, 0, err
	}
	defer m.mu.Unlock()
	mine, again := m.passed(reader, nonce, p)
	if !mine || again {
		return mine, 0, nil
	}
	return true, m.addCalls(calls), nil
}

// addCalls adds calls under the lock.
func (m *Memory) addCalls(calls []jobs.HookCall) (refused int) {
	h, now := m.calls, m.clock.now()
	for _, c := range calls {
		if _, ok := h.byID[c.ID]; ok {
			continue
		}
		if len(h.lines) >= jobs.CallsWaiting && len(h.heads(c.Endpoint())) >= jobs.CallsWaiting {
			refused++
			continue
		}
		c.State, c.Made = jobs.CallDue, now
		h.lines[lineOf(c)] = append(h.lines[lineOf(c)], c.ID)
		h.keep(c, now, now)
	}
	return refused
}

// DueEndpoints implements jobs.DueCalls.
func (m *Memory) DueEndpoints(ctx context.Context, limit int) (due []string, next time.Duration, err error) {
	if err := m.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	for _, c := range m.calls.heads("") {
		e := c.call.Endpoint()
		wait := c.due.Sub(m.clock.now())
		switch {
		case slices.Contains(due, e):
		case len(due) == limit:
			return due, 0, nil
		case wait > 0:
			return due, wait, nil
		default:
			due = append(due, e)
		}
	}
	return due, 0, nil
}

// TakeCalls implements jobs.DueCalls.
func (m *Memory) TakeCalls(ctx context.Context, endpoint string, n int, lease time.Duration) ([]jobs.HookCall, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []jobs.HookCall
	now := m.clock.now().Truncate(time.Microsecond)
	for _, c := range m.calls.heads(endpoint) {
		if len(list) == n || c.due.After(now) {
			continue
		}
		c.due = now.Add(lease)
		m.calls.byID[c.call.ID] = c
		call := copyJSON(c.call)
		call.Taken, call.Until = now, c.due
		list = append(list, call)
	}
	return list, nil
}

// KeepCall implements jobs.DueCalls.
func (m *Memory) KeepCall(ctx context.Context, c jobs.HookCall) (kept bool, givenUp int, err error) {
	if err := m.begin(ctx); err != nil {
		return false, 0, err
	}
	defer m.mu.Unlock()
	h := m.calls
	line := h.lines[lineOf(c)]
	if len(line) == 0 || line[0] != c.ID || !h.byID[c.ID].due.Equal(c.Until) {
		return false, 0, nil
	}
	if c.State == jobs.CallDue {
		h.keep(c, c.Next, c.Last)
		return true, 0, nil
	}
	h.keep(c, time.Time{}, c.Last)
	h.leave(c)
	if c.Test || c.Hook == "" {
		return true, 0, nil
	}
	switch c.State {
	case jobs.CallDelivered:
		delete(h.fails, c.Hook)
	case jobs.CallGivenUp:
		h.fails[c.Hook]++
		givenUp = h.fails[c.Hook]
	}
	return true, givenUp, nil
}

// leave takes a call that has ended out of its line, and makes the next one due.
func (h *hookCalls) leave(c jobs.HookCall) {
	line := h.lines[lineOf(c)][1:]
	if len(line) == 0 {
		delete(h.lines, lineOf(c))
		return
	}
	h.lines[lineOf(c)] = line
	next := h.byID[line[0]]
	next.due = c.Last
	h.byID[line[0]] = next
}

// Calls implements jobs.HookCalls.
func (m *Memory) Calls(ctx context.Context, hook string, limit int) ([]jobs.HookCall, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []jobs.HookCall
	for _, c := range slices.Backward(m.calls.logged()) {
		if len(list) < limit && (hook == "" || c.call.Hook == hook) {
			list = append(list, copyJSON(c.call))
		}
	}
	return list, nil
}

// Call implements jobs.HookCalls.
func (m *Memory) Call(ctx context.Context, id string) (jobs.HookCall, error) {
	if err := m.begin(ctx); err != nil {
		return jobs.HookCall{}, err
	}
	defer m.mu.Unlock()
	c, ok := m.calls.byID[id]
	if !ok {
		return jobs.HookCall{}, fmt.Errorf("%w: %s", jobs.ErrNoCall, id)
	}
	return copyJSON(c.call), nil
}

// Redeliver implements jobs.HookCalls.
func (m *Memory) Redeliver(ctx context.Context, id string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	h, now := m.calls, m.clock.now()
	c, ok := h.byID[id]
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", jobs.ErrNoCall, id)
	case c.call.State == jobs.CallDue:
		return fmt.Errorf("%w: %s", jobs.ErrCallDue, id)
	}
	h.lines[lineOf(c.call)] = append(h.lines[lineOf(c.call)], id)
	h.keep(c.call.Anew(now), now, now)
	return nil
}

// CallTurn implements jobs.DueCalls.
func (m *Memory) CallTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	h, now := m.calls, m.clock.now()
	if h.caller != nonce && now.Before(h.calls) {
		return false, nil
	}
	h.caller, h.calls = nonce, now.Add(ttl)
	return true, nil
}
