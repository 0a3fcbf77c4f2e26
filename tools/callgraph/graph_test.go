package main

import "testing"

func TestUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		calls []edge
		want  int
	}{
		{"nothing", nil, 0},
		{"a chain", []edge{{2, 1}, {1, 0}, {2, 0}}, 0},
		{"within a file", []edge{{1, 1}}, 0},
		{"one back", []edge{{0, 1}, {0, 1}, {1, 0}}, 1},
		{"a ring", []edge{{0, 1}, {1, 2}, {2, 3}, {3, 0}}, 1},
		{"two rings", []edge{{0, 1}, {1, 0}, {2, 3}, {3, 2}, {0, 2}, {1, 3}}, 2},
		{"the lighter side of a ring", []edge{{0, 1}, {1, 2}, {1, 2}, {2, 0}, {2, 0}}, 1},
	} {
		g := &graph{files: []string{"a.go", "b.go", "c.go", "d.go"}, calls: map[edge][]string{}}
		for _, e := range tt.calls {
			g.add(e.from, e.to, "f")
		}
		if got := g.weight(g.up()); got != tt.want {
			t.Errorf("%s: %d calls point up, want %d", tt.name, got, tt.want)
		}
	}
}
