package flags

import "slices"

// refusal is one sentence about flags of docker that submit does not have.
type refusal struct {
	names, shorthands []string
	why               string
}

// refusals are the flags of docker run and docker buildx build that hands type and that no
// job can have, each with what there is instead. What is not here is only unknown.
func refusals() []refusal {
	return []refusal{
		{
			[]string{"volume", "mount", "volumes-from", "volume-driver"},
			[]string{"v"},
			"bind mounts and volumes cannot be asked for: files come with PATH and leave with --output-path, --tmpfs is for scratch; see docs/operating.md#security",
		},
		{
			[]string{"privileged", "cap-add", "cap-drop", "security-opt", "device", "device-cgroup-rule", "gpus", "pid", "ipc", "uts", "userns", "cgroupns", "cgroup-parent", "sysctl", "group-add", "oom-score-adj", "oom-kill-disable", "runtime", "isolation", "allow"},
			nil,
			"a job cannot ask for rights, devices or namespaces of its host; see docs/operating.md#security",
		},
		{
			[]string{"interactive", "tty", "attach", "detach-keys", "sig-proxy"},
			[]string{"i", "a"},
			"no terminal and no stdin reach the container of a job; its output is followed without being asked for",
		},
		{
			[]string{"restart"},
			nil,
			"a container is not started again: --retries N tries a failed job again, and --keep has a service stay up",
		},
		{
			[]string{"hostname", "domainname", "add-host", "dns", "dns-option", "dns-search", "link", "ip", "ip6", "mac-address", "network-alias", "expose", "publish-all"},
			[]string{"P"},
			"a job says of the network only --network none or bridge, and which ports to publish with -p; the rest is the operator's",
		},
		{
			[]string{"memory-swap", "memory-swappiness", "memory-reservation", "kernel-memory", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems", "blkio-weight", "device-read-bps", "device-write-bps", "storage-opt", "resource"},
			[]string{"c"},
			"the limits that a job can have are --cpus, --memory, --pids-limit, --disk, --shm-size and --ulimit",
		},
		{
			[]string{"log-driver", "log-opt"},
			nil,
			"the farm keeps the output of every job: enqueue logs ID",
		},
		{
			[]string{"health-cmd", "health-interval", "health-retries", "health-timeout", "health-start-period", "no-healthcheck"},
			nil,
			"a service is checked by --ready-http or --ready-tcp, or with --ready-health by the HEALTHCHECK of its image",
		},
		{
			[]string{"stop-signal"},
			nil,
			"the signal is the image's (STOPSIGNAL); --stop-timeout says how long the container may take to end",
		},
		{
			[]string{"cidfile"},
			nil,
			"-o template={{.result.container_id}} prints the ID of the container when the job has ended",
		},
		{
			[]string{"cache-to"},
			nil,
			"the cache stays on the hosts, and builds go where theirs is; --push with --build-arg BUILDKIT_INLINE_CACHE=1 publishes it for --cache-from",
		},
		{
			[]string{"load"},
			nil,
			"the image stays on the host that built it; --push sends it to its registry",
		},
		{
			[]string{"no-cache-filter"},
			nil,
			"--no-cache builds every step anew",
		},
		{
			[]string{"attest", "provenance", "sbom"},
			nil,
			"the operator of the workers decides what is attached to pushed images; enqueue provenance shows how one was built",
		},
		{
			[]string{"annotation", "label-file"},
			nil,
			"an image gets labels by --label and --image-label",
		},
		{
			[]string{"builder", "squash", "compress", "force-rm", "call", "check"},
			nil,
			"every build is one of BuildKit on a host of the farm, and nothing else can be asked for",
		},
	}
}

// Refused says why a flag of docker is none of submit's, "" where that is not known. name is
// its long name, or its letter.
func Refused(name string) string {
	for _, r := range refusals() {
		if slices.Contains(r.names, name) || slices.Contains(r.shorthands, name) {
			return r.why
		}
	}
	return ""
}
