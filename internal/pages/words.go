package pages

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// glyph stands beside the word of a state, for readers who look before they read. Neither
// stands alone.
func glyph(word string) string {
	return cmp.Or(map[string]string{
		"queued": "○", "running": "◐", "waiting": "◔", "succeeded": "✓", "failed": "✗", "cancelled": "⊘", "refused": "⊗", "expired": "◌",
		"ready": "✓", "unfit": "✗", "draining": "◐", "drained": "⊘", "cordoned": "⊘", "silent": "◌", "away": "◌", "damaged": "✗",
	}[word], "·")
}

// short is a duration with the digits that people read.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return jobs.Duration(d.Round(time.Second)).String()
	}
}

// shortID is an ID of a job by which a reader knows it again: those of one hour begin with
// the same digits.
func shortID(id string) string {
	if len(id) <= 16 {
		return id
	}
	return id[:8] + "…" + id[len(id)-4:]
}

// shortDigest has the first digits of a digest.
func shortDigest(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) <= 12 {
		return digest
	}
	return algorithm + ":" + hex[:12]
}

// what a job does, in a line: the image that it built by its digest, or what it is to build
// or run.
func what(j jobs.Job) string {
	if r := j.Result; r != nil {
		if len(r.RepoDigests) > 0 {
			name, digest, _ := strings.Cut(r.RepoDigests[0], "@")
			for _, tag := range r.Tags {
				if strings.HasPrefix(tag, name+":") {
					name = tag
				}
			}
			return name + "@" + shortDigest(digest)
		}
		if len(r.Tags) > 0 {
			return strings.TrimSpace(r.Tags[0] + " " + shortDigest(r.ImageID))
		}
	}
	switch b, run := j.Spec.Build, j.Spec.Run; {
	case b != nil && len(b.Tags) > 0:
		return b.Tags[0]
	case b != nil:
		return "build " + b.Dockerfile
	case run != nil:
		return strings.TrimSpace(run.Image + " " + jobs.Line(strings.Join(run.Command, " "), 80))
	}
	return ""
}

// size is a number of bytes with the digits that people read.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, name := float64(n)/unit, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, name = value/unit, next
	}
	return fmt.Sprintf("%.1f %s", value, name)
}

// called is what people call a job.
func called(j jobs.Job) string { return cmp.Or(j.Spec.Called(), shortID(j.ID)) }

// took is how long the job took from its submission, or takes so far.
func took(j jobs.Job, now time.Time) string {
	switch {
	case j.Created.IsZero():
		return ""
	case j.Finished.IsZero():
		return short(now.Sub(j.Created).Truncate(time.Second))
	}
	return short(j.Finished.Sub(j.Created))
}

// failureLine is why a job did not succeed, in a line.
func failureLine(j jobs.Job) string {
	if j.Result == nil || j.Result.Failure == nil {
		return ""
	}
	f := j.Result.Failure
	where := string(f.Kind)
	if f.Stage != "" {
		where = string(f.Stage) + ", " + where
	}
	return jobs.Line(f.Message, 300) + " (" + where + ")"
}

// faultWords say whose fault a failure is.
func faultWords(k jobs.Kind) string {
	if k == jobs.KindCancelled {
		return ""
	}
	switch k.Info().Fault {
	case jobs.InfraFault:
		return "the farm's fault, not yours"
	case jobs.UserFault:
		return "the job's own fault"
	}
	return ""
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
