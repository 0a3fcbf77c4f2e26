package contextstest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Entry is one entry of an archive.
type Entry struct {
	tar.Header
	Content string
}

// File is a regular file.
func File(name, content string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

// Dir is a directory.
func Dir(name string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimSuffix(name, "/") + "/", Mode: 0o755}, ""}
}

// Symlink is a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

// Hardlink is a hard link.
func Hardlink(name, target string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

// Special is an entry of any type.
func Special(name string, typ byte) Entry {
	return Entry{tar.Header{Typeflag: typ, Name: name, Mode: 0o644, Devmajor: 1, Devminor: 3}, ""}
}

// Tar makes an archive of entries.
func Tar(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.Content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("write header of %q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Headers are those of a tar, in order.
func Headers(t testing.TB, b []byte) []*tar.Header {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(b))
	var all []*tar.Header
	for {
		hdr, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hdr)
	}
}

// Names are those of the entries of a tar, in order.
func Names(t testing.TB, b []byte) []string {
	t.Helper()
	var all []string
	for _, hdr := range Headers(t, b) {
		all = append(all, hdr.Name)
	}
	return all
}

// Join puts pieces together.
func Join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Gzip compresses.
func Gzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestSpeed) // the tests have other things to wait for
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// Zstd compresses.
func Zstd(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// block is the first header of an archive.
func block(archive []byte) []byte { return archive[:512] }

// retype changes the type of the first entry.
func retype(archive []byte, typ byte) []byte {
	h := block(archive)
	h[156] = typ
	return seal(archive)
}

// seal makes the checksum of the first header right again.
func seal(archive []byte) []byte {
	h := block(archive)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return archive
}

// Bomb is gzip data of about 3 MB that unpacks to a tar of 3 GiB.
func Bomb(t testing.TB) []byte {
	t.Helper()
	const size = 3 << 30
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	header := b.Bytes()
	var z bytes.Buffer
	z.WriteString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff") // of gzip, without a name
	w, err := flate.NewWriter(&z, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	var last []byte
	for i, part := range [][]byte{header, zeros, zeros, zeros} {
		before := z.Len()
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			last = bytes.Clone(z.Bytes()[before:])
		}
	}
	// From here on every block is the same. The checksum at the end is missing:
	// no reader gets there.
	return append(z.Bytes(), bytes.Repeat(last, size/len(zeros)-3)...)
}

// Entries is a tar of so many empty files, as it is read.
func Entries(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(w, 256<<10)
		t := tar.NewWriter(b)
		for i := range n {
			if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%03d/f%07d", i%1000, i), Mode: 0o644}); err != nil {
				return // the reader went away
			}
		}
		_ = w.CloseWithError(errors.Join(t.Close(), b.Flush()))
	}()
	return r
}
