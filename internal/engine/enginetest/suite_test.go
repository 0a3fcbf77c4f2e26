package enginetest

import "testing"

func TestFake(t *testing.T) {
	t.Parallel()
	TestEngine(t, func(*testing.T) Rig {
		f := New()
		return Rig{Engine: f, Image: "busybox:latest", Registry: "registry.example.com", Lose: func(_ *testing.T, id string) { f.Lose(id) }}
	})
}
