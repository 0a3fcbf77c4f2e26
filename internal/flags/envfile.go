package flags

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEnvLine is more than a job document may have.
const maxEnvLine = 2 << 20

// ReadEnv reads a file of docker run --env-file: KEY=VALUE, where the value is all that
// follows, quotes and spaces too; KEY alone, which takes what lookup has, and is left out when
// that is empty; empty lines, and comments that begin with #. An error names the line.
func ReadEnv(r io.Reader, lookup func(string) string) (map[string]string, error) {
	env := map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEnvLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case !utf8.ValidString(line):
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		case key == "":
			return nil, fmt.Errorf("line %d has no name before =", n)
		case strings.ContainsFunc(key, unicode.IsSpace): // the rest may be a secret
			return nil, fmt.Errorf("line %d has a space in the name; want KEY=VALUE", n)
		}
		if !ok {
			if value = lookup(key); value == "" {
				continue
			}
		}
		env[key] = value
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than any job document", n+1)
	case err != nil:
		return nil, fmt.Errorf("after line %d: %w", n, err)
	}
	return env, nil
}
