// Command sbom prints what a Go program is made of, as CycloneDX 1.6 in JSON: the modules
// that were linked into it and the standard library, as the compiler noted them in the
// program itself. So the list is of this very file, whatever go.mod says of tests and tools.
//
//	sbom VERSION PROGRAM
//
// VERSION is the program's own. The time of the list is SOURCE_DATE_EPOCH, and there is no
// serial number: the same program has the same list. scripts/release.sh calls it.
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION PROGRAM")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(version, file, epoch string) error {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: found %q; want seconds since 1970", epoch)
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return write(os.Stdout, describe(info, program, version, time.Unix(seconds, 0)))
}
