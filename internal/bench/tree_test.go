//go:build integration

package bench_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	// bigFiles of a tree have bigShare of its bytes.
	bigFiles = 8
	bigShare = 0.4
	// dirFiles is how many files a directory has, besides directories.
	dirFiles = 12
)

// tree is a directory like the sources of a program: many directories, most files small, a few
// large, a bit less than half of each noise and the rest text that repeats.
type tree struct {
	dir    string
	bytes  int64
	middle string // a small file in the middle of it
	length int64  // of the middle file
	noise  *rand.ChaCha8
	text   []byte
}

// writeTree makes a tree. The same seed makes the same tree, and two seeds make trees of one
// size that have no content in common.
func writeTree(dir string, seed uint64, files int, bytes int64, dockerfile string) (*tree, error) {
	t := &tree{dir: dir, noise: rand.NewChaCha8(seeded(seed, uint64(files))), text: make([]byte, 32<<10)}
	random := rand.New(t.noise)
	for i := range t.text {
		t.text[i] = "abcdefghijklmnopqrstuvwxyz    \n"[random.IntN(31)]
	}
	sizes := fileSizes(random, files, bytes)
	for i, size := range sizes {
		name := filepath.Join(dir, treeDir(i/dirFiles), fmt.Sprintf("file%05d.go", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		if err := t.write(name, size); err != nil {
			return nil, err
		}
		if t.bytes += size; i == files/2 {
			t.middle, t.length = name, size
		}
	}
	return t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644)
}

// change gives the middle file another content of the same size.
func (t *tree) change() error { return t.write(t.middle, t.length) }

func (t *tree) write(name string, size int64) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.CopyN(out, t, size); err != nil {
		return err
	}
	return out.Close()
}

// Read makes the next bytes of a file: noise and a part of the text, in turn.
func (t *tree) Read(p []byte) (int, error) {
	const part = 4 << 10
	const noisy = part * 9 / 20
	for piece := range slices.Chunk(p, part) {
		n := min(len(piece), noisy)
		_, _ = t.noise.Read(piece[:n])
		at := t.noise.Uint64() % uint64(len(t.text)-part)
		copy(piece[n:], t.text[at:])
	}
	return len(p), nil
}

// fileSizes are the sizes of so many files, which together have so many bytes.
func fileSizes(random *rand.Rand, files int, bytes int64) []int64 {
	const spread = 1.2 // a file in six is more than 3 times as large as the median
	weights, sum := make([]float64, files), 0.0
	isBig := func(i int) bool { return i%(files/bigFiles) == files/bigFiles/2 }
	for i := range weights {
		if !isBig(i) {
			weights[i] = math.Exp(spread * random.NormFloat64())
			sum += weights[i]
		}
	}
	sizes, left := make([]int64, files), bytes
	for i := range sizes {
		if sizes[i] = int64(weights[i] / sum * (1 - bigShare) * float64(bytes)); isBig(i) {
			sizes[i] = int64(bigShare / bigFiles * float64(bytes))
		}
		left -= sizes[i]
	}
	sizes[files-1] += left // what rounding left
	return sizes
}

// treeDir is the path of a directory by its number: the digits, so that they are in one another.
func treeDir(n int) string {
	path := "."
	for _, digit := range strconv.FormatInt(int64(n), 8) {
		path = filepath.Join(path, "dir"+string(digit))
	}
	return path
}

func seeded(a, b uint64) (seed [32]byte) {
	binary.LittleEndian.PutUint64(seed[:], a)
	binary.LittleEndian.PutUint64(seed[8:], b)
	return seed
}
