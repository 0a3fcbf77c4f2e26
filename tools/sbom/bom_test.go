package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// A program that the compiler made is described with its own hash and platform.
func TestProgram(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sbom")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", file, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := describe(info, program, "1.2.3", time.Unix(86400, 0))
	if got, want := b.Metadata.Timestamp, "1970-01-02T00:00:00Z"; got != want {
		t.Errorf("the time is %s; want %s", got, want)
	}
	own := b.Metadata.Component
	if own.Name != "sbom" || own.Version != "1.2.3" || len(own.Hashes) != 1 || len(own.Properties) != 2 {
		t.Errorf("described as %+v; want its name, version, hash and platform", own)
	}
	if len(b.Components) != 1 || "go"+b.Components[0].Version != runtime.Version() {
		t.Errorf("made of %+v; want the standard library alone", b.Components)
	}
}

// Modules are named as scanners look for them, the replaced by what they were replaced with.
func TestModules(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "example.com/farm/cmd/worker", Main: debug.Module{Path: "example.com/farm"},
		Deps: []*debug.Module{
			{Path: "github.com/Upper/case", Version: "v1.0.0"},
			{Path: "github.com/docker/docker", Version: "v28.5.2+incompatible"},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0"}},
		},
	}
	var out bytes.Buffer
	if err := write(&out, describe(info, nil, "1.2.3", time.Unix(0, 0))); err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	names := []string{b.Metadata.Component.PURL}
	for _, c := range b.Components {
		names = append(names, c.PURL)
	}
	want := strings.Fields(`pkg:golang/example.com/farm@1.2.3#cmd/worker
		pkg:golang/stdlib@1.26.8
		pkg:golang/github.com/upper/case@v1.0.0
		pkg:golang/github.com/docker/docker@v28.5.2%2Bincompatible
		pkg:golang/example.com/new@v2.0.0`)
	if strings.Join(names, "\n") != strings.Join(want, "\n") {
		t.Errorf("named\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
}
