package imagecontent

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// readStatus lists what is installed by dpkg's status file: paragraphs of fields, as
// deb-control(5) has them. A package whose files were removed stays in it, with its
// configuration.
func readStatus(text []byte) ([]Package, error) { return readParagraphs(text, "") }

// readControl lists the package of a file of status.d, which mostly has no status: it
// is there because the package is.
func readControl(text []byte) ([]Package, error) {
	return readParagraphs(text, "install ok installed")
}

// readParagraphs lists the installed packages; status is that of one that has none.
func readParagraphs(text []byte, status string) ([]Package, error) {
	var list []Package
	fields := map[string]string{}
	first := 1 // line of the paragraph
	end := func(line int) error {
		p, ok, err := paragraph(fields, status)
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w", first, line, err)
		}
		if ok {
			list = append(list, p)
		}
		clear(fields)
		return nil
	}
	n, name := 0, ""
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			if err := end(n); err != nil {
				return nil, err
			}
			first, name = n+1, ""
		case line[0] == ' ' || line[0] == '\t': // of a value of several lines
			if name == "" {
				return nil, fmt.Errorf("line %d: goes on with a field, and there is none", n)
			}
		default:
			key, value, ok := bytes.Cut(line, []byte(":"))
			if !ok || len(key) == 0 || bytes.ContainsAny(key, " \t\x00") {
				return nil, fmt.Errorf("line %d: is no field: %.40q", n, line)
			}
			name = strings.ToLower(string(key))
			switch name {
			case "package", "version", "architecture", "status":
				if _, ok := fields[name]; ok {
					return nil, fmt.Errorf("line %d: the field %s is there twice", n, key)
				}
				fields[name] = string(bytes.TrimSpace(value))
			default:
				fields[""] = "" // the paragraph has something
			}
		}
	}
	if err := end(n); err != nil {
		return nil, err
	}
	return list, nil
}

// paragraph is the package of a paragraph; ok is false when it is not installed.
func paragraph(fields map[string]string, status string) (p Package, ok bool, err error) {
	if len(fields) == 0 {
		return Package{}, false, nil
	}
	p = Package{Name: fields["package"], Version: fields["version"], Arch: fields["architecture"], Kind: Deb}
	if p.Name == "" {
		return Package{}, false, errors.New("a package without a name")
	}
	if s, ok := fields["status"]; ok {
		status = s
	}
	// What is wanted, whether there was an error, and what is: dpkg(1). A package that
	// waits for triggers has all its files and is configured.
	words := strings.Fields(status)
	if status != "" && len(words) != 3 {
		return Package{}, false, fmt.Errorf("package %s has the status %.40q", p.Name, status)
	}
	if status == "" {
		return Package{}, false, nil
	}
	switch words[2] {
	case "installed", "triggers-pending", "triggers-awaited":
	default:
		return Package{}, false, nil
	}
	if p.Version == "" {
		return Package{}, false, fmt.Errorf("package %s has no version", p.Name)
	}
	return p, true, nil
}
