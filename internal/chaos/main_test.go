//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/slipway-farm/slipway/internal/farmtest"
)

// bins is where TestMain put the programs.
var bins string

func TestMain(m *testing.M) {
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	flag.Parse()
	// Most of what the tests do is wait; those that work say how many at once.
	if err := flag.Set("test.parallel", "64"); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "slipway-chaos-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bins = dir
	if err := farmtest.Build(context.Background(), dir, "faults"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
