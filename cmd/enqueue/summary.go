package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// exitOf is the exit code for a job that has ended; with fromRun the
// container's, when one ended.
func exitOf(j jobs.Job, fromRun bool) int {
	switch {
	case fromRun && j.Result != nil && j.Result.ExitCode != nil:
		return *j.Result.ExitCode
	case j.Result != nil && j.Result.Failure != nil:
		return j.Result.Exit()
	}
	switch j.State {
	case jobs.Succeeded:
		return jobs.ExitOK
	case jobs.Cancelled:
		return jobs.ExitCancelled
	case jobs.Expired:
		return jobs.ExitTimeout
	case jobs.Refused:
		return jobs.ExitUsage
	case jobs.Failed:
		return jobs.ExitFailed
	default:
		return jobs.ExitPending
	}
}

// summarize writes the last lines about a job: what became of it, what it
// left behind, and what to type next.
func summarize(w io.Writer, p painter, j jobs.Job) {
	head := p.state(j.State)
	if j.Spec.Name != "" {
		head += " " + oneLine(j.Spec.Name)
	}
	if d := lasted(j); d != "" {
		head += " in " + d
	}
	if r := j.Result; r != nil {
		if s := stages(r.Times); s != "" {
			head += " (" + s + ")"
		}
	}
	fmt.Fprintln(w, head)
	if r := j.Result; r != nil {
		if r.Failure != nil {
			explainFailure(w, p, *r.Failure)
		}
		facts(w, p, j, *r)
	}
	field(w, p, "next", next(j))
}

func explainFailure(w io.Writer, p painter, f jobs.Failure) {
	where := string(f.Kind)
	if f.Stage != "" {
		where = string(f.Stage) + ", " + where
	}
	fmt.Fprintf(w, "  %s (%s)\n", oneLine(f.Message), where)
	field(w, p, "cause", f.Cause)
	for _, l := range f.Tail {
		fmt.Fprintf(w, "  | %s\n", printed(l))
	}
	if f.Hint != "" {
		field(w, p, "hint", f.Hint)
	}
}

// printed is a line that a program printed, without its colours.
func printed(line string) string { return oneLine(string(clean([]byte(line), false))) }

// facts lists what the result knows, in the order of the stages.
func facts(w io.Writer, p painter, j jobs.Job, r jobs.Result) {
	for _, image := range images(r) {
		field(w, p, "image", image)
	}
	field(w, p, "container", r.ContainerID)
	if r.ExitCode != nil {
		field(w, p, "exit code", fmt.Sprint(*r.ExitCode))
	}
	if r.OOM {
		field(w, p, "memory", "the kernel killed a process for memory (limit: --memory)")
	}
	serviceFacts(w, p, j, r)
	for _, o := range r.Outputs {
		v := fmt.Sprintf("%s %s %s", o.Path, o.Digest, jobs.Bytes(o.Size))
		if o.LeftOut > 0 {
			v += fmt.Sprintf(", without %d devices and FIFOs", o.LeftOut)
		}
		field(w, p, "output", v)
	}
	if r.Log.Dropped > 0 {
		field(w, p, "log", fmt.Sprintf("%s cut out by the farm's cap", jobs.Bytes(r.Log.Dropped)))
	}
	if r.Log.Clipped {
		field(w, p, "log", "the Docker daemon left out output of a step (BUILDKIT_STEP_LOG_MAX_SIZE)")
	}
}

// serviceFacts prints where a service is, or what became of it. The addresses of one
// that is over are left out: another service may have them by now.
func serviceFacts(w io.Writer, p painter, j jobs.Job, r jobs.Result) {
	s := r.Service
	switch {
	case s == nil:
	case s.State != jobs.ServiceUp:
		field(w, p, "service", fmt.Sprintf("%s (%s)", s, s.Ended.Local().Format(time.DateTime)))
		return
	case overdue(r):
		field(w, p, "service", fmt.Sprintf("up as far as the farm knows, though its time is over: worker %s has not ended it (enqueue hosts)", r.Worker))
	default:
		field(w, p, "service", p.green(string(s.State)))
	}
	for i, addr := range r.Addresses {
		field(w, p, "address", address(j, i, addr))
	}
	if !r.KeepUntil.IsZero() {
		field(w, p, "kept until", r.KeepUntil.Local().Format(time.DateTime))
	}
}

// overdue reports whether a service that is up should have been ended a while ago: a
// worker that is well takes some seconds.
func overdue(r jobs.Result) bool { return time.Since(r.KeepUntil) > time.Minute }

// images names what was built or run: by digest when it was pushed, else by
// tag and ID.
func images(r jobs.Result) []string {
	switch {
	case len(r.RepoDigests) > 0:
		return withTags(r)
	case r.ImageID == "":
		return nil
	case len(r.Tags) > 0:
		return []string{strings.Join(r.Tags, ", ") + " " + r.ImageID}
	default:
		return []string{r.ImageID}
	}
}

// withTags puts the tag between name and digest, name:tag@sha256:..., where
// exactly one tag has that name.
func withTags(r jobs.Result) []string {
	refs := slices.Clone(r.RepoDigests)
	for i, ref := range refs {
		name, digest, _ := strings.Cut(ref, "@")
		for _, tag := range r.Tags {
			if strings.HasPrefix(tag, name+":") {
				refs[i] = tag + "@" + digest
			}
		}
	}
	return slices.Compact(refs)
}

// address adds the URL that a browser takes to a published tcp port, and to a loopback
// address the host on which it leads to the service.
func address(j jobs.Job, i int, addr string) string {
	on := ""
	if host, _, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsLoopback() && j.Result != nil && j.Result.Worker != "" {
		on = " on " + j.Result.Worker
	}
	if j.Spec.Run == nil || i >= len(j.Spec.Run.Ports) {
		return addr + on
	}
	port := j.Spec.Run.Ports[i]
	if port.Proto() != "tcp" {
		return addr + "/" + port.Proto() + on
	}
	path := "/"
	if ready := j.Spec.Run.Ready; ready != nil && ready.Port == port.Container {
		path = cmp.Or(ready.HTTP, "/")
	}
	return "http://" + addr + path + on
}

// next is the command to type.
func next(j jobs.Job) string {
	switch {
	case !j.State.Terminal():
		return "enqueue logs -f " + j.ID
	case j.Up():
		return "enqueue cancel " + j.ID + " (ends the service), enqueue logs -f " + j.ID
	case j.Result != nil && j.Result.Service != nil:
		return "enqueue logs " + j.ID
	case j.State == jobs.Succeeded && j.Result != nil && len(j.Result.Outputs) > 0:
		return "enqueue outputs " + j.ID
	case j.State == jobs.Succeeded:
		return "enqueue result " + j.ID
	case j.Result != nil && len(j.Result.Outputs) > 0:
		return "enqueue logs " + j.ID + ", enqueue outputs " + j.ID
	default:
		return "enqueue logs " + j.ID
	}
}

func field(w io.Writer, p painter, name, v string) {
	if v != "" {
		fmt.Fprintf(w, "  %s %s\n", p.bold(fmt.Sprintf("%-10s", name)), oneLine(v))
	}
}

// lasted is how long the job took from its submission, or takes so far.
func lasted(j jobs.Job) string {
	if j.Finished.IsZero() || j.Created.IsZero() {
		return ""
	}
	return short(j.Finished.Sub(j.Created))
}

func stages(times []jobs.StageTime) string {
	var parts []string
	for _, t := range times {
		parts = append(parts, fmt.Sprintf("%s %s", t.Stage, short(time.Duration(t.Millis)*time.Millisecond)))
	}
	return strings.Join(parts, ", ")
}

// short is a duration with the digits that people read.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return jobs.Duration(d.Round(time.Second)).String()
	}
}
