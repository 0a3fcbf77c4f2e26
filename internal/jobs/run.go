package jobs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxKeep is the longest time that a service can be kept.
const MaxKeep = 7 * 24 * time.Hour

const (
	maxArgBytes = 128 << 10
	maxUserID   = 1<<31 - 1
)

var userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$`)

// Run asks for a container of the built image, or of Image.
type Run struct {
	// Image to run when nothing is built.
	Image      string            `json:"image,omitempty"`
	Command    []string          `json:"command,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Workdir    string            `json:"workdir,omitempty"`
	User       string            `json:"user,omitempty"`
	// Network is "none" or "bridge"; none unless ports are asked for.
	Network  string `json:"network,omitempty"`
	Ports    []Port `json:"ports,omitempty"`
	Limits   Limits `json:"limits,omitzero"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// Tmpfs maps a path in the container to a size.
	Tmpfs map[string]Bytes `json:"tmpfs,omitempty"`
	// Secrets of the worker are files in [SecretsDir], each under its ID.
	Secrets []Secret `json:"secrets,omitempty"`
	Init    bool     `json:"init,omitempty"`
	// StopGrace is how long a container may take to end after SIGTERM.
	StopGrace Duration `json:"stop_grace,omitempty"`
	Ready     *Ready   `json:"ready,omitempty"`
	// Keep turns the run into a service: the job succeeds when Ready holds and
	// the container stays up this long afterwards.
	Keep Duration `json:"keep,omitempty"`
	// Outputs are absolute paths collected from the stopped container.
	Outputs []string `json:"outputs,omitempty"`
	// OutputsOn is "always" (default) or "success": whether the outputs of a run that
	// failed are collected, too.
	OutputsOn string `json:"outputs_on,omitempty"`
}

func (r Run) normal() Run {
	if r.Network == "" {
		r.Network = "none"
		if len(r.Ports) > 0 {
			r.Network = "bridge"
		}
	}
	if r.OutputsOn == OutputsAlways {
		r.OutputsOn = ""
	}
	return r
}

func (p *problems) run(r Run, built bool) {
	switch {
	case built && r.Image != "":
		p.add("run_image_conflict", "/run/image", "the built image is run; leave image out, or leave build out")
	case !built && r.Image == "":
		p.add("run_image_missing", "/run/image", "nothing is built, so an image is needed")
	case !built:
		p.image("/run/image", r.Image)
		if name, _, _ := strings.Cut(r.Image, ":"); name == "scratch" {
			p.add("image_ref_invalid", "/run/image", "scratch is the empty image that builds start from; it cannot be run")
		}
	}
	p.argv("/run/command", r.Command)
	p.argv("/run/entrypoint", r.Entrypoint)
	p.program(r)
	p.vars("/run/env", "env", r.Env)
	p.abspath("/run/workdir", r.Workdir)
	p.user(r.User)
	p.limits(r.Limits)
	p.ports(r)
	p.tmpfs(r)
	p.secretFiles(r.Secrets)
	p.duration("stop_grace_invalid", "/run/stop_grace", r.StopGrace, 10*time.Minute)
	p.duration("keep_invalid", "/run/keep", r.Keep, MaxKeep)
	p.ready(r)
	p.outputs(r)
}

func (p *problems) argv(ptr string, argv []string) {
	total := 0
	for i, a := range argv {
		total += len(a) + 1
		if strings.ContainsRune(a, 0) {
			p.add("command_invalid", fmt.Sprintf("%s/%d", ptr, i), "the argument has a NUL byte")
		}
	}
	if total > maxArgBytes {
		p.add("command_too_large", ptr, "%d bytes; the limit is %d", total, maxArgBytes)
	}
}

// program checks that there is something to run, as far as the document tells. An
// entrypoint of one empty text takes away that of the image, and its command too.
func (p *problems) program(r Run) {
	switch {
	case len(r.Entrypoint) == 0 || r.Entrypoint[0] != "":
	case len(r.Entrypoint) > 1:
		p.add("command_invalid", "/run/entrypoint/0", "the program's name is empty")
	case len(r.Command) == 0:
		p.add("command_missing", "/run/command", "an empty entrypoint takes away the image's command, too: give a command")
	case r.Command[0] == "":
		p.add("command_invalid", "/run/command/0", "the program's name is empty")
	}
}

func (p *problems) user(v string) {
	p.match(userPattern, "user_invalid", "/run/user", v, "user or user:group, names or numbers")
	for part := range strings.SplitSeq(v, ":") {
		if digits := strings.TrimLeft(part, "0"); strings.Trim(digits, "0123456789") == "" && (len(digits) > 10 || number(digits) > maxUserID) {
			p.add("user_invalid", "/run/user", "found %q; numbers of users and groups go from 0 to %d", Clip(v), maxUserID)
			return
		}
	}
}

// number is the value of at most ten digits, 0 for none.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // ten digits always fit
	return n
}
