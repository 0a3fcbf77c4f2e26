package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
)

func diskDocker(_ context.Context, e *exam) Finding {
	root := e.daemon.DataRoot
	// Of a daemon on another host, a directory of that name here is another.
	info, err := os.Stat(root)
	if err != nil || !info.IsDir() || !strings.HasPrefix(e.daemon.Address, "unix://") {
		return warn("look at it on the daemon's host (df)", "the data root %s is not visible from here, so its room cannot be checked", root)
	}
	return disk(root, "remove images and build cache that are not needed (docker system prune), or enlarge the disk")
}

func diskState(_ context.Context, e *exam) Finding {
	return disk(e.StateDir, "logs and contexts on their way need room there: enlarge the disk, or move it with --state")
}

func diskStore(ctx context.Context, e *exam) Finding {
	if !filepath.IsAbs(e.StorePath) {
		return Finding{} // a bucket has no disk
	}
	return answering(ctx, e.StorePath, func(context.Context) Finding {
		return disk(e.StorePath, "keep jobs for a shorter time (--retention-age, then worker gc), or enlarge the disk")
	})
}

// disk judges the file system of a path, or where the path would be made.
func disk(path, advice string) Finding {
	room, err := diskroom.At(existing(path))
	if err != nil {
		return broken(err, "make sure that it is mounted")
	}
	return judge(room, path, advice)
}

func judge(r diskroom.Room, path, advice string) Finding {
	text := path + ": " + r.String()
	switch {
	case r.Short(1):
		return fail(advice, "%s", text)
	case r.Short(2):
		return warn(advice, "%s", text)
	}
	return ok("%s", text)
}

// existing is the innermost directory on the way to path that is there.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// bound is a size where 0 means that there is none.
func bound(n int64) string {
	if n == 0 {
		return "without bound"
	}
	return diskroom.Bytes(n)
}

// brief is a duration with one digit after the point.
func brief(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}
