package pack

import (
	"os"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Modes is which permission bits a context records.
type Modes string

// The ways to record permission bits.
const (
	// ModesKeep sends them as they are, as docker build does.
	ModesKeep Modes = "keep"
	// ModesGit sends the modes that git knows: 0755 for directories and for
	// files that their owner may execute, 0644 for others. Two clones then have
	// the same digest whatever the umask was.
	ModesGit Modes = "git"
	// ModesAuto is ModesGit inside a checkout of git, and ModesKeep elsewhere.
	ModesAuto Modes = "auto"
)

const gitDir = ".git"

// in decides about the modes of a directory.
func (m Modes) in(dir string) (Modes, error) {
	switch m {
	case ModesKeep, ModesGit:
		return m, nil
	case ModesAuto, "":
	default:
		return "", jobs.Fail(jobs.KindContextInvalid, nil, "", "unknown modes %q: want auto, git or keep", m)
	}
	abs, err := realPath(dir)
	if err != nil {
		return "", unreadable(dir, err)
	}
	for ; ; abs = filepath.Dir(abs) {
		if _, err := os.Lstat(filepath.Join(abs, gitDir)); err == nil {
			return ModesGit, nil
		}
		if abs == filepath.Dir(abs) {
			return ModesKeep, nil
		}
	}
}
