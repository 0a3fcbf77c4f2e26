package flags

import "github.com/slipway-farm/slipway/internal/jobs"

// runRows are those of docker run, in its words, and those of a service.
func runRows(o *Options, getenv func(string) string) []Row {
	return []Row{
		option(toggle, new(bool), "run", "run the image after the build").asking(runHalf),
		held(text, &o.Image, "/run/image", "image", "build nothing, run this image", replace(func(s *jobs.Spec) *string { return &s.Run.Image })),
		change(text, "/run/entrypoint", "entrypoint", "replace the image's entrypoint", func(s *jobs.Spec, v string) { s.Run.Entrypoint = []string{v} }),
		keyed(pairs(getenv), "/run/env", "env", "environment variable, KEY alone takes it from the environment; repeatable, the last of a key counts",
			func(s *jobs.Spec) *map[string]string { return &s.Run.Env }).short("e"),
		option(texts, &o.EnvFiles, "env-file", "`file` of environment variables, as of docker run; --env goes before it. The values become a part of the document, which all of the farm may read: no secrets; repeatable").
			asking(runHalf),
		one(text, "/run/workdir", "workdir", "working directory in the container", func(s *jobs.Spec) *string { return &s.Run.Workdir }).short("w"),
		one(text, "/run/user", "user", "user[:group] in the container", func(s *jobs.Spec) *string { return &s.Run.User }).short("u"),
		more(parsed(portsVar), "/run/ports", "publish", "publish a container port; repeatable", func(s *jobs.Spec) *[]jobs.Port { return &s.Run.Ports }).short("p"),
		option(text, &o.Network, "network", "none or bridge for the container; of the build's RUN steps when nothing is run").
			sets("/run/network").asking(neither).oneOf("none", "bridge", "default"),
		one(fraction, "/run/limits/cpus", "cpus", "number of CPUs, such as 1.5", func(s *jobs.Spec) *float64 { return &s.Run.Limits.CPUs }),
		one(parsed(bytesVar), "/run/limits/memory", "memory", "memory limit, such as 512m", func(s *jobs.Spec) *jobs.Bytes { return &s.Run.Limits.Memory }).short("m"),
		one(parsed(bytesVar), "/run/limits/shm", "shm-size", "size of /dev/shm", func(s *jobs.Spec) *jobs.Bytes { return &s.Run.Limits.Shm }),
		one(parsed(bytesVar), "/run/limits/disk", "disk", "how much the container may write to the host's disk, such as 2g",
			func(s *jobs.Spec) *jobs.Bytes { return &s.Run.Limits.Disk }),
		one(large, "/run/limits/pids", "pids-limit", "largest number of processes, -1 for any", func(s *jobs.Spec) *int64 { return &s.Run.Limits.Pids }),
		keyed(parsed(ulimitsVar), "/run/limits/ulimits", "ulimit", "ulimit, such as nofile=1024:4096 or memlock=-1 (no limit); repeatable",
			func(s *jobs.Spec) *map[string]jobs.Ulimit { return &s.Run.Limits.Ulimits }),
		one(toggle, "/run/read_only", "read-only", "mount the container's root read-only", func(s *jobs.Spec) *bool { return &s.Run.ReadOnly }),
		keyed(parsed(tmpfsVar), "/run/tmpfs", "tmpfs", "mount a tmpfs, such as /tmp:size=64m; repeatable",
			func(s *jobs.Spec) *map[string]jobs.Bytes { return &s.Run.Tmpfs }),
		more(parsed(secretsVar), "/run/secrets", "run-secret", "secret of the workers, in the file /run/secrets/ID of the container; repeatable",
			func(s *jobs.Spec) *[]jobs.Secret { return &s.Run.Secrets }),
		one(toggle, "/run/init", "init", "run an init that reaps processes", func(s *jobs.Spec) *bool { return &s.Run.Init }),
		one(parsed(secondsVar), "/run/stop_grace", "stop-timeout", "how long the container may take to end after SIGTERM (10 or 10s)",
			func(s *jobs.Spec) *jobs.Duration { return &s.Run.StopGrace }),
		one(parsed(Duration), "/timeouts/run", "timeout", "end the run after this long", func(s *jobs.Spec) *jobs.Duration { return &s.Timeouts.Run }),
		one(parsed(Duration), "/run/keep", "keep", "run as a service: succeed once ready, then keep the container for this long",
			func(s *jobs.Spec) *jobs.Duration { return &s.Run.Keep }),
		option(text, &o.ReadyHTTP, "ready-http", "with --keep: ready when this path answers with a status below 400").
			sets("/run/ready/http", "/run/ready"),
		option(toggle, &o.ReadyTCP, "ready-tcp", "with --keep: ready when the port accepts connections (the default with a tcp port)").
			sets("/run/ready", "/run/ready/tcp"),
		option(toggle, &o.ReadyHealth, "ready-health", "with --keep: ready when the HEALTHCHECK of the image says so").
			sets("/run/ready", "/run/ready/health"),
		one(whole, "/run/ready/port", "ready-port", "container port to ask (default the first published tcp port)",
			func(s *jobs.Spec) *int { return &Part(&s.Run.Ready).Port }),
		one(parsed(Duration), "/run/ready/timeout", "ready-timeout", "give up when it is not ready after this long",
			func(s *jobs.Spec) *jobs.Duration { return &Part(&s.Run.Ready).Timeout }),
		more(texts, "/run/outputs", "output-path", "absolute `path` to collect from the stopped container; repeatable",
			func(s *jobs.Spec) *[]string { return &s.Run.Outputs }),
		one(text, "/run/outputs_on", "outputs-on", "collect outputs `always` (the default), also when the run failed, or on success only",
			func(s *jobs.Spec) *string { return &s.Run.OutputsOn }).oneOf(jobs.OutputsAlways, jobs.OutputsSuccess),
	}
}
