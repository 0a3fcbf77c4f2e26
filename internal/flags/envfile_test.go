package flags

import (
	"maps"
	"strings"
	"testing"
)

func TestReadEnv(t *testing.T) {
	t.Parallel()
	lookup := func(key string) string { return map[string]string{"HERE": "x y"}[key] }
	got, err := ReadEnv(strings.NewReader("\ufeffA=1\n# comment\n\n  B= 2 \nC=\"q\"#\r\nHERE\nTHERE\nA==3\nD=\n"), lookup)
	want := map[string]string{"A": "=3", "B": " 2 ", "C": `"q"#`, "HERE": "x y", "D": ""}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
	for text, want := range map[string]string{
		"A=1\nB = 2":   "line 2 has a space in the name",
		"=1":           "line 1 has no name",
		"\n\nA=\xff\n": "line 3 is not UTF-8",
		"A=1\nB=" + strings.Repeat("x", maxEnvLine): "line 2 is longer than any job document",
	} {
		if _, err := ReadEnv(strings.NewReader(text), lookup); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one that says %q", err, want)
		}
	}
}
