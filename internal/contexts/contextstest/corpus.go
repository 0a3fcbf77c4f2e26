package contextstest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Archive is a context as a stranger may send it, and the farm's answer.
type Archive struct {
	Name  string
	Bytes []byte
	// Dockerfile is the path that the job names, "" for the default.
	Dockerfile string
	// Context is what the job announces about it, without a reference.
	Context jobs.Context
	// Kind of the refusal, "" when it is taken.
	Kind jobs.Kind
	// Says is a part of the refusal's message, or of the warning about one that
	// is taken.
	Says string
}

const from = "FROM busybox\n"

// Archives is the corpus of contexts: every way to be wrong that is known, and
// what looks wrong and is taken all the same.
func Archives(t testing.TB) []Archive {
	t.Helper()
	good := Tar(t, File("Dockerfile", from), File("a", "a"), Dir("d"), File("d/b", "b"))
	random := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	big := Tar(t, File("Dockerfile", from), File("random", string(random)))
	all := [][]Archive{
		paths(t), links(t), kinds(t), names(t), headers(t), dockerfiles(t),
		notArchives(t, good, random), compressed(t, good, big), sizes(t, good),
	}
	var list []Archive
	seen := map[string]bool{}
	for _, group := range all {
		for _, a := range group {
			if seen[a.Name] {
				t.Fatalf("two archives of the corpus are called %q", a.Name)
			}
			seen[a.Name] = true
			list = append(list, a)
		}
	}
	return list
}

// with is an archive that has a Dockerfile besides.
func with(t testing.TB, entries ...Entry) []byte {
	return Tar(t, append([]Entry{File("Dockerfile", from)}, entries...)...)
}

func paths(t testing.TB) []Archive {
	const k = jobs.KindPathEscape
	return []Archive{
		{Name: "path above", Bytes: with(t, File("a", ""), File("../../x", "x")), Kind: k, Says: `entry 3 "../../x" leaves the context`},
		{Name: "path above in the middle", Bytes: with(t, File("a/../../x", "x")), Kind: k, Says: `entry 2 "a/../../x" leaves the context`},
		{Name: "absolute path", Bytes: with(t, File("/abs/x", "x")), Kind: k, Says: `entry 2 "/abs/x" leaves the context`},
		{Name: "directory above", Bytes: with(t, Dir("..")), Kind: k, Says: `entry 2 "../" leaves the context`},
		{Name: "path up and down again", Bytes: with(t, Dir("a"), File("a/../b", "b"))},
		{Name: "names with ./", Bytes: Tar(t, Dir("."), File("./Dockerfile", from), Dir("./a"), File("./a/b", "b"))},
		{Name: "duplicate Dockerfile", Bytes: with(t, File("Dockerfile", from)), Kind: jobs.KindDuplicateEntry, Says: `entry 2 "Dockerfile" is there already, as entry 1`},
		{Name: "Dockerfile under two names", Bytes: with(t, File("./Dockerfile", from)), Kind: jobs.KindDuplicateEntry, Says: `entry 2 "./Dockerfile" is there already, as entry 1`},
		{Name: "file that was a directory", Bytes: with(t, File("a/b", "b"), File("a", "a")), Kind: jobs.KindDuplicateEntry, Says: `entry 3 "a" stands for a directory`},
		{Name: "file below a file", Bytes: with(t, File("a", "a"), File("a/b", "b")), Kind: jobs.KindDuplicateEntry, Says: `entry 3 "a/b" needs the directory "a", and entry 2 is a file`},
		{Name: "directory twice", Bytes: with(t, Dir("a"), File("a/b", "b"), Dir("./a"), File("a/c", "c"))},
	}
}

func links(t testing.TB) []Archive {
	return []Archive{
		{Name: "symlink out of the context", Bytes: with(t, Symlink("l", "/etc/passwd"), Symlink("m", "../../../etc"))},
		{Name: "file through a symlink", Bytes: with(t, Symlink("l", "/etc"), File("l/passwd", "x")), Kind: jobs.KindSymlinkParent, Says: `entry 3 "l/passwd" would be written through entry 2, the symbolic link "l"`},
		{Name: "directory through a symlink", Bytes: with(t, Symlink("l", "d"), Dir("l/sub/deep")), Kind: jobs.KindSymlinkParent, Says: `entry 3 "l/sub/deep/"`},
		{Name: "symlink over a file", Bytes: with(t, File("a", "a"), Symlink("a", "/etc/passwd")), Kind: jobs.KindDuplicateEntry, Says: `entry 3 "a" is there already, as entry 2`},
		{Name: "symlink over a directory", Bytes: with(t, Dir("a"), Symlink("a", "/etc")), Kind: jobs.KindDuplicateEntry, Says: `entry 3 "a" is there already, as entry 2`},
		{Name: "hard link to a file", Bytes: with(t, File("a", "a"), Hardlink("b", "./a"))},
		{Name: "hard link to a symlink", Bytes: with(t, Symlink("a", "x"), Hardlink("b", "a"))},
		{Name: "file through a hard link to a symlink", Bytes: with(t, Symlink("a", "/etc"), Hardlink("b", "a"), File("b/c", "")), Kind: jobs.KindSymlinkParent, Says: `entry 4 "b/c"`},
		{Name: "hard link to the host", Bytes: with(t, Hardlink("h", "/etc/shadow")), Kind: jobs.KindHardlinkEscape, Says: `entry 2 "h" is a hard link to "/etc/shadow"`},
		{Name: "hard link above", Bytes: with(t, Hardlink("h", "../../etc/shadow")), Kind: jobs.KindHardlinkEscape, Says: `entry 2 "h" is a hard link to "../../etc/shadow"`},
		{Name: "hard link through a symlink", Bytes: with(t, Symlink("l", "/etc"), Hardlink("h", "l/shadow")), Kind: jobs.KindHardlinkEscape, Says: `entry 3 "h" is a hard link to "l/shadow", which leads through`},
		{Name: "hard link to nothing", Bytes: with(t, Hardlink("h", "later"), File("later", "")), Kind: jobs.KindHardlinkTarget, Says: `entry 2 "h" is a hard link to "later", which is no file before it`},
		{Name: "hard link to a directory", Bytes: with(t, Dir("d"), Hardlink("h", "d")), Kind: jobs.KindHardlinkTarget, Says: `entry 3 "h" is a hard link to "d"`},
	}
}

func kinds(t testing.TB) []Archive {
	setuid := File("suid", "#!")
	setuid.Mode = 0o4755
	sticky := Dir("sticky")
	sticky.Mode = 0o1777
	capable := File("capable", "x")
	capable.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "SCHILY.xattr.user.note": "kept"}
	gnu := File("sparse", "x")
	gnu.Format = tar.FormatGNU
	gnuSparse := retype(Tar(t, gnu), tar.TypeGNUSparse)
	// A PAX writer of ours refuses sparse records; the bytes are those of one.
	paxSparse := bytes.Replace(Tar(t, paxed("sparse", "x", map[string]string{"GNX.sparse.major": "1", "GNX.sparse.minor": "0"})), []byte("GNX.sparse"), []byte("GNU.sparse"), -1)
	return []Archive{
		{Name: "character device", Bytes: with(t, Special("null", tar.TypeChar)), Kind: jobs.KindDeviceNode, Says: `entry 2 "null" is a device`},
		{Name: "block device", Bytes: with(t, Special("sda", tar.TypeBlock)), Kind: jobs.KindDeviceNode, Says: `entry 2 "sda" is a device`},
		{Name: "FIFO", Bytes: with(t, Special("pipe", tar.TypeFifo)), Kind: jobs.KindSpecialFile, Says: `entry 2 "pipe" is a FIFO`},
		{Name: "unknown type", Bytes: Join(retype(Tar(t, File("socket", "")), 's')), Kind: jobs.KindSpecialFile, Says: `entry 1 "socket" is of the unknown type 's'`},
		{Name: "setuid and sticky", Bytes: with(t, setuid, sticky), Says: `setuid, setgid and sticky bits are taken off; entries that have them: 2, the first is "suid"`},
		{Name: "file capability", Bytes: with(t, capable), Says: `extended attributes are left out; entries that have them: 1, the first is "capable"`},
		{Name: "GNU sparse file", Bytes: gnuSparse, Kind: jobs.KindSparseFile, Says: `entry 1 "sparse" is a sparse file`},
		{Name: "PAX sparse file", Bytes: paxSparse, Kind: jobs.KindSparseFile, Says: `the archive has a sparse file in its first entry`},
	}
}

// paxed is a file with PAX records.
func paxed(name, content string, records map[string]string) Entry {
	f := File(name, content)
	f.Format, f.PAXRecords = tar.FormatPAX, records
	return f
}

func names(t testing.TB) []Archive {
	long := strings.Repeat("long/", 900)
	deep := strings.Repeat("d/", 65)
	nul := bytes.Replace(Tar(t, paxed("né/XYZ", "x", nil)), []byte("né/XYZ"), []byte("né/\x00YZ"), 1)
	nulLink := Symlink("l", "né/XYZ")
	nulLink.Format = tar.FormatPAX
	empty := Tar(t, File("x", ""))
	clear(block(empty)[:100])
	nonASCII := File("né", "")
	return []Archive{
		{Name: "NUL in a name", Bytes: nul, Kind: jobs.KindNameInvalid, Says: "a name with a NUL byte"},
		{Name: "NUL in a link", Bytes: bytes.Replace(Tar(t, nulLink), []byte("né/XYZ"), []byte("né/\x00YZ"), 1), Kind: jobs.KindNameInvalid, Says: "a name with a NUL byte"},
		{Name: "no name", Bytes: seal(empty), Kind: jobs.KindNameInvalid, Says: `entry 1 "" has no name`},
		{Name: "file called .", Bytes: Tar(t, File(".", "x")), Kind: jobs.KindNameInvalid, Says: `entry 1 "." stands for the context itself`},
		{Name: "name of 4500 bytes", Bytes: with(t, File(long+"x", "")), Kind: jobs.KindNameTooLong, Says: "has a name or link of 4501 bytes; the limit is 4096"},
		{Name: "link of 4500 bytes", Bytes: with(t, Symlink("l", long)), Kind: jobs.KindNameTooLong, Says: `entry 2 "l" has a name or link of 4500 bytes`},
		{Name: "part of 256 bytes", Bytes: with(t, File("a/"+strings.Repeat("x", 256), "")), Kind: jobs.KindNameTooLong, Says: "has a part of 256 bytes; the limit is 255"},
		{Name: "64 levels", Bytes: with(t, File(deep[:len(deep)-3], ""))},
		{Name: "66 levels", Bytes: with(t, File(deep+"x", "")), Kind: jobs.KindTooDeep, Says: "is 66 levels deep; the limit is 64"},
		{Name: "newline, ESC and bad UTF-8 in names", Bytes: with(t, File("new\nline", ""), File("esc\x1b[31m", ""), File("bad\xff", ""), File("rtl\u202egnp.exe", ""))},
		{Name: "refused name with ESC", Bytes: with(t, File("../\x1b]0;pwned\x07\n", "")), Kind: jobs.KindPathEscape, Says: `entry 2 "../\x1b]0;pwned\a\n" leaves`},
		{Name: "twins in case", Bytes: with(t, File("README", ""), File("readme", "")), Says: `names that differ in case or in the form of accents only are the same on some systems; there are 1, the first is "readme"`},
		{Name: "twins in accents", Bytes: with(t, nonASCII, File("ne\u0301", "")), Says: `there are 1`},
	}
}

func headers(t testing.TB) []Archive {
	global := func(records map[string]string) []byte {
		return Tar(t, Entry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records}, ""}, File("Dockerfile", from))
	}
	return []Archive{
		{Name: "comment of git archive", Bytes: global(map[string]string{"comment": "52e2bd2a1ab1"})},
		{Name: "global path", Bytes: global(map[string]string{"path": "other"}), Kind: jobs.KindHeaderNotAllowed, Says: `entry 1 is a global header that sets "path"`},
		{Name: "PAX records of 2 MiB", Bytes: Join(bigPAX(t, 2<<20), good(t)), Kind: jobs.KindHeaderTooLarge, Says: "a header of more than 1MiB in its first entry"},
		{Name: "PAX records of 10 MiB in pieces", Bytes: Join(manyPAX(t, 16, 700<<10), good(t)), Kind: jobs.KindHeaderTooLarge, Says: "a header of more than 1MiB in its first entry"},
		{Name: "times of a tenth of a second", Bytes: with(t, later("a"))},
	}
}

func later(name string) Entry {
	f := File(name, "")
	f.Format, f.ModTime = tar.FormatPAX, time.Unix(1_700_000_000, 100_000_000)
	return f
}

func good(t testing.TB) []byte { return Tar(t, File("Dockerfile", from)) }

// bigPAX is an extended header of about size bytes, more than our own writer
// would write.
func bigPAX(t testing.TB, size int) []byte {
	head := block(Tar(t, paxed("x", "", map[string]string{"comment": "x"})))
	body := fmt.Sprintf("%d comment=%s\n", size, strings.Repeat("x", size-17))
	copy(head[124:136], fmt.Sprintf("%011o\x00", size))
	return Join(seal(head), []byte(body), make([]byte, -size&511))
}

// manyPAX is n extended headers in a row, of which only the last would count.
func manyPAX(t testing.TB, n, size int) []byte {
	one := Tar(t, paxed("x", "", map[string]string{"comment": strings.Repeat("x", size)}))
	one = one[:len(one)-1024-512] // without the file they are about, and the end
	return bytes.Repeat(one, n)
}

func dockerfiles(t testing.TB) []Archive {
	const missing = jobs.KindDockerfileMissing
	chain := []Entry{File("real", from)}
	for i := range 12 {
		target := fmt.Sprintf("l%d", i+1)
		if i == 11 {
			target = "real"
		}
		chain = append(chain, Symlink(fmt.Sprintf("l%d", i), target))
	}
	return []Archive{
		{Name: "Dockerfile missing", Bytes: Tar(t, File("a", ""), File("b", ""), Dir("src"), File("src/x", "")), Kind: missing, Says: `there is no "Dockerfile" in the context, which has "a", "b", "src/"`},
		{Name: "other Dockerfile missing", Bytes: good(t), Dockerfile: "docker/app.Dockerfile", Kind: missing, Says: `there is no "docker/app.Dockerfile" in the context, which has "Dockerfile"`},
		{Name: "Dockerfile is a directory", Bytes: Tar(t, Dir("Dockerfile"), File("Dockerfile/x", "")), Kind: jobs.KindDockerfileNotRegular, Says: `the Dockerfile "Dockerfile" is a directory`},
		{Name: "Dockerfile is a directory without an entry", Bytes: Tar(t, File("Dockerfile/x", "")), Kind: jobs.KindDockerfileNotRegular, Says: `is a directory`},
		{Name: "Dockerfile links out", Bytes: Tar(t, Symlink("Dockerfile", "/etc/hostname")), Kind: jobs.KindDockerfileOutside, Says: `the Dockerfile "Dockerfile" is a link that leads out`},
		{Name: "Dockerfile links above", Bytes: Tar(t, Symlink("a/Dockerfile", "../../x")), Dockerfile: "a/Dockerfile", Kind: jobs.KindDockerfileOutside, Says: "leads out"},
		{Name: "Dockerfile links to nothing", Bytes: Tar(t, Symlink("Dockerfile", "gone")), Kind: missing, Says: `is a link to "gone", which is not in the context`},
		{Name: "Dockerfile links through a link and back", Bytes: Tar(t, Symlink("b", "d/e"), Symlink("Dockerfile", "b/../Real"), File("Real", from), File("d/Real", "FROM evil\n"), Dir("d/e")), Kind: jobs.KindDockerfileNotRegular, Says: "a link with .. in the middle"},
		{Name: "Dockerfile links to itself", Bytes: Tar(t, Symlink("Dockerfile", "Dockerfile")), Kind: jobs.KindDockerfileNotRegular, Says: "too many links"},
		{Name: "Dockerfile of twelve links", Bytes: Tar(t, chain...), Dockerfile: "l0", Kind: jobs.KindDockerfileNotRegular, Says: "too many links"},
		{Name: "Dockerfile links to a file before it", Bytes: Tar(t, File("docker/app", from), Symlink("Dockerfile", "docker/app"))},
		{Name: "Dockerfile links to a file after it", Bytes: Tar(t, Symlink("docker/Dockerfile", "../app"), File("app", from)), Dockerfile: "docker/Dockerfile"},
		{Name: "Dockerfile behind a linked directory", Bytes: Tar(t, File("v2/Dockerfile", from), Symlink("current", "v2")), Dockerfile: "current/Dockerfile"},
		{Name: "Dockerfile is a hard link", Bytes: Tar(t, File("a", from), Hardlink("Dockerfile", "a"))},
		{Name: "dockerfile in lower case", Bytes: Tar(t, File("dockerfile", from))},
		{Name: "Dockerfile of 2 MB", Bytes: Tar(t, File("Dockerfile", from+strings.Repeat("#\n", 1<<20))), Kind: jobs.KindDockerfileInvalid, Says: "the limit is 1MiB"},
	}
}

func notArchives(t testing.TB, good, random []byte) []Archive {
	const k = jobs.KindContextNotTar
	pad := strings.Repeat(" ", 600)
	return []Archive{
		{Name: "0 bytes", Bytes: []byte{}, Kind: jobs.KindContextEmpty, Says: "it has 0 bytes"},
		{Name: "empty tar", Bytes: make([]byte, 10240), Kind: jobs.KindContextEmpty, Says: "no entries"},
		{Name: "HTML page", Bytes: []byte("\n<!DOCTYPE html>\n<html>" + pad), Kind: k, Says: `starts with "\n<!DOCTYPE html>\n<html> " (an HTML page?)`},
		{Name: "short HTML page", Bytes: []byte("<html>"), Kind: k, Says: `"<html>" (an HTML page?)`},
		{Name: "XML", Bytes: []byte("<?xml version='1.0'?><Error>" + pad), Kind: k, Says: "an XML document?"},
		{Name: "JSON", Bytes: []byte(`{"message":"not found"}`), Kind: k, Says: "a JSON document?"},
		{Name: "text", Bytes: []byte("hello"), Kind: k, Says: `starts with "hello"`},
		{Name: "bare Dockerfile", Bytes: []byte("FROM scratch\n"), Kind: k, Says: "a Dockerfile?"},
		{Name: "zip", Bytes: Join([]byte("PK\x03\x04"), random), Kind: k, Says: "a zip file"},
		{Name: "program", Bytes: Join([]byte("\x7fELF"), random), Kind: k, Says: "a program"},
		{Name: "terminal codes", Bytes: []byte("\x1b]0;pwned\x07" + pad), Kind: k, Says: `"\x1b]0;pwned\a`},
		{Name: "two tars", Bytes: Join(good, good), Kind: jobs.KindContextTrailing, Says: "more data after the end"},
		{Name: "padded tar", Bytes: Join(good, make([]byte, 9000))},
		{Name: "cut in a file", Bytes: good[:512+3], Kind: jobs.KindContextTruncated, Says: "truncated at byte 515: the archive ends there"},
		{Name: "cut between entries", Bytes: good[:1024], Kind: jobs.KindContextTruncated, Says: "truncated at byte 1024"},
		{Name: "damaged header", Bytes: flip(good, 1024+5), Kind: jobs.KindContextDamaged, Says: `after entry 1, "Dockerfile"`},
	}
}

func compressed(t testing.TB, good, big []byte) []Archive {
	const k = jobs.KindContextCompression
	gz, zs := Gzip(t, big), Zstd(t, big)
	half := len(good) / 2
	return []Archive{
		{Name: "gzip", Bytes: Gzip(t, good)},
		{Name: "gzip in two members", Bytes: Join(Gzip(t, good[:half]), Gzip(t, good[half:]))},
		{Name: "gzip padded with zeros", Bytes: Join(Gzip(t, good), make([]byte, 700))},
		{Name: "zstd", Bytes: Zstd(t, good)},
		{Name: "zstd in two frames", Bytes: Join(Zstd(t, good[:half]), Zstd(t, good[half:]))},
		{Name: "zstd after a skippable frame", Bytes: Join([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00ab"), Zstd(t, good))},
		{Name: "xz", Bytes: Join([]byte("\xfd7zXZ\x00"), big), Kind: k, Says: `the context holds xz data`},
		{Name: "bzip2", Bytes: Join([]byte("BZh91AY"), big), Kind: k, Says: "bzip2 data"},
		{Name: "lz4", Bytes: Join([]byte("\x04\x22\x4d\x18"), big), Kind: k, Says: "lz4 data"},
		{Name: "gzip in gzip", Bytes: Gzip(t, Gzip(t, good)), Kind: k, Says: "gzip data"},
		{Name: "zstd with a window of 64 MiB", Bytes: Zstd(t, bytes.Repeat(big, 6), zstd.WithWindowSize(64<<20)), Kind: k, Says: "window of more than 32MiB"},
		{Name: "HTML in zstd", Bytes: Zstd(t, []byte("<html>"+strings.Repeat("x", 600))), Kind: jobs.KindContextNotTar, Says: "an HTML page?"},
		{Name: "nothing in gzip", Bytes: Gzip(t, nil), Kind: jobs.KindContextEmpty, Says: "unpacks to 0 bytes"},
		{Name: "cut gzip", Bytes: gz[:50_000], Kind: jobs.KindContextTruncated, Says: "truncated at byte 50000: the gzip data ends there"},
		{Name: "cut header of gzip", Bytes: gz[:7], Kind: jobs.KindContextTruncated, Says: "truncated at byte 7"},
		{Name: "cut zstd", Bytes: zs[:50_000], Kind: jobs.KindContextTruncated, Says: "truncated at byte 50000: the zstd data ends there"},
		{Name: "damaged gzip", Bytes: flip(gz, len(gz)-6), Kind: jobs.KindContextDamaged, Says: "the gzip data of the context is damaged"},
		{Name: "damaged zstd", Bytes: flip(zs, len(zs)-2), Kind: jobs.KindContextDamaged, Says: "the zstd data of the context is damaged"},
		{Name: "text after gzip", Bytes: Join(gz, []byte("hello, this is no gzip")), Kind: jobs.KindContextTrailing, Says: "after the end of its gzip data"},
		{Name: "text after zstd", Bytes: Join(zs, []byte("hello, this is no zstd")), Kind: jobs.KindContextTrailing, Says: "after the end of its zstd data"},
	}
}

func sizes(t testing.TB, good []byte) []Archive {
	zeros := Tar(t, File("zeros", strings.Repeat("\x00", 80<<20)))
	digest := artifactstest.Digest(good)
	other := artifactstest.Digest(nil)
	return []Archive{
		{Name: "bomb", Bytes: Bomb(t), Kind: jobs.KindContextRatio, Says: "unpacks to more than 200 times its size"},
		{Name: "bomb in zstd", Bytes: Zstd(t, zeros), Kind: jobs.KindContextRatio, Says: "unpacks to more than 200 times its size"},
		{Name: "announced", Bytes: Gzip(t, good), Context: jobs.Context{Digest: digest, Size: int64(len(good))}},
		{Name: "other digest", Bytes: good, Context: jobs.Context{Digest: other}, Kind: jobs.KindContextDigest, Says: "want " + other + " got " + digest},
		{Name: "digest of the compressed bytes", Bytes: Gzip(t, good), Context: jobs.Context{Digest: artifactstest.Digest(Gzip(t, good))}, Kind: jobs.KindContextDigest, Says: "got " + digest},
		{Name: "shorter than announced", Bytes: good, Context: jobs.Context{Size: int64(len(good)) + 512}, Kind: jobs.KindContextDigest, Says: fmt.Sprintf("want %d bytes got %d", len(good)+512, len(good))},
		{Name: "longer than announced", Bytes: good, Context: jobs.Context{Size: 1024}, Kind: jobs.KindContextDigest, Says: "want 1024 bytes got"},
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x55
	return b
}
