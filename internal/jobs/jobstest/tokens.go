package jobstest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/access"
)

var (
	_ access.Tokens = (*Memory)(nil)
	_ access.Trail  = (*Memory)(nil)
)

// AddToken implements access.Tokens.
func (m *Memory) AddToken(_ context.Context, t access.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tokens == nil {
		m.tokens = map[string]access.Token{}
	}
	m.tokens[t.ID] = t
	return m.broken
}

// Token implements access.Tokens.
func (m *Memory) Token(_ context.Context, id string) (access.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[id]
	if !ok && m.broken == nil {
		return t, fmt.Errorf("%w: %s", access.ErrNoToken, id)
	}
	return t, m.broken
}

// Tokens implements access.Tokens.
func (m *Memory) Tokens(context.Context) ([]access.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.tokens), func(a, b access.Token) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	}), m.broken
}

// RevokeToken implements access.Tokens.
func (m *Memory) RevokeToken(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.tokens[id]; !ok && m.broken == nil {
		return fmt.Errorf("%w: %s", access.ErrNoToken, id)
	}
	delete(m.tokens, id)
	return m.broken
}

// Record implements access.Trail. The memory keeps every entry.
func (m *Memory) Record(_ context.Context, d access.Deed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.At = m.clock.now()
	m.trail = append(m.trail, d)
	return m.broken
}

// Deeds implements access.Trail.
func (m *Memory) Deeds(_ context.Context, limit int) ([]access.Deed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	deeds := slices.Clone(m.trail)
	slices.Reverse(deeds)
	return deeds[:min(limit, len(deeds))], m.broken
}
