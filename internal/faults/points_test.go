package faults

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestPointsHoldOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := Points(dir)
	claimed := Call{Name: "claim", Job: "j", After: true}
	if err := at(t.Context(), claimed); err != nil { // not armed
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "claim"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := at(t.Context(), Call{Name: "claim"}); err != nil { // another place
		t.Fatal(err)
	}
	passed := make(chan error, 1)
	go func() { passed <- at(context.Background(), claimed) }()
	hit := filepath.Join(dir, "claim.hit")
	for deadline := time.Now().Add(10 * time.Second); ; {
		raw, _ := os.ReadFile(hit)
		if string(raw) == strconv.Itoa(os.Getpid()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %q, want this process", hit, raw)
		}
	}
	if err := at(t.Context(), claimed); err != nil { // one file holds one
		t.Fatal(err)
	}
	select {
	case err := <-passed:
		t.Fatalf("it went on with %v before it was let go", err)
	default:
	}
	if err := os.Remove(hit); err != nil {
		t.Fatal(err)
	}
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
}

// Each named step is at exactly one place.
func TestSteps(t *testing.T) {
	t.Parallel()
	found := map[Step]int{}
	for _, name := range []string{
		"create records", "push tickets", "handle", "claim", "fetch", "admit", "build", "push", "create", "start",
		"wait", "put", "copyout", "finish", "retag",
	} {
		for _, after := range []bool{false, true} {
			found[step(Call{Name: name, After: after})]++
		}
	}
	for _, s := range append(Steps(), RebuildSteps()...) {
		if found[s] != 1 {
			t.Errorf("step %s is at %d places", s, found[s])
		}
	}
}
