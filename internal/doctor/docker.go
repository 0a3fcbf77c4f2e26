package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/engine"
)

// oldestAPI is that of Docker 20.10.
const oldestAPI = "1.41"

// daemonTime is how long a daemon that is well needs at most to say what it is.
const daemonTime = 10 * time.Second

func dockerAnswers(ctx context.Context, e *exam) Finding {
	bounded, cancel := context.WithTimeout(ctx, daemonTime)
	defer cancel()
	d, err := e.Daemon.Details(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return fail("it hangs: look into its log (journalctl -u docker) and at its disk, then start it anew", "docker does not answer: nothing came within %s", daemonTime)
	}
	if err != nil {
		return broken(err, "start the daemon, or say where it is with --docker-host; this user must be allowed to use its socket (group docker)")
	}
	e.daemon = d
	if older(d.API, oldestAPI) {
		return fail("upgrade it to Docker 20.10 or newer", "%s at %s speaks API %s; the worker needs %s", d.Info, d.Address, d.API, oldestAPI)
	}
	return ok("%s at %s, API %s, %s, %d CPUs, %s of memory", d.Info, d.Address, d.API, d.Platform, d.CPUs, diskroom.Bytes(d.Memory))
}

func dockerStorage(_ context.Context, e *exam) Finding {
	if e.daemon.Storage == "vfs" {
		return warn("let the daemon use overlay2: put its data root on ext4 or xfs", "storage driver vfs copies every layer whole: builds are slow and fill the disk")
	}
	return ok("storage driver %s", e.daemon.Storage)
}

func dockerCgroup(_ context.Context, e *exam) Finding {
	d := e.daemon
	if d.CgroupDriver == "none" {
		return warn("let the daemon use systemd's cgroups", "cgroup driver none: limits of jobs do not hold")
	}
	return ok("cgroup version %s, driver %s", orUnknown(d.CgroupVersion), d.CgroupDriver)
}

func dockerLiveRestore(_ context.Context, e *exam) Finding {
	if !e.daemon.LiveRestore {
		return warn(`set "live-restore": true in the daemon's /etc/docker/daemon.json`, "off: a restart of the daemon ends all containers, and the jobs in them start again")
	}
	return ok("on")
}

func dockerLogs(_ context.Context, e *exam) Finding {
	return ok("default log driver %s; jobs' containers have local", e.daemon.LogDriver)
}

func dockerSecurity(_ context.Context, e *exam) Finding {
	all := strings.Join(e.daemon.Security, "; ")
	confined := slices.ContainsFunc(e.daemon.Security, func(o string) bool {
		return strings.HasPrefix(o, "seccomp") && !strings.HasSuffix(o, "profile=unconfined")
	})
	if !confined {
		return warn("let the daemon have its default seccomp profile: it keeps system calls from jobs that they have no use for", "no seccomp (%s)", all)
	}
	return ok("%s; steps of builds have Docker's fourteen capabilities and no bound on processes, other than jobs", all)
}

// dockerContainer sees for itself that an image can be built and run.
func dockerContainer(ctx context.Context, e *exam) Finding {
	begun := time.Now()
	warnings, err := e.Daemon.Probe(ctx, engine.Probe{Limits: e.Limits, Push: e.ProbePush})
	switch {
	case err != nil:
		return broken(err, "look into the daemon's log (journalctl -u docker)")
	case len(warnings) > 0:
		return warn("see to it that the kernel and the daemon can hold jobs to their limits", "an image was built and run; the daemon warns: %s", strings.Join(warnings, "; "))
	}
	did := "built and run"
	if e.ProbePush != "" {
		did = "built, run and pushed as " + e.ProbePush
	}
	return ok("an image was %s in %s", did, brief(time.Since(begun)))
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
