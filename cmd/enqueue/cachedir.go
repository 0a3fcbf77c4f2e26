package main

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// cacheDir is where packed directories are remembered, "" for nowhere. What the command line
// says comes before the environment.
func (a *app) cacheDir(given string, off bool) (string, error) {
	const variable = "SLIPWAY_NO_CACHE_DIR"
	if v := a.getenv(variable); v != "" && !off && given == "" {
		var err error
		if off, err = strconv.ParseBool(v); err != nil {
			return "", usage("", "%s=%q: want true or false", variable, v)
		}
	}
	dir := cmp.Or(given, a.getenv("SLIPWAY_CACHE_DIR"))
	if off {
		return "", nil
	}
	if user := userCacheDir(runtime.GOOS, a.getenv); dir == "" && user != "" {
		dir = filepath.Join(user, "slipway")
	}
	return dir, nil
}

// userCacheDir is os.UserCacheDir. It is "" for a user whose home is not there: a service has
// nothing to remember, and no place for it.
func userCacheDir(system string, getenv func(string) string) string {
	switch xdg := getenv("XDG_CACHE_HOME"); {
	case system == "windows":
		return getenv("LocalAppData")
	case system != "darwin" && filepath.IsAbs(xdg):
		return xdg
	}
	home := getenv("HOME")
	if _, err := os.Stat(home); err != nil {
		return ""
	}
	if system == "darwin" {
		return filepath.Join(home, "Library", "Caches")
	}
	return filepath.Join(home, ".cache")
}
