package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// task is a job with what should come of it.
type task struct {
	oracle.Task
	spec jobs.Spec
	id   string // of a job that a plain producer pushes, "" of one that is submitted
}

func (t task) plain() bool { return t.id != "" }

// dockerfiles are the Dockerfiles of the contexts that builds name.
func dockerfiles() map[string]string {
	return map[string]string{
		"file:///good.tar": "FROM scratch\nRUN echo step; sleep 2\nCMD [\"sh\", \"-c\", \"echo start; sleep 3; echo end > /out; echo end\"]\n",
		"file:///bad.tar":  "FROM busybox\nRUN sleep 1; false\n",
	}
}

// halves are the values of a label that each half of the hosts has one of.
func halves() []string { return []string{"one", "other"} }

// groups is how many concurrency groups jobs are in; each lets one more run at once than
// the one before.
const groups = 3

// newTask draws a job.
func newTask(r *rand.Rand, n int) task {
	seconds := []int{0, 0, 1, 3, 8, 30, 70, 240}[r.IntN(8)]
	script := fmt.Sprintf("echo start; sleep %d; echo end", seconds)
	shell := func(script string) *jobs.Run {
		return &jobs.Run{Image: "busybox", Command: []string{"sh", "-c", script}, StopGrace: jobs.Duration(time.Second)}
	}
	t := task{Task: oracle.Task{Key: fmt.Sprint("key-", n), State: jobs.Succeeded, Log: "start\nend\n"}}
	switch k := r.IntN(21); {
	case k < 4 && seconds > 60:
		t.Does, t.spec = "runs out of its 20 s", jobs.Spec{Run: shell("trap 'exit 0' TERM; echo start; sleep 3600; echo end")}
		t.spec.Timeouts.Run = jobs.Duration(20 * time.Second)
		t.State, t.Kind, t.Log = jobs.Failed, jobs.KindTimeout, "start\n"
	case k < 8:
		t.Does, t.spec = fmt.Sprintf("runs for %d s", seconds), jobs.Spec{Run: shell(script)}
	case k < 11:
		t.spec = jobs.Spec{Run: shell(script + "; exit 3"), Retries: r.IntN(3)}
		t.Does = fmt.Sprintf("fails after %d s with %d retries", seconds, t.spec.Retries)
		t.State, t.Kind = jobs.Failed, jobs.KindExitNonzero
	case k < 14:
		t.Does, t.Log = "builds", ""
		t.spec = jobs.Spec{Context: &jobs.Context{Ref: "file:///good.tar"}, Build: &jobs.Build{}}
		t.spec.Build.Args = map[string]string{"N": fmt.Sprint(n)} // another image each time
		switch r.IntN(3) {
		case 0:
			t.Does = "builds and pushes"
			t.spec.Build.Tags, t.spec.Build.Push = []string{fmt.Sprintf("registry.example.com/app:%d", n)}, true
			t.spec.Name = fmt.Sprint("pushed-", n%20) // which few others build meanwhile
		case 1:
			t.Does = "builds what another job may have built, too"
			t.spec.Build.Tags, t.spec.Name = []string{"app:latest"}, "app"
		}
	case k < 15:
		t.Does, t.Log, t.State, t.Kind = "fails to build", "", jobs.Failed, jobs.KindBuildFailed
		t.spec = jobs.Spec{Context: &jobs.Context{Ref: "file:///bad.tar"}, Build: &jobs.Build{}, Retries: r.IntN(2)}
	case k < 17:
		t.Does, t.Outputs = "builds, runs and collects", 1
		t.spec = jobs.Spec{Context: &jobs.Context{Ref: "file:///good.tar"}, Build: &jobs.Build{}, Run: &jobs.Run{Outputs: []string{"/out"}, StopGrace: jobs.Duration(time.Second)}}
	case k < 19:
		t.Does, t.spec = "may wait for a minute", jobs.Spec{Run: shell(script)}
		t.spec.Timeouts.Queue = jobs.Duration(time.Minute)
	case r.IntN(2) == 0:
		t.Does, t.Log = "serves for 20 s", "start\n"
		t.spec = jobs.Spec{Run: shell("trap 'exit 0' TERM; echo start; sleep 3600; echo end")}
		t.spec.Run.Keep = jobs.Duration(20 * time.Second)
	default:
		t.Exit = 7
		t.Does = fmt.Sprintf("serves, and ends with 7 after %d s", 10+seconds)
		t.spec = jobs.Spec{Run: shell(fmt.Sprintf("echo start; sleep %d; echo end; exit 7", 10+seconds))}
		t.spec.Run.Keep = jobs.Duration(20 * time.Minute)
	}
	if t.spec.Build != nil && t.spec.Name == "" { // a recipe that other jobs have, too
		t.spec.Name = fmt.Sprint("image-", n%5)
	}
	if seconds < 10 && !t.Serves && r.IntN(3) == 0 { // few at once, of many; long ones would take all day
		g := r.IntN(groups)
		t.spec.Concurrency = &jobs.Concurrency{Group: fmt.Sprint("group-", g), Limit: 1 + g}
		t.Does += fmt.Sprintf(", in a group of %d", 1+g)
	}
	if r.IntN(4) == 0 {
		half := halves()[r.IntN(2)]
		t.spec.Requires = &jobs.Requires{Labels: map[string]string{"half": half}}
		t.Does += ", on the " + half + " half of the hosts"
	}
	t.spec.IdempotencyKey = t.Key
	t.spec = t.spec.Normalize()
	t.Retries, t.Expires = t.spec.Retries, t.spec.Timeouts.Queue > 0
	t.Serves = t.spec.Run != nil && t.spec.Run.Keep > 0
	if r.IntN(5) == 0 {
		t.id = fmt.Sprint("plain-", n)
		t.Does += ", pushed as a plain task"
	}
	return t
}
