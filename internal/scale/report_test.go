//go:build integration

package scale_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is a table with a line for each thing that is measured and a column for each size,
// in Markdown.
type report struct {
	lines []*line
	notes []string
}

// line is what was measured of one thing at some sizes.
type line struct {
	what  string
	cells []cell
}

type cell struct {
	size  int
	text  string
	value float64
}

// row adds a value at a size to the line of what was measured.
func (r *report) row(what string, size int, format string, value float64) {
	at := slices.IndexFunc(r.lines, func(l *line) bool { return l.what == what })
	if at < 0 {
		at = len(r.lines)
		r.lines = append(r.lines, &line{what: what})
	}
	c := cell{size, fmt.Sprintf(format, value), value}
	r.lines[at].cells = append(r.lines[at].cells, c)
	fmt.Printf("%-60s %8d %12s\n", what, size, c.text)
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	fmt.Println(r.notes[len(r.notes)-1])
}

// String has for each line how the value grew from the first size to the last: 1.0 means
// that one thing costs the same in a farm of any size.
func (r *report) String() string {
	var s strings.Builder
	s.WriteString("| what | at each size | last to first |\n| --- | --- | --- |\n")
	for _, l := range r.lines {
		var parts []string
		for _, c := range l.cells {
			parts = append(parts, fmt.Sprintf("%d: %s", c.size, c.text))
		}
		ratio := "-"
		if first, last := l.cells[0], l.cells[len(l.cells)-1]; len(l.cells) > 1 && first.value > 0 {
			ratio = fmt.Sprintf("%.2f", last.value/first.value)
		}
		fmt.Fprintf(&s, "| %s | %s | %s |\n", l.what, strings.Join(parts, ", "), ratio)
	}
	for _, n := range r.notes {
		s.WriteString("\n- " + n)
	}
	return s.String() + "\n"
}

// costliest names the commands that took most of Redis' time between two counts. What
// scripts call is in the scripts' time, too.
func costliest(before, after usage) string {
	took := map[string]time.Duration{}
	for name, d := range after.by {
		if d -= before.by[name]; d > 0 {
			took[name] = d
		}
	}
	names := slices.SortedFunc(maps.Keys(took), func(a, b string) int { return cmp.Or(cmp.Compare(took[b], took[a]), cmp.Compare(a, b)) })
	var parts []string
	for _, name := range names[:min(len(names), 8)] {
		parts = append(parts, fmt.Sprintf("%s %.1f ms/s", name, millis(took[name])/after.at.Sub(before.at).Seconds()))
	}
	return strings.Join(parts, ", ")
}

// machine says where the numbers come from.
func (f *farm) machine() string {
	f.Helper()
	model := ""
	text, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(l, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	info, err := f.rdb.InfoMap(f.Context(), "server").Result()
	f.must(err)
	return fmt.Sprintf("%s, %d cores (%s), Redis %s, %s; %d processes with %d workers, of %d slots; jobs of %s\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), model, info["Server"]["redis_version"], runtime.Version(),
		len(f.processes), f.hosts, f.slots, *runFlag)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
