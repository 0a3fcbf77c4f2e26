//go:build integration

package e2e_test

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A container that writes more than it may to the host's disk is ended as its own
// fault, and its neighbour goes on.
func TestDiskLimit(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--disk", "20MiB")
	const write = "head -c 8000000 /dev/zero >"
	neighbour := f.submit("-d", "--image", "busybox", "--", "sh", "-c", write+"/a; sleep 20")
	volume := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nVOLUME /data\nCMD " + write + "/data/a; echo begun; sleep 600\n"})
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"its own layer", []string{"--disk", "4m", "--image", "busybox", "--", "sh", "-c", write + "/a; echo begun; sleep 600"}, "more than its limit of 4MiB"},
		{"a volume of its image", []string{"--disk", "4m", "--run", volume}, "more than its limit of 4MiB"},
		{"over already", []string{"--disk", "4m", "--image", "busybox", "--", "sh", "-c", write + "/a; echo begun"}, "more than its limit of 4MiB"},
		{"the operator's limit", []string{"--image", "busybox", "--", "sh", "-c", "head -c 24000000 /dev/zero >/a; echo begun; sleep 600"}, "more than its limit of 20MiB"},
		{"what it removed does not count", []string{"--disk", "4m", "--image", "busybox", "--", "sh", "-c", write + "/a; rm /a"}, ""},
		{"memory is no disk", []string{"--disk", "4m", "--tmpfs", "/t:size=32m", "--image", "busybox", "--", "sh", "-c", write + "/t/a"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job, a := f.in(t).run(append([]string{"--stop-timeout", "1"}, tt.args...)...)
			if tt.says == "" {
				if job.State != jobs.Succeeded || a.code != 0 {
					t.Errorf("the job is %s, exit code %d\n%s", job.State, a.code, a.stderr)
				}
				return
			}
			fl := job.Result.Failure
			if fl == nil || fl.Kind != jobs.KindDiskLimit || job.Attempt != 1 || a.code != jobs.ExitFailed || !strings.Contains(a.stderr, tt.says) {
				t.Fatalf("the job is %s in attempt %d, exit code %d, want disk_limit\n%s", job.State, job.Attempt, a.code, a.stderr)
			}
			if strings.Join(fl.Tail, "") != "begun" {
				t.Errorf("the last output is %q", fl.Tail)
			}
		})
	}
	if job := f.ended(neighbour); job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("the neighbour is %s in attempt %d", job.State, job.Attempt)
	}
	clean(t, hostA, before)
}
