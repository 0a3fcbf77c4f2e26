//go:build integration

package e2e_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// What docker build makes of a directory the farm makes of it, too, on the same
// daemon: the same files in the same layers under the same config, or no image
// for the same reason.
func TestImagesAsDockerBuildMakesThem(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	const slots = 2
	f.worker(hostA, "one", "--slots", strconv.Itoa(slots))
	if out, err := dockerBuild(t, hostA.DockerHost(), "1", "-t", triggerTag, contextDir(t, map[string]string{"Dockerfile": triggerBase})); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	heredocs := knowsHeredocs(t, hostA)
	contexts := newSubtests(t, slots)
	for i, r := range recipes() {
		contexts.run(r.name, func(t *testing.T) {
			if r.heredoc && heredocs {
				r.fails = ""
			}
			var diff string
			// Docker 20.10 once put the files of a layer into the next one, too. What differs by
			// our doing differs each time.
			for range 2 {
				want, got := f.in(t).buildTwice(hostA, r, fmt.Sprintf("differential-%03d", i))
				if diff = cmp.Diff(want, got, cmpopts.EquateEmpty(), anyTime()); diff == "" {
					return
				}
			}
			t.Errorf("the images differ twice (-docker build +slipway):\n%s", diff)
		})
	}
	contexts.wait()
	docker(t, hostA, "rmi", triggerTag)
	clean(t, hostA, before)
	f.noSpools("one")
}

// Where packing departs from docker build on purpose, that is all that differs.
func TestImagesDifferOnPurpose(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	for _, tt := range []struct {
		recipe
		// change makes of docker build's entry what the farm's has to be; false
		// leaves it out.
		change func(e *entry, all map[string]entry) bool
	}{{
		recipe: recipe{
			name: "setuid, setgid and sticky bits are taken off", files: map[string]string{"uid": "x", "gid": "y", "both": "z", "d/in": "", "plain": ""},
			modes: map[string]fs.FileMode{
				"uid": 0o755 | fs.ModeSetuid, "gid": 0o710 | fs.ModeSetgid, "both": 0o777 | fs.ModeSetuid | fs.ModeSetgid, "d": 0o770 | fs.ModeSticky | fs.ModeSetgid,
			},
		},
		change: func(e *entry, _ map[string]entry) bool {
			e.Mode &^= 0o7000
			return true
		},
	}, {
		recipe: recipe{name: "hard links become files of their own", files: map[string]string{"one": "linked", "dir/": "", "link": "->one"}, more: func(dir string) error {
			return os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "dir", "two"))
		}},
		change: func(e *entry, all map[string]entry) bool {
			if e.Type == "hardlink" {
				name := e.Name
				*e = all[e.Link]
				e.Name = name
			}
			return true
		},
	}, {
		recipe: recipe{name: "sockets are left out", files: map[string]string{"x": ""}, more: func(dir string) error {
			return syscall.Mknod(filepath.Join(dir, "socket"), syscall.S_IFSOCK|0o644, 0)
		}},
		change: func(e *entry, _ map[string]entry) bool { return e.Name != "ctx/socket" },
	}} {
		t.Run(tt.name, func(t *testing.T) {
			want, got := f.in(t).buildTwice(hostA, tt.recipe, "differential-on-purpose")
			for i, layer := range want.Layers {
				all := map[string]entry{}
				for _, e := range layer {
					all[e.Name] = e
				}
				want.Layers[i] = nil
				for _, e := range layer {
					if tt.change(&e, all) {
						want.Layers[i] = append(want.Layers[i], e)
					}
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), anyTime()); diff != "" {
				t.Errorf("the images differ otherwise (-docker build, changed +slipway):\n%s", diff)
			}
		})
	}
	clean(t, hostA, before)
}

// anyTime has a comparison leave out when files were modified.
func anyTime() cmp.Option { return cmpopts.IgnoreFields(entry{}, "Modified") }

// buildTwice builds a directory with docker build and as a job, and returns the
// two images. Where neither is to be, both are empty.
func (f *farm) buildTwice(h *hosttest.Host, r recipe, name string) (byDocker, bySlipway image) {
	f.t.Helper()
	dir := r.write(f.t)
	// Without the cache, or the second build takes the layers of the first.
	args := append([]string{"--no-cache"}, r.args...)
	if r.file != "" {
		args = append(args, "-f", filepath.Join(dir, r.file))
	}
	one, other := name+":docker", name+":slipway"
	out, err := dockerBuild(f.t, h.DockerHost(), "1", slices.Concat(args, []string{"-t", one, dir})...)
	submit := []string{"submit", "-t", other}
	if r.keepGit {
		submit = append(submit, "--keep-git", "--modes", "keep")
	}
	a := f.enqueue(slices.Concat(submit, args, []string{dir})...)
	if r.fails != "" {
		says := regexp.MustCompile(r.fails)
		if err == nil || !says.MatchString(out) {
			f.t.Errorf("docker build: %v, want it to fail and say %q\n%s", err, r.fails, out)
		}
		if a.code != jobs.ExitFailed && a.code != jobs.ExitUsage || !says.MatchString(a.stderr) {
			f.t.Errorf("submit: exit code %d, want it to fail and say %q\n%s", a.code, r.fails, a.stderr)
		}
		return byDocker, bySlipway
	}
	if err != nil || a.code != 0 {
		f.t.Fatalf("docker build: %v\n%s\nsubmit: exit code %d\n%s", err, out, a.code, a.stderr)
	}
	images := readImages(f.t, h, one, other)
	docker(f.t, h, "rmi", one, other)
	return images[one], images[other]
}

// knowsHeredocs tells whether the daemon's own frontend has here-documents.
func knowsHeredocs(t *testing.T, h *hosttest.Host) bool {
	t.Helper()
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY <<EOF /x\nhello\nEOF\n"})
	out, err := dockerBuild(t, h.DockerHost(), "1", dir)
	if err != nil && !regexp.MustCompile(noHeredocs).MatchString(out) {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	return err == nil
}

// dockerBuild runs docker build without a user's settings and returns what it
// printed.
func dockerBuild(t *testing.T, dockerHost, buildkit string, args ...string) (string, error) {
	t.Helper()
	return dockerBuildOf(t, nil, dockerHost, buildkit, args...)
}

// dockerBuildOf is dockerBuild with an archive on stdin.
func dockerBuildOf(t *testing.T, archive []byte, dockerHost, buildkit string, args ...string) (string, error) {
	t.Helper()
	// A newer docker that leaves building to a plug-in may come first in PATH.
	program := "/usr/bin/docker"
	if _, err := os.Stat(program); err != nil {
		program = "docker"
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+dockerHost, "DOCKER_BUILDKIT="+buildkit, "DOCKER_CONFIG="+t.TempDir())
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
