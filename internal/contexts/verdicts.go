package contexts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/cachefile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// rules is raised when a context that was taken would be judged otherwise, or would have other
// entries.
const rules = 1

const verdictFormat = "slipway verdict 1\n"

// verdictBounds are what is kept of verdicts on a host.
func verdictBounds() cachefile.Bounds {
	return cachefile.Bounds{Files: 1000, Bytes: 512 << 20, Age: 30 * 24 * time.Hour}
}

// verdict is what was found out about a context of the artifact store that is a list of files.
// It is kept on the host in a file: the length of its JSON, that, and the index.
type verdict struct {
	// Key is what was judged, and by which rules.
	Key     string
	Judged  Judged
	From    int64 // as in index
	Entries int
	Files   int
	Bytes   int64
	Time    time.Time
	// Marks are where the judging of a context with the same Chunks at its beginning may begin.
	Marks  []mark          `json:",omitempty"`
	Chunks artifacts.Index `json:",omitempty"`
}

// verdictKey names what is judged and everything on which the verdict depends. "" is of what
// no verdict is kept: only the names of the artifact store stand for one content for good.
func (f *Fetcher) verdictKey(p pass, dockerfile string) string {
	if f.opts.VerdictsDir == "" || p.mismatch != jobs.KindStore {
		return ""
	}
	return fmt.Sprintf("%d %q %+v %s %q %q", rules, f.opts.Program, p.limits.Complete(), p.of.Digest, p.of.Dir, dockerfile)
}

func (f *Fetcher) verdictPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(f.opts.VerdictsDir, hex.EncodeToString(sum[:]))
}

// recall returns a context that was judged before, nil when it was not. It is still there, and
// is read when something of it is needed.
func (f *Fetcher) recall(ctx context.Context, src Source, c jobs.Context, p pass, dockerfile string) (*Fetched, error) {
	key := f.verdictKey(p, dockerfile)
	if key == "" {
		return nil, nil //nolint:nilnil // there is no verdict
	}
	path := f.verdictPath(key)
	file, err := cachefile.Open(path, verdictFormat)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // the next verdict replaces it
	}
	v, at, err := readVerdict(file)
	if err != nil || v.Key != key || c.Size != 0 && c.Size != v.Judged.Size {
		file.Close()
		return nil, nil //nolint:nilnil,nilerr // as above
	}
	open := func(ctx context.Context) (io.ReadCloser, error) { return src.Open(ctx, c) }
	raw, err := open(ctx)
	if err != nil {
		file.Close()
		return nil, fetchFailure(err)
	}
	_ = raw.Close() // nothing was read
	cachefile.Used(path, time.Now())
	p.rewrite = true
	return &Fetched{
		Judged: v.Judged, keep: &keeper{open: open}, again: p,
		tree: &index{data: kept{file, at}, from: v.From, entries: v.Entries, files: v.Files, bytes: v.Bytes, time: v.Time},
	}, nil
}

// readVerdict returns a verdict, and where its index begins.
func readVerdict(file *cachefile.File) (v verdict, at int64, err error) {
	head := make([]byte, binary.MaxVarintLen64)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return v, 0, err
	}
	length, n := binary.Uvarint(head[:n])
	if n <= 0 || length > uint64(file.Size()-int64(n)) {
		return v, 0, cachefile.ErrUnusable
	}
	text := make([]byte, length)
	if _, err := file.ReadAt(text, int64(n)); err != nil {
		return v, 0, err
	}
	return v, int64(n) + int64(length), json.Unmarshal(text, &v)
}

// kept is an index that was kept.
type kept struct {
	file *cachefile.File
	at   int64
}

func (k kept) Reader() (io.Reader, error) {
	return io.NewSectionReader(k.file, k.at, k.file.Size()-k.at), nil
}

func (k kept) Close() { k.file.Close() }

// marks are where the judging of a context may begin that begins like c. What c has warnings about
// is not to be seen in its index.
func (c *Fetched) marks() []mark {
	if c.tree == nil || len(c.Warnings) > 0 {
		return nil
	}
	return c.tree.marks
}

// remember keeps the verdict about a context, which is stored in chunks unless there are none.
func (f *Fetcher) remember(got *Fetched, p pass, dockerfile string, chunks artifacts.Index) error {
	key := f.verdictKey(p, dockerfile)
	if key == "" || got.tree == nil {
		return nil
	}
	x := got.tree
	v := verdict{Key: key, Judged: got.Judged, From: x.from, Entries: x.entries, Files: x.files, Bytes: x.bytes, Time: x.time}
	if v.Marks = got.marks(); len(v.Marks) > 0 {
		v.Chunks = chunks
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the verdict about a context: %w", err)
	}
	index, err := x.data.Reader()
	if err == nil {
		err = os.MkdirAll(f.opts.VerdictsDir, 0o700)
	}
	if err == nil {
		text = append(binary.AppendUvarint(nil, uint64(len(text))), text...)
		err = keepFile(f.verdictPath(key), verdictFormat, io.MultiReader(bytes.NewReader(text), index))
	}
	if err != nil {
		return fmt.Errorf("keep the verdict about a context: %w", err)
	}
	cachefile.Tidy(f.opts.VerdictsDir, verdictBounds(), time.Now())
	return nil
}

// keepFile keeps a file with what r yields.
func keepFile(path, format string, r io.Reader) error {
	w, err := cachefile.Create(path, format)
	if err != nil {
		return err
	}
	defer w.Drop()
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Keep()
}
