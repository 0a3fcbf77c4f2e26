package pack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/cachefile"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/fsop"
)

// memory is the cache file of one directory that is packed in one way. A nil one remembers
// nothing.
type memory struct {
	// path is the file, and key what it is about, a [cacheKey].
	path, key string
	trees     []keyTree
}

// bounds are what is remembered at most.
func bounds() cachefile.Bounds {
	return cachefile.Bounds{Files: 100, Bytes: 256 << 20, Age: 30 * 24 * time.Hour}
}

// packsDir is the directory of cache files in that of a program.
const packsDir = "packs"

// cacheKey has the directories, and all options on which the archive depends, or whether
// there may be one.
type cacheKey struct {
	Trees      []keyTree
	Dockerfile string
	Inline     []byte
	Modes      Modes
	KeepGit    bool
	Limits     contexts.Limits
}

// keyTree is a directory, and where it is in the archive.
type keyTree struct{ Dir, Path string }

// remembered finds the cache file in cacheDir, "" for none.
func remembered(cacheDir, dir string, opts Options) *memory {
	if cacheDir == "" {
		return nil
	}
	key := cacheKey{
		Dockerfile: path.Clean(cmp.Or(opts.Dockerfile, contexts.DefaultDockerfile)), Inline: opts.Inline,
		Modes: opts.Modes, KeepGit: opts.KeepGit, Limits: opts.Limits,
	}
	for _, b := range append([]Beside{{Dir: dir}}, opts.Beside...) {
		at, err := realPath(b.Dir)
		if err != nil {
			return nil // packing says why a directory is not there
		}
		key.Trees = append(key.Trees, keyTree{at, b.Path})
	}
	text := fmt.Sprintf("%#v", key) // exact, also of paths that are no text
	sum := sha256.Sum256([]byte(text))
	return &memory{filepath.Join(cacheDir, packsDir, hex.EncodeToString(sum[:])), text, key.Trees}
}

// recall returns what came of the last pack, when the tree has not changed since then; else
// the beginning of it that has not, which has to be closed, nil when nothing is known. wrong is
// what a user has to know of the cache.
func (m *memory) recall(ctx context.Context, dir string, opts Options) (last Uploaded, same *beginning, wrong error) {
	if m == nil || !isOwn(filepath.Dir(m.path)) {
		return Uploaded{}, nil, nil
	}
	in, err := openCache(m.path, m.key)
	if err != nil {
		return Uploaded{}, nil, nil // the next pack replaces it
	}
	last, same, err = compare(ctx, in, dir, opts)
	if errors.Is(err, errDeceived) {
		m.forget()
		in.close()
		return Uploaded{}, nil, err
	}
	if same == nil {
		in.close()
	}
	cachefile.Used(m.path, time.Now())
	return last, same, nil
}

// begin takes notes for the next time.
func (m *memory) begin() (*notes, error) {
	if m == nil {
		return nil, nil
	}
	dir := filepath.Dir(m.path)
	if m.isPacked(dir) {
		return nil, fmt.Errorf("%s is in the directory that is packed", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if !isOwn(dir) {
		return nil, fmt.Errorf("%s is another user's, or others can write to it", dir)
	}
	return takeNotes(m.path, m.key)
}

// keep remembers what was packed, and forgets what has not been used for long.
func (m *memory) keep(n *notes, up Uploaded) error {
	if n == nil {
		return nil
	}
	report := up.Report
	err := n.keep(result{
		Digest: report.Digest, Size: report.Size, Stored: up.Stored, Files: report.Files, Bytes: report.Bytes,
		Dockerfile: fingerprint(report.Dockerfile), Chunks: up.chunks,
	})
	if err != nil {
		return err
	}
	cachefile.Tidy(filepath.Dir(m.path), bounds(), time.Now())
	return nil
}

func (m *memory) forget() { _ = os.Remove(m.path) } // the next pack replaces it

// isPacked reports whether dir is in a directory that is packed, which would change by what is
// written there. dir need not be there.
func (m *memory) isPacked(dir string) bool {
	at, err := realPath(dir)
	for ; err != nil && dir != filepath.Dir(dir); at, err = realPath(dir) {
		dir = filepath.Dir(dir)
	}
	return slices.ContainsFunc(m.trees, func(t keyTree) bool {
		rel, err := filepath.Rel(t.Dir, at)
		return err == nil && filepath.IsLocal(rel)
	})
}

// isOwn reports whether no other user can put a file into a directory: its digest would
// become a context.
func isOwn(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && (runtime.GOOS == "windows" || fsop.IsOwn(info))
}
