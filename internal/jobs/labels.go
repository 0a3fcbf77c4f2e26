package jobs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxLabels = 32
	// maxImageLabelBytes keeps a build request within the megabyte that the engine
	// reads of one: labels travel in its URL, where a byte can take eight, beside
	// the build arguments. What stands around a label there takes as much as three.
	maxImageLabelBytes  = 64 << 10
	imageLabelSurrounds = 3
	maxImageLabelKey    = 255
	maxLabelBytes       = 256
)

var labelKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,62}[A-Za-z0-9])?$`)

func (p *problems) labels(ptr string, labels map[string]string) {
	if len(labels) > maxLabels {
		p.add("labels_too_many", ptr, "found %d; the limit is %d", len(labels), maxLabels)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		at := ptr + "/" + escape(k)
		if strings.HasPrefix(k, "slipway.") || strings.HasPrefix(k, "com.docker.") {
			p.add("label_reserved", at, "labels that start with slipway. or com.docker. are reserved")
		} else if !labelKeyPattern.MatchString(k) {
			p.add("label_invalid", at, "found key %q; want letters, digits and . _ - /, at most 64", Clip(k))
		}
		if len(labels[k]) > maxLabelBytes || strings.ContainsRune(labels[k], 0) {
			p.add("label_invalid", at, "the value has %d bytes; the limit is %d, without NUL", len(labels[k]), maxLabelBytes)
		}
	}
}

// IsLabel reports whether a job can carry the label. An image can carry more, such
// as a description.
func IsLabel(key, value string) bool {
	var p problems
	p.labels("", map[string]string{key: value})
	return p.err() == nil
}

// imageLabels checks labels of an image, which may be anything that the engine takes.
func (p *problems) imageLabels(ptr string, labels map[string]string) {
	total := 0
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		at := ptr + "/" + escape(k)
		total += len(k) + len(labels[k]) + imageLabelSurrounds
		switch {
		case strings.HasPrefix(k, "slipway.") || strings.HasPrefix(k, "com.docker."):
			p.add("label_reserved", at, "labels that start with slipway. or com.docker. are reserved")
		case k == "" || len(k) > maxImageLabelKey || strings.ContainsFunc(k, notInKey):
			p.add("label_invalid", at, "found key %q; want 1 to %d bytes without spaces, = and control characters", Clip(k), maxImageLabelKey)
		}
		if strings.ContainsRune(labels[k], 0) {
			p.add("label_invalid", at, "the value has a NUL byte")
		}
	}
	if total > maxImageLabelBytes {
		p.add("labels_too_large", ptr, "found %d labels with %d bytes; the limit is %d bytes, with names and %d more for each", len(labels), total, maxImageLabelBytes, imageLabelSurrounds)
	}
}

// notInKey reports whether a character cannot be in the key of an image's label.
func notInKey(r rune) bool {
	return r == '=' || r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r)
}
