package artifacts

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/restic/chunker"
)

// Content is cut where itself says so: what is inserted or left out somewhere changes the
// chunks around it, and no other. All who store into a farm cut alike, or its chunks would
// not be found again: with these numbers, 2 MiB on the average.
const (
	minChunk   = 1 << 20
	maxChunk   = 4 << 20
	chunkBits  = 20
	polynomial = chunker.Pol(0x3da3358b4dc173)
	// disguise is a byte of which there are no long runs.
	disguise = 0xa7
)

// cutBuffers is how many chunks are in the hands of a Cutter.
const cutBuffers = 2

// Cutter keeps content in a temporary file, cut into chunks that are compressed one by one:
// together they are zstd data of the content. It belongs to one goroutine. The file has no
// name while it is used: nothing is left behind after a crash.
type Cutter struct {
	f    *os.File
	belt *belt
	over bool // nothing is written any more
	// ended is closed when everything that was written is cut; err says what became of it.
	ended chan struct{}
	err   error

	cuts []cut
}

// cut is a chunk, and where it is in the file: nowhere when the store has it.
type cut struct {
	Chunk
	at    int64
	there bool
}

// Cut begins to keep content in dir, "" for the system's directory of temporary files. Of the
// chunks in known no content is kept. first are chunks of known that come first; what is written
// is what follows them.
func (b *Blobs) Cut(dir string, known Known, first ...Chunk) (*Cutter, error) {
	f, err := namelessFile(dir)
	if err != nil {
		return nil, err
	}
	enc, err := b.encoder()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	c := &Cutter{f: f, belt: newBelt(), ended: make(chan struct{})}
	for _, chunk := range first {
		c.cuts = append(c.cuts, cut{Chunk: chunk, there: true})
	}
	go func() {
		defer close(c.ended)
		defer b.encoders.Put(enc)
		c.err = c.cut(enc, known)
		c.belt.refuse(c.err)
	}()
	return c, nil
}

// cut takes the chunks off, and compresses each beside the search for the next.
func (c *Cutter) cut(enc *zstd.Encoder, known Known) error {
	k := &knife{in: c.belt, known: known, next: len(c.cuts), free: make(chan []byte, cutBuffers)}
	for range cutBuffers {
		k.free <- nil // made when it is needed
	}
	found := make(chan piece, cutBuffers)
	packed := make(chan error, 1)
	go func() {
		err := c.keep(enc, found, k.free)
		if err != nil {
			c.belt.refuse(err)
			for p := range found {
				if p.content != nil {
					k.free <- p.content
				}
			}
		}
		packed <- err
	}()
	err := k.all(found)
	close(found)
	if failed := <-packed; failed != nil {
		return failed
	}
	return err
}

// keep writes chunks to the file.
func (c *Cutter) keep(enc *zstd.Encoder, found <-chan piece, free chan<- []byte) error {
	var at int64
	var data []byte
	for p := range found {
		if p.content == nil {
			c.cuts = append(c.cuts, p.cut)
			continue
		}
		if p.Digest == "" {
			p.Digest = digestOf(p.content)
		}
		data = enc.EncodeAll(p.content, data[:0])
		free <- p.content
		p.at, p.Stored = at, int64(len(data))
		at += p.Stored
		c.cuts = append(c.cuts, p.cut)
		if _, err := c.f.Write(data); err != nil {
			return recordingFailure(err)
		}
	}
	return nil
}

// piece is a chunk that was found, with its content unless the store has it. It has no digest yet
// where nothing is known that it could be.
type piece struct {
	cut
	content []byte
}

// knife finds the chunks of a stream.
type knife struct {
	in    io.Reader
	known Known
	// next is the chunk of known that may come now.
	next int
	free chan []byte

	chunker *chunker.Chunker
	mask    []byte // smallSize times disguise
	// buf begins with what is not cut off yet.
	buf []byte
	eof bool
}

func (k *knife) all(found chan<- piece) error {
	k.buf = (<-k.free)[:0]
	for {
		p, err := k.one()
		if err != nil || p.Size == 0 {
			return err
		}
		rest := k.buf[p.Size:]
		if p.there {
			k.buf = k.buf[:copy(k.buf, rest)]
		} else {
			p.content = k.buf[:p.Size]
			k.buf = append((<-k.free)[:0], rest...)
		}
		found <- p
	}
}

// one finds the next chunk, at the beginning of k.buf; the zero piece is none.
func (k *knife) one() (piece, error) {
	if guess, ok := k.known.guess(k.next); ok {
		if err := k.fill(guess.Size); err != nil {
			return piece{}, err
		}
		if int64(len(k.buf)) >= guess.Size && digestOf(k.buf[:guess.Size]) == guess.Digest {
			return k.found(guess.Blob), nil
		}
	}
	if err := k.fill(maxChunk); err != nil || len(k.buf) == 0 {
		return piece{}, err
	}
	if k.chunker == nil {
		k.chunker, k.mask = chunker.New(nil, polynomial), bytes.Repeat([]byte{disguise}, smallSize)
	}
	k.chunker.ResetWithBoundaries(k.seen(), polynomial, minChunk, maxChunk)
	k.chunker.SetAverageBits(chunkBits)
	// It hands on what it has seen. That goes where it was read, which costs no second buffer.
	first, err := k.chunker.Next(k.buf[:0])
	if err != nil {
		return piece{}, fmt.Errorf("find a chunk: %w", err)
	}
	for part := range slices.Chunk(k.buf[:first.Length], smallSize) {
		subtle.XORBytes(part, part, k.mask)
	}
	b := Blob{Size: int64(first.Length)}
	if len(k.known.index) > 0 {
		b.Digest = digestOf(k.buf[:first.Length])
	}
	return k.found(b), nil
}

// seen is k.buf as the chunker sees it. It would cut wherever there are zeros, of which archives
// are full: then boundaries would depend on where the last one was, and on little else.
func (k *knife) seen() io.Reader {
	rest := k.buf
	return readerFunc(func(p []byte) (int, error) {
		if len(rest) == 0 {
			return 0, io.EOF
		}
		n := subtle.XORBytes(p, rest[:min(len(rest), len(p))], k.mask)
		rest = rest[n:]
		return n, nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// found is what comes now. What follows it in known may follow here, too.
func (k *knife) found(b Blob) piece {
	i, known := k.known.find(b.Digest, k.next)
	k.next++
	if !known {
		return piece{cut: cut{Chunk: Chunk{Blob: b}}}
	}
	k.next = i + 1
	// Its size is what was cut here: an index of others may say what it likes.
	return piece{cut: cut{Chunk: Chunk{Blob: b, Stored: k.known.index[i].Stored}, there: k.known.has[b.Digest]}}
}

// fill reads until there are n bytes in k.buf, or all that come.
func (k *knife) fill(n int64) error {
	for !k.eof && int64(len(k.buf)) < n {
		if len(k.buf) == cap(k.buf) {
			larger := make([]byte, len(k.buf), min(max(4*cap(k.buf), smallSize), maxChunk))
			copy(larger, k.buf)
			k.buf = larger
		}
		m, err := k.in.Read(k.buf[len(k.buf):cap(k.buf)])
		k.buf = k.buf[:len(k.buf)+m]
		if k.eof = Ended(err); err != nil && !k.eof {
			return err
		}
	}
	return nil
}

func digestOf(b []byte) string {
	h := sha256.New()
	h.Write(b)
	return DigestOf(h)
}

// Write implements io.Writer; its errors are *jobs.Failure.
func (c *Cutter) Write(p []byte) (int, error) { return c.belt.Write(p) }

// Rewind ends the writing and starts to read zstd data from the beginning: all of the content,
// but for chunks that are known. The returned size is that of the file.
func (c *Cutter) Rewind() (f *os.File, size int64, err error) {
	if err := c.end(true); err != nil {
		return nil, 0, err
	}
	if size, err = c.f.Seek(0, io.SeekEnd); err == nil {
		_, err = c.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, recordingFailure(err)
	}
	return c.f, size, nil
}

// end ends the writing, and waits until all is cut.
func (c *Cutter) end(whole bool) error {
	if !c.over {
		c.over = true
		c.belt.end(whole)
	}
	<-c.ended
	return c.err
}

// Close frees the file.
func (c *Cutter) Close() {
	_ = c.end(false) // what was cut is dropped
	_ = c.f.Close()
}
