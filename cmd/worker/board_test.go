package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// board are the expressions of the board's panels.
func board(t *testing.T) (all []expression) {
	t.Helper()
	type place struct{ X, Y, W, H int }
	var file struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos place
			Targets []struct{ Expr, LegendFormat, RefID string }
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana", "slipway.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.Title == "" || file.UID == "" {
		t.Errorf("the board has the title %q and the uid %q; want both", file.Title, file.UID)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range file.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the ID %d", p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" || at[0] >= 24 {
					t.Fatalf("the panel %q lies on %q, or beside the board", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("the panel %q has %d queries", p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			all = append(all, expression{"the panel " + p.Title, target.Expr, target.LegendFormat})
		}
	}
	return all
}

// The board asks for metrics and labels that workers have, each of the farm that is chosen.
// Recorded names are none of its: Prometheus may not have the rules.
func TestBoardMetrics(t *testing.T) {
	t.Parallel()
	metrics, panels := exposed(t), board(t)
	if len(panels) < 20 {
		t.Fatalf("%d queries; want those of the board", len(panels))
	}
	for _, e := range panels {
		for _, problem := range problems(e, metrics) {
			t.Error(problem)
		}
		if strings.Count(e.query, `job="$job"`) != len(metric.FindAllString(e.query, -1)) {
			t.Errorf("%s: %s; want each metric of the chosen farm", e.where, e.query)
		}
	}
}
