package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/doctor"
)

// What is behind the runbook of an alert, and before its name in lower case.
const runbook = "https://github.com/slipway-farm/slipway/blob/main/docs/alerts.md#"

// Each alert has its section of the page, which says what it means, how to see it and what to
// do, and to which the alert leads; each section has its alert, and each check of the doctor
// its row.
func TestAlertsInDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range regexp.MustCompile(`(?m)^## `).Split(string(text), -1)[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		sections[title] = rest
	}
	alerts := alertRules(t)
	for name, alert := range alerts {
		section, ok := sections[name]
		if !ok {
			t.Errorf("docs/alerts.md has no section %s", name)
			continue
		}
		for _, part := range []string{alert.Labels["severity"] + ". **Means:**", "\n**See:**", "\n**Do:**"} {
			if !strings.Contains(section, part) {
				t.Errorf("%s: its section has no %q", name, part)
			}
		}
		if got, want := alert.Annotations["runbook_url"], runbook+strings.ToLower(name); got != want {
			t.Errorf("%s: its runbook is %q, want %q", name, got, want)
		}
	}
	for title := range sections {
		if _, ok := alerts[title]; strings.HasPrefix(title, "Slipway") && !ok {
			t.Errorf("there is no alert %s any more", title)
		}
	}
	table := sections["Checks of worker doctor"]
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `.*?\\|").FindAllString(table, -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
			listed[m[1]] = true
		}
	}
	for _, name := range doctor.Names() {
		if !listed[name] {
			t.Errorf("the table of checks lacks %s", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("there is no check %s any more", name)
	}
	for _, m := range regexp.MustCompile(`\(#(slipway\w+)\)`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(strings.ToLower(string(text)), "\n## "+m[1]+"\n") {
			t.Errorf("a link leads to %s, which is no section", m[1])
		}
	}
}
