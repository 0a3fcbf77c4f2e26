//go:build !unix

package api

import (
	"errors"
	"os"
)

func tryLock(*os.File) (bool, error) {
	return false, errors.New("files cannot be locked on this system")
}
