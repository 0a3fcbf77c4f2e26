package pack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
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

// What is remembered at most; a file is as old as its last use.
const (
	maxCacheFiles = 100
	maxCacheBytes = 256 << 20
	maxCacheAge   = 30 * 24 * time.Hour
	// abandoned is how old the unfinished file of a program is that has died.
	abandoned = 24 * time.Hour
)

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

// recall returns what came of the last pack, if the tree has not changed since then. wrong is
// what a user has to know of the cache.
func (m *memory) recall(ctx context.Context, dir string, opts Options) (last Uploaded, ok bool, wrong error) {
	if m == nil || !isOwn(filepath.Dir(m.path)) {
		return Uploaded{}, false, nil
	}
	in, err := openCache(m.path, m.key)
	if err != nil {
		return Uploaded{}, false, nil // the next pack replaces it
	}
	defer in.close()
	last, err = compare(ctx, in, dir, opts)
	switch {
	case errors.Is(err, errDeceived):
		m.forget()
		return Uploaded{}, false, err
	case err != nil:
		return Uploaded{}, false, nil
	}
	now := time.Now()
	_ = os.Chtimes(m.path, now, now) // else it is forgotten sooner
	return last, true, nil
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
func (m *memory) keep(n *notes, report Report, stored int64) error {
	if n == nil {
		return nil
	}
	err := n.keep(result{
		Digest: report.Digest, Size: report.Size, Stored: stored, Files: report.Files, Bytes: report.Bytes,
		Dockerfile: fingerprint(report.Dockerfile),
	})
	switch {
	case errors.Is(err, errUnsettled):
		return nil
	case err != nil:
		return err
	}
	tidy(filepath.Dir(m.path), time.Now())
	return nil
}

func (m *memory) forget() { _ = os.Remove(m.path) } // the next pack replaces it

// tidy removes the cache files that are too many, and what is left of unfinished ones.
func tidy(dir string, now time.Time) {
	entries, _ := os.ReadDir(dir) // none when it is gone, too
	var kept []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another program has removed it
		}
		age := now.Sub(info.ModTime())
		if age > maxCacheAge || age > abandoned && filepath.Ext(e.Name()) == atomicfile.Unfinished {
			_ = os.Remove(filepath.Join(dir, e.Name())) // the next one tries again
			continue
		}
		kept = append(kept, info)
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var bytes int64
	for i, info := range kept {
		if bytes += info.Size(); i > 0 && (i >= maxCacheFiles || bytes > maxCacheBytes) {
			_ = os.Remove(filepath.Join(dir, info.Name())) // as above
		}
	}
}

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
