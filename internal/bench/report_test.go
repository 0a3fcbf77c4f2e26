//go:build integration

package bench_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// report is what was measured, as a table in Markdown.
type report struct {
	rows  [][]string
	notes []string
}

// noBar stands in rows that are not judged.
const noBar = "-"

// row adds a line; over tells by how much the bar is missed, 0 when it is held.
func (r *report) row(what, bar, measured, baseline string, ratio, over float64) {
	verdict := "OK"
	switch {
	case bar == noBar:
		verdict = noBar
	case over > 0:
		verdict = fmt.Sprintf("%.0f %% off", 100*over)
	}
	ratioText := "-"
	if ratio > 0 {
		ratioText = fmt.Sprintf("%.2f", ratio)
	}
	r.rows = append(r.rows, []string{what, bar, measured, baseline, ratioText, verdict})
	fmt.Printf("%-60s %-12s %-14s %-28s %-6s %s\n", what, bar, measured, baseline, ratioText, verdict)
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// rate compares rates of paired blocks; the median of the pairs' ratios is
// hardly moved by a neighbour that was busy during one of them.
func (r *report) rate(what, base string, bar float64, ours, theirs []float64) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	ratio := median(ratios)
	r.row(what, fmt.Sprintf(">= %.2f x", bar), fmt.Sprintf("%.2f/s", median(ours)),
		fmt.Sprintf("%s %.2f/s", base, median(theirs)), ratio, 1-ratio/bar)
}

// times compares the durations of pairs, as rate does with rates.
func (r *report) times(what, base string, bar float64, ours, theirs []time.Duration) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = float64(ours[i]) / float64(theirs[i])
	}
	ratio := median(ratios)
	r.row(what, fmt.Sprintf("<= %.2f x", bar), millis(median(ours)), base+" "+millis(median(theirs)), ratio, ratio/bar-1)
}

// latency holds a duration to a multiple of another.
func (r *report) latency(what, base string, bar float64, ours, theirs time.Duration) {
	ratio := float64(ours) / float64(theirs)
	r.row(what, fmt.Sprintf("<= %.2f x", bar), millis(ours), base+" "+millis(theirs), ratio, ratio/bar-1)
}

// limit holds a duration to an absolute bar.
func (r *report) limit(what, base string, bar, ours, theirs time.Duration) {
	r.row(what, "<= "+millis(bar), millis(ours), base+" "+millis(theirs),
		float64(ours)/float64(theirs), float64(ours)/float64(bar)-1)
}

func (r *report) atMost(what, base, unit string, bar, ours, theirs float64) {
	r.row(what, "<= "+number(bar, unit), number(ours, unit), base+" "+number(theirs, unit), ours/theirs, ours/bar-1)
}

func (r *report) atLeast(what, base, unit string, bar, ours, theirs float64) {
	r.row(what, ">= "+number(bar, unit), number(ours, unit), base+" "+number(theirs, unit), ours/theirs, 1-ours/bar)
}

// weight holds a number of bytes to a bar; it depends on no machine.
func (r *report) weight(what string, bar, ours float64) {
	r.row(what, fmt.Sprintf("<= %.0f B", bar), fmt.Sprintf("%.0f B", ours), "-", 0, ours/bar-1)
}

// share holds bytes to so many percent of all.
func (r *report) share(what, base string, bar float64, ours, all int64) {
	share := float64(ours) / float64(all)
	r.row(what, "<= "+number(bar, " %"), number(100*share, " %"), base+" "+units.HumanSize(float64(all)), share, 100*share/bar-1)
}

// bytes tells of bytes that have no bar.
func (r *report) bytes(what, base string, ours, theirs int64) {
	r.row(what, noBar, units.HumanSize(float64(ours)), base+" "+units.HumanSize(float64(theirs)), float64(ours)/float64(theirs), 0)
}

func number(v float64, unit string) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f%s", v, unit)
	}
	return fmt.Sprintf("%.2f%s", v, unit)
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func (r *report) String() string {
	rows := append([][]string{{"what", "bar", "measured", "baseline", "ratio", ""}, {"---", "---", "---", "---", "---", "---"}}, r.rows...)
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var s strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&s, "| %-*s ", width[i], cell)
		}
		s.WriteString("|\n")
	}
	for _, n := range r.notes {
		s.WriteString("\n- " + n)
	}
	return s.String() + "\n"
}

// machine says where the numbers come from.
func machine(f *farm) string {
	engine, err := f.docker.ServerVersion(f.ctx)
	f.must(err)
	info, err := f.rdb.InfoMap(f.ctx, "server").Result()
	f.must(err)
	model := ""
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpuinfo)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%s, %d cores (%s), Linux %s, Docker %s, Redis %s, %s\n", time.Now().Format(time.DateOnly),
		runtime.NumCPU(), model, engine.KernelVersion, engine.Version, info["Server"]["redis_version"], runtime.Version())
}

func rates(blocks []block) []float64 {
	all := make([]float64, len(blocks))
	for i, b := range blocks {
		all[i] = b.rate()
	}
	return all
}

func pool(blocks []block) (all []time.Duration) {
	for _, b := range blocks {
		all = append(all, b.waits...)
	}
	return all
}

// median is the middle value, or what is between the two that are in the middle.
func median[T ~int64 | ~float64](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func quantile[T cmp.Ordered](all []T, q float64) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func byValue(m map[string]float64) []string {
	names := slices.Collect(maps.Keys(m))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	return names
}
