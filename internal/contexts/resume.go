package contexts

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/cachefile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const beginningFormat = "slipway beginning 1\n"

// chunks lists the chunks of a context whose judging may begin at a mark, or leave marks.
func (f *Fetcher) chunks(ctx context.Context, src Source, c jobs.Context, p pass) artifacts.Index {
	in, ok := src.(Chunked)
	if !ok || f.opts.VerdictsDir == "" || p.mismatch != jobs.KindStore || p.of.Dir != "" || c.Size > 0 && c.Size < markEvery {
		return nil
	}
	x, err := in.Chunks(ctx, c)
	if err != nil {
		return nil // the pass that reads the context finds out what is wrong
	}
	return x
}

// resume judges a context that begins like one that was judged before, and reads what follows
// only. What was read before is in the state of its digest; if the whole has the digest that
// it should have, then it began with those bytes. nil when the context has to be read from its
// beginning, for whatever reason.
func (f *Fetcher) resume(ctx context.Context, src Source, c jobs.Context, p pass, name string, chunks artifacts.Index) *Fetched {
	if len(chunks) == 0 || chunks.Stored() > p.limits.Compressed {
		return nil
	}
	file, v, at, err := f.begun(p, name, chunks)
	if err != nil {
		return nil
	}
	defer file.Close()
	like := shared(v.Chunks, chunks)
	n := sort.Search(len(v.Marks), func(i int) bool { return v.Marks[i].At > like })
	if n == 0 {
		return nil
	}
	m := &midway{mark: v.Marks[n-1], time: v.Time, dockerfile: v.Judged.Dockerfile}
	m.entries = bufio.NewReaderSize(io.NewSectionReader(file, at, file.Size()-at), 64<<10)
	got, err := f.goOn(ctx, src, c, p, name, m, v.Marks[:n])
	if err != nil {
		return nil
	}
	return got
}

// begun returns the verdict about the last context that began with the same chunk, and where its
// index begins.
func (f *Fetcher) begun(p pass, name string, chunks artifacts.Index) (file *cachefile.File, v verdict, at int64, err error) {
	note, err := cachefile.Open(f.beginningPath(p, name, chunks), beginningFormat)
	if err != nil {
		return nil, v, 0, err
	}
	defer note.Close()
	digest, err := io.ReadAll(io.NewSectionReader(note, 0, note.Size()))
	if err != nil {
		return nil, v, 0, err
	}
	p.of.Digest = string(digest)
	key := f.verdictKey(p, name)
	if file, err = cachefile.Open(f.verdictPath(key), verdictFormat); err != nil {
		return nil, v, 0, err
	}
	if v, at, err = readVerdict(file); err == nil && v.Key != key {
		err = cachefile.ErrUnusable
	}
	if err != nil {
		file.Close()
		return nil, v, 0, err
	}
	return file, v, at, nil
}

// begins notes a context as the last one with its first chunk, if judging may begin at a mark of
// it.
func (f *Fetcher) begins(got *Fetched, p pass, name string, chunks artifacts.Index) error {
	if len(chunks) == 0 || len(got.marks()) == 0 {
		return nil
	}
	if err := keepFile(f.beginningPath(p, name, chunks), beginningFormat, strings.NewReader(got.Digest)); err != nil {
		return fmt.Errorf("keep how a context begins: %w", err)
	}
	return nil
}

func (f *Fetcher) beginningPath(p pass, name string, chunks artifacts.Index) string {
	p.of.Digest = "that begins with " + chunks[0].Digest
	return f.verdictPath(f.verdictKey(p, name))
}

// shared is how many bytes at the beginning of two contexts are in the same chunks.
func shared(a, b artifacts.Index) (n int64) {
	for i := 0; i < len(a) && i < len(b) && a[i].Blob == b[i].Blob; i++ {
		n += a[i].Size
	}
	return n
}

// goOn judges a context from m on, the last of marks.
func (f *Fetcher) goOn(ctx context.Context, src Source, c jobs.Context, p pass, name string, m *midway, marks []mark) (*Fetched, error) {
	raw, from, err := src.(Chunked).OpenFrom(ctx, c, m.At)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	noted, err := newIndexer(f.opts.TempDir)
	if err != nil {
		return nil, err
	}
	noted.marks = slices.Clip(marks)
	m.skip = m.At - from
	p.find, p.noted, p.midway = newFinder(name), noted, m
	stream, err := readAll(ctx, &source{r: raw}, p)
	if err != nil {
		noted.close()
		return nil, err
	}
	got := &Fetched{Judged: stream.judged(), keep: &keeper{open: func(ctx context.Context) (io.ReadCloser, error) { return src.Open(ctx, c) }}}
	var follow string
	if got.Dockerfile, follow, err = p.find.result(); err == nil && follow != "" {
		err = errMidway
	}
	if err == nil {
		got.tree, got.NoTree, err = noted.index()
	}
	if err == nil && got.tree == nil {
		err = fmt.Errorf("%w: it has %s", errMidway, got.NoTree)
	}
	if err != nil {
		noted.close()
		return nil, err
	}
	p.find, p.noted, p.midway, p.rewrite = nil, nil, nil, true
	got.again = p
	return got, nil
}
