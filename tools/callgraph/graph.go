package main

import "slices"

// graph has the calls from file to file of one package.
type graph struct {
	files []string
	calls map[edge][]string // the names that are called
}

// edge goes from a file to another one, by their places in graph.files.
type edge struct{ from, to int }

func (g *graph) add(from, to int, name string) {
	if from != to {
		g.calls[edge{from, to}] = append(g.calls[edge{from, to}], name)
	}
}

func (g *graph) total() (n int) {
	for _, names := range g.calls {
		n += len(names)
	}
	return n
}

func (g *graph) weight(edges []edge) (n int) {
	for _, e := range edges {
		n += len(g.calls[e])
	}
	return n
}

// up returns the edges that go to a file before their own, in the best order of the
// files that is found. An order of the whole is one of each strongly connected
// component after the other, so only edges within one can be in it.
func (g *graph) up() []edge {
	var found []edge
	for _, part := range g.components() {
		order := g.improve(g.greedy(part))
		for i, to := range order {
			for _, from := range order[i+1:] {
				if len(g.calls[edge{from, to}]) > 0 {
					found = append(found, edge{from, to})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b edge) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return a.to - b.to
	})
	return found
}

// components are the sets of files that reach each other, with more than one file.
func (g *graph) components() [][]int {
	n := len(g.files)
	reach := make([][]bool, n)
	for i := range reach {
		reach[i] = make([]bool, n)
	}
	for e := range g.calls {
		reach[e.from][e.to] = true
	}
	for k := range n {
		for i := range n {
			for j := range n {
				reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
			}
		}
	}
	var parts [][]int
	seen := make([]bool, n)
	for i := range n {
		var part []int
		for j := i; j < n; j++ {
			if !seen[j] && reach[i][j] && reach[j][i] {
				seen[j] = true
				part = append(part, j)
			}
		}
		if len(part) > 1 {
			parts = append(parts, part)
		}
	}
	return parts
}

// greedy orders files as Eades, Lin and Smyth do: the next one is the one that calls
// most, and is called least, of those that are left.
func (g *graph) greedy(part []int) []int {
	left := slices.Clone(part)
	order := make([]int, 0, len(part))
	for len(left) > 0 {
		best, most := 0, 0
		for i, f := range left {
			surplus := 0
			for _, other := range left {
				surplus += len(g.calls[edge{f, other}]) - len(g.calls[edge{other, f}])
			}
			if i == 0 || surplus > most {
				best, most = i, surplus
			}
		}
		order = append(order, left[best])
		left = slices.Delete(left, best, best+1)
	}
	return order
}

// improve moves single files to better places while there are any.
func (g *graph) improve(order []int) []int {
	cost := g.cost(order)
	for better := true; better; {
		better = false
		for from := range order {
			for to := range order {
				moved := slices.Delete(slices.Clone(order), from, from+1)
				moved = slices.Insert(moved, to, order[from])
				if c := g.cost(moved); c < cost {
					order, cost, better = moved, c, true
				}
			}
		}
	}
	return order
}

// cost is how many calls point up in an order.
func (g *graph) cost(order []int) (n int) {
	for i, to := range order {
		for _, from := range order[i+1:] {
			n += len(g.calls[edge{from, to}])
		}
	}
	return n
}
