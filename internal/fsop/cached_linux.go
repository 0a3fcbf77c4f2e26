package fsop

import (
	"errors"

	"golang.org/x/sys/unix"
)

// readCached reads what the kernel has in memory already, which cannot hang. ok is
// false for what it has not, known for a file system that cannot tell: NFS and FUSE
// among them.
func readCached(fd uintptr, p []byte, at int64) (n int, ok, known bool) {
	n, err := unix.Preadv2(int(fd), [][]byte{p}, at, unix.RWF_NOWAIT)
	switch {
	case err == nil:
		return n, true, true
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, false, true
	}
	return 0, false, false
}
