package pack

import (
	"io/fs"
	"syscall"
)

// identity is which file it is, and when the system last changed anything of it in
// nanoseconds: a time that programs cannot set. All are zero where they are not to be had.
func identity(info fs.FileInfo) (ctime int64, inode, device uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, 0
	}
	return st.Ctimespec.Nano(), st.Ino, uint64(st.Dev)
}
