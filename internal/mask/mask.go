// Package mask covers the values of secrets in output, also where a value comes in pieces.
// Each byte of a value becomes a star, so that output keeps its length: a worker that reads
// it on from an offset reads on from the right place.
package mask

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	// minValue is how long a value is at least that is covered; the stars of shorter ones
	// would be all over the output, and tell the value.
	minValue = 4
	// minLine is the same for a line of a value that has several: their short ones, such as
	// a bracket, are not secret.
	minLine = 8
	// maxPiece is how much of a line is looked for at once. What may be the beginning of a
	// piece is held back.
	maxPiece = 1 << 10
)

// Values are what to cover. The zero value covers nothing. It is safe for concurrent use.
type Values struct {
	// byKey has the pieces by their first bytes.
	byKey map[uint32][][]byte
	// maybe has a bit for each key by its hash: most positions of an output are passed over
	// with it.
	maybe *[1 << 16]bool
	// begins are the beginnings of pieces that are shorter than a key.
	begins map[string]bool
	// longest is the length of the longest piece.
	longest int
}

// keyBytes is how many bytes a key has; no piece is shorter.
const keyBytes = minValue

// hash is Knuth's, by multiplication; the upper half is the one that is spread.
func hash(key uint32) uint16 { return uint16((key * 2654435761) >> 16) }

// Of makes Values of secrets: of each its lines, without the white space around them.
func Of(secrets ...[]byte) Values {
	var v Values
	for _, s := range secrets {
		s = bytes.TrimSpace(s)
		least := minValue
		if bytes.ContainsRune(s, '\n') {
			least = minLine
		}
		for line := range bytes.Lines(s) {
			if line = bytes.TrimSpace(line); len(line) >= least {
				v.add(line)
			}
		}
	}
	return v
}

// add adds a line, in pieces.
func (v *Values) add(line []byte) {
	if v.byKey == nil {
		v.byKey, v.maybe, v.begins = map[uint32][][]byte{}, new([1 << 16]bool), map[string]bool{}
	}
	for piece := range slices.Chunk(line, maxPiece) {
		if len(piece) < keyBytes {
			return // the end of a line of thousands of bytes
		}
		piece = bytes.Clone(piece)
		key := binary.LittleEndian.Uint32(piece)
		if slices.ContainsFunc(v.byKey[key], func(other []byte) bool { return bytes.Equal(other, piece) }) {
			continue
		}
		v.byKey[key] = append(v.byKey[key], piece)
		v.maybe[hash(key)] = true
		for n := 1; n < keyBytes; n++ {
			v.begins[string(piece[:n])] = true
		}
		v.longest = max(v.longest, len(piece))
	}
}

// Empty reports whether there is nothing to cover.
func (v Values) Empty() bool { return v.longest == 0 }

// Text covers the values in a whole text.
func (v Values) Text(text string) string {
	shown := []byte(text)
	v.cover(shown, []byte(text))
	return string(shown)
}

// at returns the pieces that have the key of raw, which may be any.
func (v Values) at(raw []byte) [][]byte {
	if len(raw) < keyBytes {
		return nil
	}
	key := binary.LittleEndian.Uint32(raw)
	if !v.maybe[hash(key)] {
		return nil
	}
	return v.byKey[key]
}

// cover puts stars into shown where raw has a piece.
func (v Values) cover(shown, raw []byte) {
	if v.Empty() {
		return
	}
	for i := range raw {
		for _, piece := range v.at(raw[i:]) {
			if bytes.HasPrefix(raw[i:], piece) {
				stars(shown[i : i+len(piece)])
			}
		}
	}
}

func stars(shown []byte) {
	for i := range shown {
		shown[i] = '*'
	}
}

// begun returns where the longest end of raw begins that may be the beginning of a piece.
func (v Values) begun(raw []byte) int {
	for i := max(0, len(raw)-v.longest+1); i < len(raw); i++ {
		end := raw[i:]
		if len(end) < keyBytes && v.begins[string(end)] {
			return i
		}
		for _, piece := range v.at(end) {
			if len(piece) > len(end) && bytes.HasPrefix(piece, end) {
				return i
			}
		}
	}
	return len(raw)
}

// Stream covers the values in an output that comes in pieces. What may be the beginning of
// a value is held back until more comes.
type Stream struct {
	values Values
	// raw is what is held back, shown the same with stars where it is the end of a value.
	raw, shown []byte
}

// Stream begins an output.
func (v Values) Stream() *Stream { return &Stream{values: v} }

// Next takes what has come, and returns what can be shown now. It is the caller's.
func (s *Stream) Next(p []byte) []byte {
	s.raw, s.shown = append(s.raw, p...), append(s.shown, p...)
	s.values.cover(s.shown, s.raw)
	at := s.values.begun(s.raw)
	out := bytes.Clone(s.shown[:at])
	s.raw, s.shown = append(s.raw[:0], s.raw[at:]...), append(s.shown[:0], s.shown[at:]...)
	return out
}

// Rest returns what was held back, at the end of the output. So much of a value that it
// tells a good part of it is covered, too.
func (s *Stream) Rest() []byte {
	out := s.shown
	if len(s.raw) >= minLine {
		stars(out)
	}
	s.raw, s.shown = nil, nil
	return out
}
