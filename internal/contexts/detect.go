package contexts

import (
	"archive/tar"
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// sniffSize is how much of a stream decides what it is: one tar header.
const sniffSize = 512

// format is what the first bytes of a stream say it is.
type format string

const (
	formatTar     format = "tar"
	formatGzip    format = "gzip"
	formatZstd    format = "zstd"
	formatUnknown format = ""
)

// magic is how a format that people send starts.
type magic struct {
	prefix, name string
	// compressed formats hold what may well be a tar.
	compressed bool
}

// magics are the formats that are named in a refusal.
func magics() []magic {
	return []magic{
		{"\x1f\x8b", "gzip data", true},
		{"\x28\xb5\x2f\xfd", "zstd data", true},
		{"\xfd7zXZ\x00", "xz data", true},
		{"BZh", "bzip2 data", true},
		{"\x04\x22\x4d\x18", "lz4 data", true},
		{"LZIP", "lzip data", true},
		{"\x1f\x9d", "compress (.Z) data", true},
		{"\x5d\x00\x00", "lzma data", true},
		{"PK\x03\x04", "a zip file", false},
		{"PK\x05\x06", "an empty zip file", false},
		{"7z\xbc\xaf\x27\x1c", "a 7z file", false},
		{"Rar!\x1a\x07", "a rar file", false},
		{"\x7fELF", "a program", false},
	}
}

// detect tells the format of a stream by its first bytes, at most sniffSize.
func detect(head []byte) format {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return formatGzip
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return formatZstd
	case len(head) >= 4 && head[0]>>4 == 5 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")):
		return formatZstd // a skippable frame; parallel writers start with one
	case isTar(head):
		return formatTar
	}
	return formatUnknown
}

// isTar reports whether head is a tar header or the end of an empty tar.
func isTar(head []byte) bool {
	if len(head) < sniffSize {
		return false
	}
	block := head[:sniffSize]
	if isZero(block) {
		return true
	}
	// What follows the header is missing here, so the only complaint that
	// counts is the one about the header itself.
	_, err := tar.NewReader(bytes.NewReader(block)).Next()
	return !errors.Is(err, tar.ErrHeader)
}

// describe quotes how a stream starts and says what that looks like.
func describe(head []byte) (quoted, like string) {
	quoted = strconv.QuoteToASCII(string(head[:min(len(head), 24)]))
	text := strings.ToLower(string(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")))
	switch {
	case strings.HasPrefix(text, "<!doctype html"), strings.HasPrefix(text, "<html"):
		like = "an HTML page?"
	case strings.HasPrefix(text, "<?xml"):
		like = "an XML document?"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		like = "a JSON document?"
	case strings.HasPrefix(text, "from "), strings.HasPrefix(text, "# syntax"):
		like = "a Dockerfile?"
	}
	return quoted, like
}

// notTar refuses a stream that is no archive the farm takes.
func notTar(head []byte, cause error) *jobs.Failure {
	hint := "send a tar, plain or compressed with gzip or zstd"
	quoted, like := describe(head)
	for _, m := range magics() {
		if !bytes.HasPrefix(head, []byte(m.prefix)) {
			continue
		}
		if m.compressed {
			return jobs.Fail(jobs.KindContextCompression, cause, hint+", and compressed once",
				"the context holds %s; taken are tar, gzip and zstd", m.name)
		}
		return jobs.Fail(jobs.KindContextNotTar, cause, hint, "the context is not a tar archive but %s", m.name)
	}
	if like != "" {
		quoted += " (" + like + ")"
	}
	if strings.Contains(like, "HTML") {
		hint = "this is a web page; check the address that it came from, and whether it needs a login"
	}
	return jobs.Fail(jobs.KindContextNotTar, cause, hint, "the context is not a tar archive: it starts with %s", quoted)
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
