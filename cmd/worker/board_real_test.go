//go:build integration

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Prometheus takes the queries of the board, and those of KEDA.
func TestBoard(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("groups:\n  - name: board\n    rules:\n")
	for i, e := range append(board(t), triggers(t)...) {
		query := strings.NewReplacer("$job", "slipway", "$__rate_interval", "5m").Replace(e.query)
		fmt.Fprintf(&text, "      - {record: 'query:%d', expr: %q}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "board.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
