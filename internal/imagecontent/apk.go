package imagecontent

import (
	"bytes"
	"errors"
	"fmt"
)

// readInstalled lists what is in apk's database: paragraphs of lines "P:name", of which
// each is an installed package with its files. A letter begins every line; there are no
// values of several lines.
func readInstalled(text []byte) ([]Package, error) {
	var list []Package
	p, first := Package{Kind: Apk}, 0 // line that the paragraph began with; 0 outside
	end := func(line int) error {
		if first == 0 {
			return nil
		}
		if p.Name == "" || p.Version == "" {
			return fmt.Errorf("lines %d to %d: %w", first, line, errors.New("a package without a name or a version"))
		}
		list = append(list, p)
		p, first = Package{Kind: Apk}, 0
		return nil
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if err := end(n); err != nil {
				return nil, err
			}
			continue
		}
		if len(line) < 2 || line[1] != ':' {
			return nil, fmt.Errorf("line %d: is no field: %.40q", n, line)
		}
		if first == 0 {
			first = n
		}
		switch value := string(line[2:]); line[0] {
		case 'P':
			p.Name = value
		case 'V':
			p.Version = value
		case 'A':
			p.Arch = value
		}
	}
	if err := end(n); err != nil {
		return nil, err
	}
	return list, nil
}
