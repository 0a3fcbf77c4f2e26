package diskroom

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// At looks at the file system of path, which does not count files.
func At(path string) (Room, error) {
	var r Room
	name, err := windows.UTF16PtrFromString(path)
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(name, &r.Free, &r.Total, nil)
	}
	if err != nil {
		return Room{}, fmt.Errorf("look at the disk of %s: %w", path, err)
	}
	return r, nil
}
