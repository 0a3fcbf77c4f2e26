// Package bake reads what docker buildx bake --print prints, and says of each field of
// each target whether a job of the farm can have it. It touches no file and no network;
// enqueue calls it, and packs and submits what it returns.
package bake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// MaxBytes is the largest file that is read.
const MaxBytes = 16 << 20

// File is a bake file that bake has worked out: no variable, no function, nothing
// inherited is left in it.
type File struct {
	// groups are names of targets and of groups, by the group's name.
	groups  map[string][]string
	targets map[string][]member
}

// member is a key of a JSON object with its value, in the order of the text.
type member struct {
	key   string
	value json.RawMessage
}

const asPrinted = "give what docker buildx bake --print prints"

// Read reads a file. What it does not know of a target is for [File.Target] to say; all
// else that it does not know is an error.
func Read(data []byte) (File, error) {
	f := File{groups: map[string][]string{}, targets: map[string][]member{}}
	if len(data) > MaxBytes {
		return f, fmt.Errorf("it has more than %s", jobs.Bytes(MaxBytes))
	}
	top, err := object(data)
	if err != nil {
		return f, fmt.Errorf("%w; %s", err, asPrinted)
	}
	for _, part := range top {
		switch part.key {
		case "group":
			err = f.readGroups(part.value)
		case "target":
			err = f.readTargets(part.value)
		default:
			err = fmt.Errorf("it has %q, and bake prints group and target; %s", jobs.Clip(part.key), asPrinted)
		}
		if err != nil {
			return f, err
		}
	}
	if len(f.targets) == 0 {
		return f, errors.New("it has no target; " + asPrinted)
	}
	return f, nil
}

func (f File) readGroups(raw json.RawMessage) error {
	groups, err := object(raw)
	if err != nil {
		return fmt.Errorf("group: %w", err)
	}
	for _, g := range groups {
		dec := json.NewDecoder(bytes.NewReader(g.value))
		dec.DisallowUnknownFields()
		var group struct {
			Targets     []string `json:"targets"`
			Description string   `json:"description"`
		}
		if err := dec.Decode(&group); err != nil {
			return fmt.Errorf("group %q: %w", jobs.Clip(g.key), err)
		}
		f.groups[g.key] = group.Targets
	}
	return nil
}

func (f File) readTargets(raw json.RawMessage) error {
	targets, err := object(raw)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	for _, t := range targets {
		if f.targets[t.key], err = object(t.value); err != nil {
			return fmt.Errorf("target %q: %w", jobs.Clip(t.key), err)
		}
	}
	return nil
}

// object reads one JSON object and nothing behind it. encoding/json would take the last
// of two keys with one name, and forget the first.
func object(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	start, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	if start != json.Delim('{') {
		return nil, errors.New("found no JSON object where one should be")
	}
	var all []member
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		m := member{key: fmt.Sprint(key)}
		if seen[m.key] {
			return nil, fmt.Errorf("the key %q stands twice", jobs.Clip(m.key))
		}
		seen[m.key] = true
		if err := dec.Decode(&m.value); err != nil {
			return nil, notJSON(err)
		}
		all = append(all, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the end of the JSON object")
	}
	return all, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not valid JSON: it ends too early")
	}
	return fmt.Errorf("not valid JSON: %w", err)
}

// DefaultGroup is what bake builds when it is given no name.
const DefaultGroup = "default"

// Pick returns the targets that bake builds for some arguments, each once: names of
// targets and groups, and patterns of them; the default group for none. A group counts
// before a target of its name.
func (f File) Pick(args []string) ([]string, error) {
	if len(args) == 0 {
		args = []string{DefaultGroup}
	}
	var picked []string
	for _, arg := range args {
		names, err := f.match(arg)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if picked, err = f.expand(picked, name, walk{}); err != nil {
				return nil, err
			}
		}
	}
	return picked, nil
}

// match returns the names that an argument stands for.
func (f File) match(arg string) ([]string, error) {
	if !strings.ContainsAny(arg, "*?[]") {
		return []string{arg}, nil
	}
	var found []string
	for _, name := range f.names() {
		ok, err := path.Match(arg, name)
		if err != nil {
			return nil, fmt.Errorf("%q is no pattern of names", jobs.Clip(arg))
		}
		if ok {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no target and no group is called like %q", jobs.Clip(arg))
	}
	return found, nil
}

// walk is what [File.expand] has been through: true for a group that it is in.
type walk map[string]bool

// expand adds the targets behind a name that are not picked yet. A group that comes to
// itself means the target of its name there, as in bake.
func (f File) expand(picked []string, name string, been walk) ([]string, error) {
	members, isGroup := f.groups[name]
	inside, done := been[name]
	switch {
	case !isGroup || inside:
		return f.pick(picked, name)
	case done:
		return picked, nil
	}
	been[name] = true
	defer func() { been[name] = false }()
	for _, m := range members {
		var err error
		if picked, err = f.expand(picked, m, been); err != nil {
			return nil, err
		}
	}
	return picked, nil
}

// pick adds one target.
func (f File) pick(picked []string, name string) ([]string, error) {
	if _, ok := f.targets[name]; !ok {
		hint := ""
		if n := jobs.Nearest(name, f.names()); n != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", n)
		}
		return nil, fmt.Errorf("it has no target and no group %q%s", jobs.Clip(name), hint)
	}
	if slices.Contains(picked, name) {
		return picked, nil
	}
	return append(picked, name), nil
}

// names are those of all groups and targets, in order.
func (f File) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(f.groups)), maps.Keys(f.targets))
	slices.Sort(names)
	return slices.Compact(names)
}
