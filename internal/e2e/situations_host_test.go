//go:build integration

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// hostSituations are about one host.
func hostSituations() []situation {
	away := []string{"SlipwayDockerAway"}
	none := []string{"SlipwayNoHostTakesJobs", "SlipwayManyHostsUnusable"}
	gone := []string{"SlipwayWorkerDown"}
	return []situation{{
		name:    "the Docker daemon is down",
		prepare: (*incident).spyOnDaemon, breaks: func(s *incident) {
			s.spy.Shut()
			s.t.Cleanup(func() { s.spy.Open(s.t) })
		},
		until:  []string{"slipway_docker_up 0"},
		status: "FAIL", check: "docker", words: "annot connect to the Docker daemon",
		alerts: away, also: none,
	}, {
		name: "the Docker daemon goes away under its jobs",
		prepare: func(s *incident) {
			s.spyOnDaemon()
			s.args = append(s.args, "--slots", "6", "--docker-patience", "6s")
		},
		breaks: func(s *incident) {
			s.sleepers(6)
			s.eventually(time.Minute, "all containers run", func() bool { return len(docker(s.t, s.host, "ps", "-q")) == 6 })
			s.spy.Shut()
			s.t.Cleanup(func() { s.spy.Open(s.t) })
		},
		until:  []string{`slipway_attempts_given_up_total{fault="infra",kind="*",queue="builds"} M`, "slipway_docker_up 0"},
		status: "FAIL", check: "docker", words: "annot connect to the Docker daemon",
		alerts: append(away, "SlipwayAttemptsFail"), also: append(none, "SlipwayFarmTooSmall"),
	}, {
		name: "the Docker daemon hangs",
		breaks: func(s *incident) {
			s.must(syscall.Kill(s.host.Pid(), syscall.SIGSTOP))
			s.t.Cleanup(func() { s.must(syscall.Kill(s.host.Pid(), syscall.SIGCONT)) })
		},
		until:  []string{"slipway_docker_up 0"},
		status: "FAIL", check: "docker", words: "docker does not answer: nothing came within 10s",
		alerts: away, also: none,
	}, {
		name:    "the disk of the daemon is nearly full",
		prepare: (*incident).smallDaemon, breaks: func(s *incident) { fillUpTo(s.t, s.room, 38<<20) },
		until:  []string{"slipway_worker_ready 1", `slipway_disk_free_bytes{directory="docker"} 3*e+07`},
		status: "WARN", check: "disk.docker", words: "free",
		alerts: []string{"SlipwayDiskFillsUp"}, also: []string{"SlipwayInodesRunOut"},
	}, {
		name: "the disk of the state directory is full",
		prepare: func(s *incident) {
			s.must(os.Mkdir(s.state, 0o700))
			mountTmpfs(s.t, s.state, "16m")
		},
		breaks: func(s *incident) { fillUpTo(s.t, s.state, 64<<10) },
		until:  []string{"slipway_worker_ready 0", "slipway_host_fit 0"},
		status: "FAIL", check: "disk.state", words: "free",
		alerts: []string{"SlipwayDiskFillsUp"}, also: append(none, "SlipwayWorkerUnfit"),
	}, {
		name: "the state directory is read-only after a restart",
		prepare: func(s *incident) {
			s.must(os.Mkdir(s.state, 0o700))
			mountTmpfs(s.t, s.state, "16m")
		},
		breaks: func(s *incident) {
			s.fails(func() { s.must(unix.Mount("", s.state, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) })
			s.t.Cleanup(func() { s.must(unix.Mount("", s.state, "", unix.MS_REMOUNT, "")) })
		},
		until:  []string{""},
		status: "FAIL", check: "state", words: "is not writable",
		alerts: gone, also: none,
	}, {
		name:    "the directory of secrets is gone after a restart",
		prepare: (*incident).secretsDir, breaks: func(s *incident) { s.fails(func() { s.must(os.Remove(s.secrets)) }) },
		until:  []string{""},
		status: "FAIL", check: "secrets", words: "no such file or directory",
		alerts: gone, also: none,
	}, {
		name:    "every user may read the secrets",
		prepare: (*incident).secretsDir, breaks: func(s *incident) {
			for dir := s.secrets; dir != os.TempDir(); dir = filepath.Dir(dir) {
				s.must(os.Chmod(dir, 0o755))
			}
		},
		until:  []string{"slipway_worker_ready 1"},
		status: "FAIL", check: "secrets", words: "every user of this host may read them",
		noAlert: notMeasured,
	}, {
		name: "the policy file was broken",
		prepare: func(s *incident) {
			s.args = append(s.args, s.policy(""))
		},
		breaks: func(s *incident) { s.policy("context: {file_rots: []}\n") },
		until:  []string{"slipway_policy_current 0", "slipway_worker_ready 1"},
		status: "FAIL", check: "policy", words: "file_rots",
		alerts: []string{"SlipwayPolicyRejected"},
	}, {
		name: "a state directory was copied",
		breaks: func(s *incident) {
			s.state = filepath.Join(s.dir, "copy")
			s.must(exec.CommandContext(s.t.Context(), "cp", "-a", filepath.Join(s.dir, "incident"), s.state).Run())
		},
		until:  []string{"slipway_worker_ready 1"},
		status: "WARN", check: "state.shared", words: "this state directory was copied from that of process",
		noAlert: "the worker on the copy becomes a new host by itself, and the farm is well",
	}}
}

func (s *incident) spyOnDaemon() {
	s.spy = hosttest.StartSpy(s.t, s.host)
	s.dockerHost = s.spy.DockerHost()
}

// smallDaemon gives the incident a daemon on a small disk.
func (s *incident) smallDaemon() {
	s.room = mountTmpfs(s.t, s.t.TempDir(), "256m")
	s.host = hosttest.StartHost(s.t, "small", "--data-root", filepath.Join(s.room, "data"))
	hosttest.Busybox(s.t, s.host)
	s.dockerHost, s.dial = s.host.DockerHost(), s.host.Dial
}

func (s *incident) secretsDir() {
	s.secrets = filepath.Join(s.dir, "secrets")
	s.must(os.Mkdir(s.secrets, 0o700))
	s.args = append(s.args, "--secrets", s.secrets)
}

// fails ends the worker, breaks something, and starts the worker again, which ends at once.
func (s *incident) fails(breaks func()) {
	s.t.Helper()
	s.worker.stop()
	breaks()
	s.must(s.worker.Launch())
	select {
	case <-s.worker.Ended():
	case <-time.After(time.Minute):
		s.t.Fatal("the worker runs all the same")
	}
}

// jobSituations are about jobs and the farm as a whole.
func jobSituations() []situation {
	return []situation{{
		name:   "the worker died",
		breaks: func(s *incident) { s.worker.Kill() }, until: []string{""},
		noLine: ofTheWorker,
		alerts: []string{"SlipwayWorkerDown"}, also: []string{"SlipwayNoHostTakesJobs"},
	}, {
		name:   "jobs need a label that no host has",
		breaks: func(s *incident) { s.submit("--requires", "gpu=yes", "--image", hosttest.BusyboxTag, "--", "true") },
		until:  []string{`slipway_waiting_jobs{blocker="labels",queue="builds"} 1`},
		noLine: ofTheFarm,
		alerts: []string{"SlipwayJobsForNoHost"},
	}, {
		name:   "jobs pile up",
		breaks: func(s *incident) { s.sleepers(6) }, until: []string{`slipway_waiting_jobs{blocker="slots",queue="builds"} 4`, `slipway_slots{state="busy"} 2`},
		noLine: ofTheFarm,
		alerts: []string{"SlipwayFarmTooSmall"},
	}, {
		name: "jobs take their host down", breaks: (*incident).poison,
		until:  []string{`slipway_jobs_total{fault="infra",kind="poisoned",outcome="failed",queue="builds"} N`, `slipway_attempts_lost_total{host="*",worker="lost"} N`},
		noLine: ofTheFarm,
		alerts: []string{"SlipwayJobPoisoned", "SlipwayHostLosesJobs"}, also: []string{"SlipwayInfraFailures", "SlipwayAttemptsFail"},
	}}
}

// sleepers submits jobs that run until their workers end.
func (s *incident) sleepers(n int, args ...string) (ids []string) {
	s.t.Helper()
	for range n {
		ids = append(ids, s.submit(append(args, "--image", hosttest.BusyboxTag, "--", "sleep", "600")...))
	}
	return ids
}

// allRun waits until the containers of an attempt run.
func (s *incident) allRun(ids []string, attempt int) {
	s.t.Helper()
	s.eventually(time.Minute, "the jobs run", func() bool {
		for _, id := range ids {
			if job := s.job(id); job.State != jobs.Running || job.Attempt != attempt || job.Container.ID == "" {
				return false
			}
		}
		return true
	})
}

// poison has a worker die with its jobs until the farm gives them up.
func (s *incident) poison() {
	s.t.Helper()
	ids := s.sleepers(2, "--requires", "on=lost")
	lost := s.farm.worker(s.host, "lost", "--lease", "10s", "--drain", "1s", "--label", "on=lost")
	for round := 1; round <= 3; round++ {
		s.allRun(ids, round)
		lost.Kill()
		s.eventually(time.Minute, "the jobs are taken from the worker", func() bool { return s.job(ids[0]).State != jobs.Running && s.job(ids[1]).State != jobs.Running })
		if round < 3 {
			lost.start()
		}
	}
}
