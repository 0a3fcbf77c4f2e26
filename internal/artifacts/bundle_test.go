package artifacts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

// newFarDepot is a depot behind a server.
func newFarDepot(t *testing.T) (depot, *artifactstest.Far) {
	d := newDepot(t)
	far := &artifactstest.Far{Store: d.store, To: d.blobs}
	d.blobs = artifacts.NewBlobs(far, t.TempDir())
	return d, far
}

func TestChunksGoInBundles(t *testing.T) {
	t.Parallel()
	d, far := newFarDepot(t)
	content := noise(10, large)
	content = append(content, content[:9<<20]...) // chunks that come twice
	first, kept := d.keep(content, "")
	d.check(first, content)
	if int64(len(far.Bundle())) != kept.Sent || kept.Sent < large || kept.Sent > int64(len(content))-4<<20 {
		t.Errorf("%d bytes were sent in a bundle of %d, want each chunk once", kept.Sent, len(far.Bundle()))
	}
	content = slices.Insert(content, large/2, 'x')
	for _, like := range []string{first.Digest, ""} {
		blob, kept := d.keep(content, like)
		d.check(blob, content)
		if kept.Sent > 3*4<<20 || int64(len(far.Bundle())) != kept.Sent {
			t.Errorf("like %q: %d bytes were sent in a bundle of %d, want three chunks at most", like, kept.Sent, len(far.Bundle()))
		}
		content = slices.Insert(content, large/2, 'y')
	}
	if _, kept := d.keep(content[:len(content)/3], ""); kept.Sent == 0 {
		t.Error("what is small was not sent")
	}
}

func TestBundlesThatAreRefused(t *testing.T) {
	t.Parallel()
	d, far := newFarDepot(t)
	blob, _ := d.keep(noise(11, large), "")
	good := far.Bundle()
	lines := bytes.Split(good[:bytes.Index(good, []byte("\n\n"))], []byte("\n"))
	change := func(old, now string) []byte { return bytes.Replace(good, []byte(old), []byte(now), 1) }
	second := string(lines[2])
	mismatch := errors.New("another digest")
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":                     {nil, artifacts.ErrBundle},
		"text":                        {[]byte("hello\n"), artifacts.ErrBundle},
		"an endless line":             {bytes.Repeat([]byte("x"), 1<<20), artifacts.ErrBundle},
		"a head":                      {good[:200], artifacts.ErrBundle},
		"no chunks":                   {[]byte("slipway chunks 1\n\n"), artifacts.ErrBundle},
		"cut off":                     {good[:len(good)-1], artifacts.ErrBundle},
		"cut off after a chunk":       {good[:len(good)/2], artifacts.ErrBundle},
		"more than chunks":            {append(slices.Clone(good), 'x'), artifacts.ErrBundle},
		"a line that is none":         {change(second, "x 1 2"), artifacts.ErrBundle},
		"a chunk of no bytes":         {change(second, strings.Fields(second)[0]+" 0 0"), artifacts.ErrBundle},
		"a chunk that is large":       {change(second, strings.Fields(second)[0]+" 99999999 5"), artifacts.ErrBundle},
		"a negative size":             {change(second, strings.Fields(second)[0]+" -1 5"), artifacts.ErrBundle},
		"a size that is another":      {change(strings.Fields(second)[1], "1000001"), artifacts.ErrTooLarge},
		"damaged data":                {append(slices.Clone(good[:len(good)-5000]), make([]byte, 5000)...), artifacts.ErrBundle},
		"one chunk does not come":     {dropSecond(good, lines), nil},
		"chunks in another order":     {swapped(good, lines), mismatch},
		"a chunk of another's digest": {change(strings.Fields(second)[0], strings.Repeat("0", 64)), mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := artifactstest.NewStore()
			server := artifacts.NewBlobs(store, t.TempDir())
			_, err := server.ReceiveBundle(t.Context(), bytes.NewReader(tt.data), blob.Digest, blob.Size)
			var wrong *artifacts.MismatchError
			var lacking *artifacts.LackingError
			switch {
			case errors.As(err, &wrong) && errors.Is(tt.want, mismatch), errors.As(err, &lacking) && tt.want == nil:
			case tt.want == nil || !errors.Is(err, tt.want):
				t.Errorf("ReceiveBundle = %v, want %v", err, tt.want)
			}
			if has, err := server.Has(t.Context(), blob.Digest); has || err != nil {
				t.Errorf("Has = %t, %v after it was refused", has, err)
			}
		})
	}
}

// dropSecond is a bundle from which the second chunk is left out.
func dropSecond(bundle []byte, lines [][]byte) []byte {
	head := bytes.Index(bundle, []byte("\n\n")) + 2
	first, second := stored(lines[1]), stored(lines[2])
	return slices.Concat(bytes.Replace(bundle[:head], lines[2], bytes.TrimSuffix(lines[2], []byte(" +")), 1),
		bundle[head:head+first], bundle[head+first+second:])
}

func stored(line []byte) int {
	n := 0
	for _, c := range bytes.Fields(line)[2] {
		n = 10*n + int(c-'0')
	}
	return n
}

// swapped is a bundle with its first two chunks in another order.
func swapped(bundle []byte, lines [][]byte) []byte {
	head := bytes.Index(bundle, []byte("\n\n")) + 2
	first, second := stored(lines[1]), stored(lines[2])
	order := slices.Clone(lines)
	order[1], order[2] = order[2], order[1]
	return slices.Concat(bytes.Join(order, []byte("\n")), []byte("\n\n"),
		bundle[head+first:head+first+second], bundle[head:head+first], bundle[head+first+second:])
}

// A bundle can be sent again from its start.
func TestBundlesAreSentAgain(t *testing.T) {
	t.Parallel()
	d, far := newFarDepot(t)
	content := noise(12, large)
	d.blobs = artifacts.NewBlobs(twice{far}, t.TempDir())
	var sent, total int64
	c, err := d.blobs.Cut(t.TempDir(), artifacts.Known{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: int64(len(content))}
	if _, err := d.blobs.Keep(t.Context(), blob, c, func(s, t int64) { sent, total = s, t }); err != nil {
		t.Fatal(err)
	}
	d.check(blob, content)
	if sent != total || total != int64(len(far.Bundle())) {
		t.Errorf("told of %d bytes of %d that were sent", sent, total)
	}
}

// twice reads half of a bundle first.
type twice struct{ *artifactstest.Far }

func (f twice) Assemble(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) error {
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, data, b.Size/2); err != nil {
		return err
	}
	return f.Far.Assemble(ctx, b, data)
}

// What no worker can read must not take the place of what all can: a window of more than 32 MiB.
func TestBundleOfAWideWindow(t *testing.T) {
	t.Parallel()
	content := noise(13, 100_000)
	for window, want := range map[int]bool{1 << 20: true, 64 << 20: false} {
		var data bytes.Buffer
		enc, err := zstd.NewWriter(&data, zstd.WithWindowSize(window))
		if err == nil {
			_, err = enc.Write(content[:50_000])
		}
		if err == nil {
			err = enc.Flush() // or the frame would say how large its content is
		}
		if err == nil {
			_, err = enc.Write(content[50_000:])
		}
		if err := errors.Join(err, enc.Close()); err != nil {
			t.Fatal(err)
		}
		digest := artifactstest.Digest(content)
		head := fmt.Sprintf("slipway chunks 1\n%s %d %d +\n\n", strings.TrimPrefix(digest, "sha256:"), len(content), data.Len())
		d := newDepot(t)
		_, err = d.blobs.ReceiveBundle(t.Context(), io.MultiReader(strings.NewReader(head), &data), digest, 1<<20)
		if (err == nil) != want || !want && !errors.Is(err, artifacts.ErrBundle) {
			t.Errorf("a window of %d bytes: %v, want it taken: %t", window, err, want)
		}
	}
}

// A chunk that is damaged in the store is no fault of those who send a context that has it.
func TestBundleOnADamagedChunk(t *testing.T) {
	t.Parallel()
	d, _ := newFarDepot(t)
	content := noise(14, large)
	d.keep(content, "")
	x := d.indexOf(content)
	chunk := x[len(x)-2].Digest // the change is before it
	d.store.Damage(t, chunk, []byte("damaged"))
	_, _, err := d.tryKeep(append([]byte("changed"), content...), "")
	if own, ok := errors.AsType[*artifacts.StoreError](err); !ok || !strings.Contains(own.Message, strings.TrimPrefix(chunk, "sha256:")) {
		t.Errorf("Keep = %v, want the chunk that is damaged", err)
	}
}

func (d depot) indexOf(content []byte) artifacts.Index {
	x, err := d.blobs.Index(d.Context(), artifactstest.Digest(content))
	if err != nil {
		d.Fatal(err)
	}
	return x
}

// What an index says of sizes is compared with the store's chunks, and a producer does not count
// on it.
func TestSizesOfAnIndex(t *testing.T) {
	t.Parallel()
	d, far := newFarDepot(t)
	content := noise(15, large)
	blob, _ := d.keep(content, "")
	head, _, _ := bytes.Cut(far.Bundle(), []byte("\n\n"))
	lines := strings.Split(strings.ReplaceAll(string(head), " +", ""), "\n")
	shift := func(line string, by int64) string {
		var hexa string
		var size, stored int64
		if _, err := fmt.Sscan(line, &hexa, &size, &stored); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %d %d", hexa, size+by, stored)
	}
	lines[1], lines[2] = shift(lines[1], 1000), shift(lines[2], -1000)
	lies := strings.Join(lines, "\n") + "\n"
	if err := d.store.In(artifacts.Indexes).Delete(t.Context(), blob.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := far.To.ReceiveBundle(t.Context(), strings.NewReader(lies+"\n"), blob.Digest, blob.Size); !errors.Is(err, artifacts.ErrBundle) {
		t.Errorf("ReceiveBundle = %v, want that its sizes are refused", err)
	}
	if _, err := d.store.In(artifacts.Indexes).Put(t.Context(), blob, bytes.NewReader(artifactstest.Packed(t, []byte(lies)))); err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{append([]byte("x"), content...), content[:len(content)-1000], append(slices.Clone(content[:3<<20]), content...)} {
		got, _ := d.keep(part, blob.Digest)
		d.check(got, part)
	}
}
