package contexts

import (
	"archive/tar"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// finding counts entries that are taken with a word to say about them.
type finding struct {
	n     int
	first string
}

func (f *finding) add(name string) {
	if f.n == 0 {
		f.first = name
	}
	f.n++
}

// refuse says what is wrong with the entry of h.
func (i *Inspector) refuse(k jobs.Kind, h *tar.Header, hint, format string, args ...any) *jobs.Failure {
	return jobs.Fail(k, nil, hint, "entry %d %q "+format, append([]any{i.n, jobs.Clip(h.Name)}, args...)...)
}

// clean is the header that the entry goes on with: without what gives rights
// (setuid, setgid, sticky, file capabilities and other extended attributes but
// those of users) and without what a build has no use for (names of owners, device
// numbers, times of access).
func (i *Inspector) clean(h *tar.Header, name string) *tar.Header {
	if h.Typeflag == tar.TypeDir {
		name += "/"
	}
	c := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode & 0o7777,
		Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime,
	}
	if c.Typeflag != tar.TypeReg {
		c.Size = 0 // whatever the header says, nothing follows it
	}
	if c.Mode&0o7000 != 0 && !i.limits.SetID {
		i.setIDs.add(name)
		c.Mode &= 0o777
	}
	if i.anonymous {
		c.Uid, c.Gid = 0, 0
	}
	if h.ModTime.Nanosecond() != 0 {
		c.Format = tar.FormatPAX
	}
	const xattr = "SCHILY.xattr."
	for k, v := range h.PAXRecords {
		switch {
		case strings.HasPrefix(k, xattr+"user."):
			if c.PAXRecords == nil {
				c.PAXRecords = map[string]string{}
			}
			c.PAXRecords[k] = v
		case strings.HasPrefix(k, xattr):
			i.xattrs.add(name)
		}
	}
	return c
}
