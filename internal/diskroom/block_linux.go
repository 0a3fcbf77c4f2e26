package diskroom

import "syscall"

// blockSize is the unit of the counts. FUSE has blocks of another size than it
// likes to be read in.
func blockSize(s syscall.Statfs_t) uint64 {
	if s.Frsize > 0 {
		return uint64(s.Frsize)
	}
	return uint64(s.Bsize)
}
