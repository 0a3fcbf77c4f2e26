package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Size is an amount of bytes such as 512MiB.
type Size int64

// UnmarshalYAML implements the interface of the YAML library.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	v, err := jobs.ParseBytes(scalar(n))
	*s = Size(v)
	return at(n, err)
}

// MarshalYAML implements the interface of the YAML library.
func (s Size) MarshalYAML() ([]byte, error) { return []byte(jobs.Bytes(s).String()), nil }

// Duration is a time such as 30s.
type Duration time.Duration

// UnmarshalYAML implements the interface of the YAML library.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	v, err := time.ParseDuration(scalar(n))
	if err != nil {
		return at(n, fmt.Errorf("%q is not a duration; write it as 30s or 10m", scalar(n)))
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML implements the interface of the YAML library.
func (d Duration) MarshalYAML() ([]byte, error) { return []byte(jobs.Duration(d).String()), nil }

// Count is a whole number in decimal digits: in YAML 010 would be 8.
type Count int64

// UnmarshalYAML implements the interface of the YAML library.
func (c *Count) UnmarshalYAML(n ast.Node) error {
	text := scalar(n)
	v, err := strconv.ParseInt(text, 10, 32)
	if err != nil || len(text) > 1 && text[0] == '0' {
		return at(n, fmt.Errorf("%q is not a whole number below 2^31", text))
	}
	*c = Count(v)
	return nil
}

// Bound is a highest value, -1 for none.
type Bound int64

// UnmarshalYAML implements the interface of the YAML library.
func (b *Bound) UnmarshalYAML(n ast.Node) error {
	text := scalar(n)
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < jobs.Unlimited || len(text) > 1 && text[0] == '0' {
		return at(n, fmt.Errorf("%q is no limit; want a whole number, or -1 for none", text))
	}
	*b = Bound(v)
	return nil
}

// String is the bound as people read it.
func (b Bound) String() string {
	if b == jobs.Unlimited {
		return "no limit"
	}
	return strconv.FormatInt(int64(b), 10)
}

func scalar(n ast.Node) string { return strings.Trim(strings.TrimSpace(n.String()), `"'`) }

// at says in which line an error is, and at which key.
func at(n ast.Node, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("[%d:%d] %s: %w", n.GetToken().Position.Line, n.GetToken().Position.Column, strings.TrimPrefix(n.GetPath(), "$."), err)
}

var (
	placePattern = regexp.MustCompile(`^\[(\d+):(\d+)\] `)
	typePattern  = regexp.MustCompile(`cannot unmarshal (\S+|\[\]\S+ \{\}) into Go (?:struct field \S+|value) of type (\S+)`)
)

// oneLine is the library's error with the line in words, and without the excerpt
// of the file that follows.
func oneLine(err error) string {
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	text = placePattern.ReplaceAllString(strings.TrimSpace(text), "line $1:$2: ")
	if found := typePattern.FindStringSubmatchIndex(text); found != nil {
		text = text[:found[0]] + "found " + kind(text[found[2]:found[3]]) + " where " + kind(text[found[4]:found[5]]) + " is wanted" + text[found[1]:]
	}
	if strings.Contains(text, "'\t'") {
		text += "; indent with spaces, not with tabs"
	}
	var there yaml.Error
	if errors.As(err, &there) && aliasBefore(there.GetToken()) {
		text += "; put a * in quotes, without them it is an alias"
	}
	return text
}

// aliasBefore reports whether the line has an alias up to a token: where that cannot be
// read, a pattern was meant.
func aliasBefore(t *token.Token) bool {
	for at := t; at != nil && at.Position.Line == t.Position.Line; at = at.Prev {
		if at.Type == token.AliasType {
			return true
		}
	}
	return false
}

// kind is a type of Go in words of YAML.
func kind(t string) string {
	switch {
	case t == "bool":
		return "true or false"
	case t == "string":
		return "a text"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"), strings.HasPrefix(t, "float"):
		return "a number"
	}
	return "a group of settings"
}
