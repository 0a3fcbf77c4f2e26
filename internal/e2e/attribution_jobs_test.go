//go:build integration

package e2e_test

import (
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// containerCauses are what an engine does not make of a run, and what runs come to.
func containerCauses() []cause {
	run := func(flags []string, command ...string) []string {
		return append(append(flags, "--image", "busybox", "--"), command...)
	}
	with := func(flags ...string) []string { return run(flags, "true") }
	image := func(text string) map[string]string { return map[string]string{"Dockerfile": text} }
	built := []string{"--run"}
	notRun := func(says string) verdict { return mistake(jobs.KindCommandNotExec, says) }
	refused := func(says string) verdict {
		return mistake(jobs.KindContainerRefused, `the engine refused the container.*`+says)
	}
	return []cause{
		{"unknown user", nil, with("-u", "nosuchuser"), refused(`run\.user "nosuchuser".*unable to find user nosuchuser`)},
		{"unknown group", nil, with("-u", "root:nosuchgroup"), refused(`run\.user "root:nosuchgroup".*unable to find group nosuchgroup`)},
		{"USER that the image lacks", image("FROM busybox\nUSER appuser\nCMD id\n"), built, refused(`run\.user "appuser".*unable to find user appuser`)},
		{"working directory is a file", nil, with("-w", "/etc/passwd"), refused(`run\.workdir "/etc/passwd".*not a directory`)},
		{"WORKDIR below a file", image("FROM busybox\nWORKDIR /etc/passwd/x\n"), built, mistake(jobs.KindBuildFailed, `not a directory`)},
		{"no command in the image", image("FROM scratch\nCOPY Dockerfile /\n"), built, refused(`(?i)no command specified`)},
		{"tmpfs on a file", nil, with("--tmpfs", "/etc/passwd:size=1m"), refused(`run\.tmpfs /etc/passwd: .*not a directory`)},
		{"tmpfs below a file", nil, with("--tmpfs", "/etc/passwd/x:size=1m"), refused(`run\.tmpfs /etc/passwd/x: .*not a directory`)},
		{"ulimit beyond the kernel's", nil, with("--ulimit", "nofile=2147483647:2147483647"), refused(`run\.limits\.ulimits nofile: .*operation not permitted`)},
		{"less memory than the engine's least", nil, with("-m", "4m"), unacceptable(`found 4MiB; the minimum is 6MiB`)},
		{"entrypoint is a directory", nil, with("--entrypoint", "/etc"), notRun(`command "/etc" cannot be executed`)},
		{"command not executable", nil, run(nil, "/etc/passwd"), notRun(`command "/etc/passwd" cannot be executed`)},
		{"command not found", nil, run(nil, "no-such-program"), mistake(jobs.KindCommandNotFound, `command "no-such-program" was not found`)},
		{"command with too long a name", nil, run(nil, "/"+strings.Repeat("x", 300)), mistake(jobs.KindCommandNotFound, `was not found in the image.*file name too long`)},
		{"script without its interpreter", image("FROM busybox\nRUN printf '#!/no/such\\n' >/s && chmod +x /s\nCMD [\"/s\"]\n"), built, notRun(`interpreter was not found`)},
		{"script with CRLF", image("FROM busybox\nRUN printf '#!/bin/sh\\r\\necho hi\\r\\n' >/s && chmod +x /s\nENTRYPOINT [\"/s\"]\n"), built, notRun(`interpreter was not found.*carriage return`)},
		{"script without #!", image("FROM busybox\nRUN echo echo hi >/s && chmod +x /s\nCMD [\"/s\"]\n"), built, notRun(`cannot be executed on linux/`)},
		// The header of a program for a machine of 1986.
		{"program for another platform", image("FROM busybox\nRUN printf '\\177ELF\\1\\2\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\4\\0\\0\\0\\1' >/p && head -c 100 /dev/zero >>/p && chmod +x /p\nCMD [\"/p\"]\n"), built, notRun(`cannot be executed on linux/`)},
		{"environment too large for the kernel", map[string]string{jobFile: `{"run": {"image": "busybox", "command": ["true"], "env": {"LONG": "` + strings.Repeat("x", 130<<10) + `"}}}`}, nil, unacceptable(`/run/env: .*the limit is 128 with 32768 bytes`)},
		{"port of another job", nil, run([]string{"-p", jobPort + ":80"}, "sleep", "60"), mistake(jobs.KindPortConflict, `host address 127\.0\.0\.1:`+jobPort+` is taken`)},

		{"network that there is none of", nil, with("--network", "nosuch"), unacceptable(`nosuch`)},
		{"tmpfs on /proc", nil, with("--tmpfs", "/proc:size=1m"), unacceptable(`/proc`)},
		{"name of a variable that can be none", nil, with("-e", "=x"), unacceptable(`"=x"; want KEY=VALUE`)},
		{"hostname, which no job has", nil, with("--hostname", "x"), unacceptable(`--hostname`)},
		{"name of an image that is too long", image("FROM busybox\n"), []string{"-t", strings.Repeat("x", 300) + ":1"}, unacceptable(`--tag`)},

		{"exit code 7", nil, run(nil, "sh", "-c", "exit 7"), mistake(jobs.KindExitNonzero, `exit code 7`)},
		{"write to a read-only root", nil, run([]string{"--read-only"}, "sh", "-c", "echo >/x"), mistake(jobs.KindExitNonzero, `exit code 1`)},
		{"no more processes than the limit", nil, run([]string{"--pids-limit", "3"}, "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait; exit 9"), mistake(jobs.KindExitNonzero, `exit code`)},
		{"memory over the limit", nil, run([]string{"-m", "32m"}, "sh", "-c", "(x=aaaa; while :; do x=$x$x; done); code=$?; sleep 0.5; exit $code"), mistake(jobs.KindOOM, `its memory limit of 32MiB`)},
		{"disk over the limit", nil, run([]string{"--disk", "2m", "--stop-timeout", "1"}, "sh", "-c", "head -c 4000000 /dev/zero >/a; sleep 60"), mistake(jobs.KindDiskLimit, `wrote 3\.8 MiB to the host's disk, more than its limit of 2MiB.*run\.limits\.disk`)},
		{"less disk than the engine itself writes", nil, with("--disk", "1k"), unacceptable(`found 1KiB; the minimum is 1MiB`)},
		{"run timeout", nil, run([]string{"--timeout", "2s", "--stop-timeout", "1"}, "sleep", "60"), ranOut(jobs.KindTimeout, `the run took longer than 2s`)},
		{"silent run", nil, run([]string{"--idle-timeout", "1s", "--stop-timeout", "1"}, "sleep", "60"), ranOut(jobs.KindIdleTimeout, `the run printed nothing for 1s`)},
		{"service that ends", nil, run([]string{"--keep", "1m", "-p", "80"}, "sh", "-c", "exit 4"), mistake(jobs.KindNotReady, `exit code 4 before it was ready`)},
		{"service that does not listen", nil, run([]string{"--keep", "1m", "-p", "80", "--ready-timeout", "2s", "--stop-timeout", "1"}, "sleep", "60"), mistake(jobs.KindNotReady, `nothing accepts connections`)},
		{"output that there is none of", nil, run([]string{"--output-path", "/no/such"}, "true"), mistake(jobs.KindOutputMissing, `/no/such`)},
		{"output on a tmpfs", nil, run([]string{"--tmpfs", "/t:size=1m", "--output-path", "/t/x"}, "touch", "/t/x"), unacceptable(`/t/x cannot be collected: it is on the tmpfs /t`)},
	}
}

// buildCauses are mistakes in a Dockerfile, a context or what a build needs.
// root has archives.
func buildCauses(root string, engine int) []cause {
	tar := func(name string) string { return "file://" + root + "/" + name + ".tar" }
	dockerfile := func(text string) map[string]string { return map[string]string{"Dockerfile": text} }
	zeros := "sha256:" + strings.Repeat("0", 64)
	all := []cause{
		{"RUN fails", dockerfile("FROM busybox\nRUN exit 3\n"), nil, mistake(jobs.KindBuildFailed, `step "RUN exit 3" ended with exit code 3`)},
		{"RUN is killed", dockerfile("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n"), nil, mistake(jobs.KindBuildFailed, `ended with exit code 137`)},
		{"RUN of what is not there", dockerfile("FROM busybox\nRUN no-such-program\n"), nil, mistake(jobs.KindBuildFailed, `ended with exit code 127`)},
		{"RUN without a shell", dockerfile("FROM scratch\nRUN true\n"), nil, mistake(jobs.KindBuildFailed, `step "RUN true"`)},
		{"RUN as an unknown user", dockerfile("FROM busybox\nUSER nosuchuser\nRUN true\n"), nil, mistake(jobs.KindBuildFailed, `unable to find user nosuchuser`)},
		{"RUN in a directory that is a file", dockerfile("FROM busybox\nWORKDIR /etc/passwd\nRUN true\n"), nil, mistake(jobs.KindBuildFailed, `step "WORKDIR /etc/passwd" failed: .*not a directory`)},
		{"COPY of nothing", dockerfile("FROM busybox\nCOPY nothing /\n"), nil, mistake(jobs.KindBuildFailed, `/nothing"?:? not found`)},
		{"COPY from a stage that there is none of", dockerfile("FROM busybox\nCOPY --from=9 /a /\n"), nil, refusal(jobs.KindDockerfileInvalid, `Dockerfile: invalid stage index 9`)},
		{"target that there is none of", dockerfile("FROM busybox\n"), []string{"--target", "nosuch"}, unacceptable(`it has no stage "nosuch"`)},
		{"Dockerfile of an unknown instruction", dockerfile("FROM busybox\nRUNN true\n"), nil, unacceptable(`Dockerfile line 2: unknown instruction: RUNN`)},
		{"build timeout", dockerfile("FROM busybox\nRUN echo $(date) >/t; sleep 60\n"), []string{"--build-timeout", "2s"}, ranOut(jobs.KindTimeout, `the build took longer than 2s`)},
		{"silent build", dockerfile("FROM busybox\nRUN echo it begins; sleep 61\n"), []string{"--idle-timeout", "1s"}, ranOut(jobs.KindIdleTimeout, `the build printed nothing for 1s`)},
		{"secret that the worker lacks", dockerfile("FROM busybox\nRUN --mount=type=secret,id=token true\n"), []string{"--secret", "id=token"}, refusal(jobs.KindSecretNotFound, `"token"`)},
		{"secret that the job does not name", dockerfile("FROM busybox\nRUN --mount=type=secret,id=token,required true\n"), nil, mistake(jobs.KindBuildFailed, `wants secret "?token"?, which the job does not name`)},
		{"context that is not in the store", nil, []string{"cas:" + zeros}, refusal(jobs.KindContextNotFound, zeros)},
		{"context outside of what is open", nil, []string{"file:///etc/passwd"}, refusal(jobs.KindFileOutsideRoots, `"/etc/passwd" is outside the folders`)},
		{"context that is no file", nil, []string{tar("folder")}, refusal(jobs.KindFileNotRegular, `folder\.tar`)},
		{"context of another digest", nil, []string{"--digest", zeros, tar("good")}, refusal(jobs.KindContextDigest, zeros)},
		{"context that is no archive", nil, []string{tar("text")}, refusal(jobs.KindContextNotTar, `it starts with "FROM busybox`)},
		{"context that ends too early", nil, []string{tar("cut")}, refusal(jobs.KindContextTruncated, `truncated at byte 3000`)},
		{"archive without a Dockerfile", nil, []string{tar("bare")}, refusal(jobs.KindDockerfileMissing, `there is no "Dockerfile" in the context`)},
		{"unknown instruction in an archive", nil, []string{tar("syntax")}, refusal(jobs.KindDockerfileInvalid, `Dockerfile line 2: unknown instruction: RUNN`)},
		{"target that an archive has none of", nil, []string{"--target", "nosuch", tar("good")}, refusal(jobs.KindDockerfileInvalid, `"nosuch"`)},
		{
			"queue timeout", nil,
			[]string{"--image", "busybox", "--queue", "nobody", "--queue-timeout", "1s", "--", "true"},
			verdict{state: jobs.Expired, kind: jobs.KindQueueTimeout, fault: jobs.UserFault, tries: 1, exit: jobs.ExitTimeout, says: `no worker took the job`},
		},
	}
	if engine >= 29 { // others do not bound the steps of a build
		all = append(all, cause{"RUN over its memory limit", dockerfile("FROM busybox\nRUN x=aaaa; while :; do x=$x$x; done\n"), nil, mistake(jobs.KindBuildFailed, `ended with exit code 137`)})
	}
	return all
}
