package main

import (
	"regexp"
	"strings"
	"testing"
)

// What is named for a word of other tools is there, and the word itself is not.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	root := newApp(process{getenv: func(string) string { return "" }}).rootCmd()
	named := regexp.MustCompile(`\benqueue ([a-z][a-z ]*[a-z])`)
	for _, verb := range []string{
		"build", "run", "batch", "kill", "stop", "delete", "rm", "prune", "rmi", "exec", "attach", "cp", "port-forward", "top", "stats",
		"workers", "nodes", "agents", "info", "doctor", "drain", "dev", "inspect", "describe", "get", "history", "events", "push", "tag", "pull", "login",
	} {
		said := elsewhere(verb)
		if said == "" || strings.HasSuffix(said, ".") {
			t.Errorf("%s: found %q; want a hint", verb, said)
		}
		for _, m := range named.FindAllStringSubmatch(said, -1) {
			found, _, err := root.Find(strings.Fields(m[1])[:1])
			if err != nil || found == root {
				t.Errorf("%s: %q names enqueue %s, which there is not", verb, said, m[1])
			}
		}
		if found, _, err := root.Find([]string{verb}); err == nil && found != root {
			t.Errorf("%s is a verb: %s", verb, found.CommandPath())
		}
	}
}
