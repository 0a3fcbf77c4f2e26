package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/commandline"
)

func TestPolicyCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ncontext: {max_depth: 7}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\ncontext:\n  max_dept: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tenants := filepath.Join(t.TempDir(), "tenants.yaml")
	if err := os.WriteFile(tenants, []byte("version: 1\ntenants: {acme: {push: [registry.example/acme/]}, \"*\": {secrets: []}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		env  commandline.Environment
		code int
		says string
	}{
		{"defaults", nil, nil, 0, "max_depth: 64"},
		{"a file", []string{file}, nil, 0, "max_depth: 7"},
		{"tenants", []string{tenants}, nil, 0, "tenants:\n  \"*\":\n    secrets: []\n  acme:\n    push:\n    - registry.example/acme/\n"},
		{"the environment's", nil, commandline.Environment{"SLIPWAY_POLICY=" + file}, 0, "max_depth: 7"},
		{"a mistake", []string{bad}, nil, 1, `line 3:`},
		{"no file", []string{file + "x"}, nil, 1, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			code := run(t.Context(), t.Context(), append([]string{"policy"}, tt.args...), tt.env, &out, &out)
			if code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, tt.code, tt.says, out.String())
			}
		})
	}
}
