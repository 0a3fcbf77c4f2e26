package main

import (
	"os"
	"testing"
)

// TestFindSource: what has the grammar of a reference is one, unless a file of that
// name is there.
func TestFindSource(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("ab:c", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("cas:x", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := newApp(process{getenv: func(string) string { return "" }})
	for arg, want := range map[string]sourceKind{
		".": fromDir, "ab:c": fromDir, "cas:x": fromTar, "./none": noSource, "none": noSource,
		"cas:y": fromRef, "https://example.com/x": fromRef, "gs://bucket/x": fromRef, "oci:registry/x@sha256:0": fromRef, "htp://x/y": fromRef,
		"./gs://bucket/x": noSource, `C:\src`: noSource, "c:/src": noSource, "HTTPS://example.com/x": noSource, "git@example.com:x": noSource, "1a:b": noSource,
	} {
		got, err := a.findSource(arg)
		if got.kind != want || (err == nil) != (want != noSource) {
			t.Errorf("%s: %v, %v, want kind %v", arg, got, err, want)
		}
	}
}
