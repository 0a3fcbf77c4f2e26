package artifacts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Chunk is a piece of content that is stored by itself.
type Chunk struct {
	Blob
	// Stored is what it takes in the store, in bytes.
	Stored int64
}

// Index lists the chunks of content in their order.
type Index []Chunk

// ErrIndex is in the chain of errors of an index that is none.
var ErrIndex = errors.New("not an index of chunks")

const (
	// indexHead is the first line of an index. Each other line is a chunk: the hex digits of
	// its digest, its size, and what it takes in the store.
	indexHead = "slipway chunks 1\n"
	// maxChunks is more than any content has chunks.
	maxChunks = 1 << 18
	// maxLine is more than a line has bytes.
	maxLine = 128
)

// Size is that of the content, in bytes.
func (x Index) Size() int64 {
	var n int64
	for _, c := range x {
		n += c.Size
	}
	return n
}

// Stored is what the chunks take in the store, in bytes.
func (x Index) Stored() int64 {
	var n int64
	for _, c := range x {
		n += c.Stored
	}
	return n
}

func (x Index) encode() []byte {
	b := bytes.NewBufferString(indexHead)
	for _, c := range x {
		b.WriteString(c.line() + "\n")
	}
	return b.Bytes()
}

func (c Chunk) line() string {
	return fmt.Sprintf("%s %d %d", strings.TrimPrefix(c.Digest, "sha256:"), c.Size, c.Stored)
}

// readIndex reads what encode made. Errors of r are returned as they are.
func readIndex(r io.Reader) (Index, error) {
	in := bufio.NewReader(io.LimitReader(r, maxChunks*maxLine))
	head := make([]byte, len(indexHead))
	if _, err := io.ReadFull(in, head); err != nil && !short(err) {
		return nil, err
	}
	if string(head) != indexHead {
		return nil, fmt.Errorf("%w: it begins with %q", ErrIndex, head)
	}
	var x Index
	for {
		text, err := in.ReadString('\n')
		switch {
		case Ended(err) && text == "" && len(x) > 0:
			return x, nil
		case err != nil && !Ended(err):
			return nil, err
		case len(x) == maxChunks:
			return nil, fmt.Errorf("%w: more than %d chunks", ErrIndex, maxChunks)
		}
		c, ok := parseChunk(strings.TrimSuffix(text, "\n"))
		if !ok {
			return nil, fmt.Errorf("%w: line %d is %q", ErrIndex, len(x)+2, jobs.Clip(text))
		}
		x = append(x, c)
	}
}

func parseChunk(line string) (c Chunk, ok bool) {
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return c, false
	}
	c.Digest = "sha256:" + fields[0]
	var err, errStored error
	c.Size, err = strconv.ParseInt(fields[1], 10, 64)
	c.Stored, errStored = strconv.ParseInt(fields[2], 10, 64)
	return c, err == nil && errStored == nil && jobs.IsDigest(c.Digest) && c.Size > 0 && c.Size <= maxChunk && c.Stored > 0 && c.Stored <= 2*maxChunk
}

func short(err error) bool { return Ended(err) || errors.Is(err, io.ErrUnexpectedEOF) }
