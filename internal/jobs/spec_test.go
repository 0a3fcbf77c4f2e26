package jobs

import (
	"strings"
	"testing"
)

func TestCalled(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Spec{
		"web":                            {Name: "web", Build: &Build{Tags: []string{"a:1"}}},
		"a:1":                            {Build: &Build{Tags: []string{"a:1", "b:1"}}, Run: &Run{Command: []string{"true"}}},
		"busybox sh -c echo a b":         {Run: &Run{Image: "busybox", Command: []string{"sh", "-c", "echo a\n\tb"}}},
		"make test":                      {Build: &Build{}, Run: &Run{Command: []string{"make", "test"}}},
		"build of prod":                  {Build: &Build{Target: "prod"}, Run: &Run{}},
		"build":                          {Build: &Build{}},
		"":                               {},
		strings.Repeat("x", 117) + "...": {Name: strings.Repeat("x", 200)},
	} {
		if got := s.Called(); got != want {
			t.Errorf("called %q; want %q", got, want)
		}
	}
}
