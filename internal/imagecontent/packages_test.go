package imagecontent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	status    = "var/lib/dpkg/status"
	installed = "lib/apk/db/installed"
)

// deb is a paragraph of dpkg's, by "name version".
func deb(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		name, version, _ := strings.Cut(line, " ")
		b.WriteString("Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n")
	}
	return b.String()
}

// brief is an inventory in short: "kind name:arch version", and what was not read.
func brief(inv Inventory) []string {
	var list []string
	for _, p := range inv.Packages {
		list = append(list, p.Kind+" "+p.Name+":"+p.Arch+" "+p.Version)
	}
	for _, u := range inv.Unread {
		list = append(list, "- "+u)
	}
	return list
}

func TestPackagesLayers(t *testing.T) {
	t.Parallel()
	apk := "P:musl\nV:1\nA:x86_64\n"
	control := func(name, version string) string {
		return "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n"
	}
	type layers = [][]item
	a1, b1 := "deb a:amd64 1", "deb b:amd64 1"
	for _, tt := range []struct {
		name   string
		layers layers
		want   []string
	}{
		{"none", layers{{plain("a", "")}}, nil},
		{"no layers", nil, nil},
		{"dpkg", layers{{plain(status, deb("b 1", "a 1"))}}, []string{a1, b1}},
		{"apk", layers{{plain(installed, apk)}}, []string{"apk musl:x86_64 1"}},
		{"apk below usr", layers{{plain("usr/"+installed, apk)}}, []string{"apk musl:x86_64 1"}},
		{"apk in both places", layers{{plain("usr/"+installed, apk), plain(installed, apk)}}, []string{"apk musl:x86_64 1"}},
		{"distroless", layers{
			{plain("var/lib/dpkg/status.d/a", control("a", "1")), plain("var/lib/dpkg/status.d/a.md5sums", "0  etc/a\n")},
			{plain("var/lib/dpkg/status.d/b", control("b", "1")), dir("var/lib/dpkg/status.d/sub"), plain("var/lib/dpkg/status.d/sub/c", "x")},
		}, []string{a1, b1}},
		{"dpkg and apk", layers{{plain(installed, apk)}, {plain(status, deb("a 1"))}}, []string{a1, "apk musl:x86_64 1"}},
		{"./", layers{{plain("./"+status, deb("a 1"))}}, []string{a1}},
		{"/", layers{{plain("/"+status, deb("a 1"))}}, []string{a1}},
		{"the topmost", layers{{plain(status, deb("a 0", "z 1"))}, {plain("a", "")}, {plain("./"+status, deb("a 1"))}, nil}, []string{a1}},
		{"the topmost of a directory", layers{
			{plain("var/lib/dpkg/status.d/a", control("a", "0")), plain("var/lib/dpkg/status.d/b", control("b", "1"))},
			{plain("var/lib/dpkg/status.d/a", control("a", "1"))},
		}, []string{a1, b1}},
		{"twice in a layer", layers{{plain(status, deb("b 1")), plain(status, deb("a 1"))}}, []string{a1}},

		{"whiteout", layers{{plain(status, deb("a 1"))}, {plain("var/lib/dpkg/.wh.status", "")}}, nil},
		{"whiteout with ./", layers{{plain(status, deb("a 1"))}, {plain("./var/lib/dpkg/.wh.status", "")}}, nil},
		{"whiteout and a new one", layers{{plain(status, deb("b 1"))}, {plain("var/lib/dpkg/.wh.status", "")}, {plain(status, deb("a 1"))}}, []string{a1}},
		{"whiteout and a new one in a layer", layers{{plain(status, deb("b 1"))}, {plain(status, deb("a 1")), plain("var/lib/dpkg/.wh.status", "")}}, []string{a1}},
		{"whiteout of a parent", layers{{plain(status, deb("a 1"))}, {plain("var/.wh.lib", "")}}, nil},
		{"whiteout of the first parent", layers{{plain(status, deb("a 1"))}, {plain(".wh.var", "")}}, nil},
		{"whiteout of another file", layers{{plain(status, deb("a 1"))}, {plain("var/lib/dpkg/.wh.status-old", ""), plain("lib/.wh.var", "")}}, []string{a1}},
		{"whiteout of one of a directory", layers{
			{plain("var/lib/dpkg/status.d/a", control("a", "1")), plain("var/lib/dpkg/status.d/b", control("b", "1"))},
			{plain("var/lib/dpkg/status.d/.wh.b", "")},
		}, []string{a1}},
		{"whiteout below the file", layers{{plain(status, deb("a 1"))}, {plain(".wh.", "")}, {plain("var/.wh..wh.plnk", ""), plain("var/lib/dpkg/status.d/.wh..wh.aufs", "x")}}, []string{a1}},
		{"opaque directory", layers{{plain(status, deb("a 1"))}, {plain("var/lib/dpkg/.wh..wh..opq", "")}}, nil},
		{"opaque directory with a new one", layers{{plain("var/lib/dpkg/status.d/b", control("b", "1"))}, {plain("var/lib/dpkg/status.d/a", control("a", "1")), plain("var/lib/dpkg/status.d/.wh..wh..opq", "")}}, []string{a1}},
		{"opaque parent", layers{{plain(status, deb("a 1"))}, {plain("var/.wh..wh..opq", "")}}, nil},
		{"opaque root", layers{{plain(status, deb("a 1"))}, {plain("./.wh..wh..opq", "")}}, nil},
		{"opaque directory of another", layers{{plain(status, deb("a 1"))}, {plain("var/lib/apt/.wh..wh..opq", "")}}, []string{a1}},

		{"a directory for the file", layers{{plain(status, deb("a 1"))}, {dir(status)}}, nil},
		{"a directory for the file in a layer", layers{{plain(status, deb("a 1")), dir(status)}}, nil},
		{"a file below the file", layers{{plain(status, deb("a 1"))}, {plain(status+"/x", "")}}, nil},
		{"a file for a directory", layers{{plain(status, deb("a 1"))}, {plain("var/lib", "")}}, nil},
		{"a directory for a directory", layers{{plain(status, deb("a 1"))}, {dir("var"), dir("var/lib"), dir("var/lib/dpkg")}}, []string{a1}},
		{"a link for a directory", layers{{plain(installed, apk)}, {symlink("lib", "usr/lib"), plain("usr/"+installed, "P:musl\nV:2\nA:x86_64\n")}}, []string{"apk musl:x86_64 2"}},
		{"a device for the file", layers{{plain(status, deb("a 1"))}, {{Header: tar.Header{Typeflag: tar.TypeChar, Name: status}}}}, nil},

		{"a link to the database", layers{{symlink(status, "/elsewhere")}}, []string{"- deb (var/lib/dpkg/status is a link)"}},
		{"a hard link to the database", layers{{plain("x", deb("a 1")), hardlink(status, "x")}}, []string{"- deb (var/lib/dpkg/status is a link)"}},
		{"a link to its directory", layers{{symlink("var/lib/dpkg", "../../usr/dpkg")}}, []string{"- deb (var/lib/dpkg is a link)"}},
		{"a link that is hidden", layers{{symlink(status, "/elsewhere")}, {plain(status, deb("a 1"))}}, []string{a1}},
		{"a link of one of a directory", layers{{symlink("var/lib/dpkg/status.d/a", "b")}}, []string{"- deb (var/lib/dpkg/status.d/a is a link)"}},
		{"a link to where it is read", layers{{symlink("lib/apk", "../usr/lib/apk"), plain("usr/"+installed, apk)}}, []string{"apk musl:x86_64 1"}},
		{"a hard link to where it is read", layers{{plain("usr/"+installed, apk), hardlink(installed, "usr/"+installed)}}, []string{"apk musl:x86_64 1"}},

		{"rpm", layers{{plain("var/lib/rpm/rpmdb.sqlite", "x")}}, []string{"- rpm (var/lib/rpm/rpmdb.sqlite)"}},
		{"rpm through a link", layers{{symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm"), plain("usr/lib/sysimage/rpm/rpmdb.sqlite", "x")}}, []string{"- rpm (usr/lib/sysimage/rpm/rpmdb.sqlite)"}},
		{"rpm that was removed", layers{{plain("var/lib/rpm/Packages", "x")}, {plain("var/lib/.wh.rpm", "")}}, nil},
		{"rpm in two layers, and dpkg", layers{{plain("var/lib/rpm/Packages", "x")}, {plain("var/lib/rpm/Packages", "y"), plain(status, deb("a 1"))}}, []string{a1, "- rpm (var/lib/rpm/Packages)"}},
		{"others", layers{{plain("var/lib/pacman/local/ALPM_DB_VERSION", "9"), plain("var/lib/chisel/manifest.wall", "x")}}, []string{"- chisel (var/lib/chisel/manifest.wall)", "- pacman (var/lib/pacman/local/ALPM_DB_VERSION)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inv, err := Packages(t.Context(), image(t, tt.layers...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, brief(inv)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPackagesDamaged(t *testing.T) {
	t.Parallel()
	good := blob(archive(t, plain(status, deb("a 1"))))
	text := archive(t, plain(status, deb("a 1")))
	for _, tt := range []struct {
		name string
		blob v1.Layer
		want string
	}{
		{"database", blob(archive(t, plain(status, "Package: a\n\x00\x00\n"))), "layer 1 of 1 (sha256:"},
		{"file of a directory", blob(archive(t, plain("var/lib/dpkg/status.d/a", "Version: 1\n"))), "packages in var/lib/dpkg/status.d/a: lines 1 to 1: a package without a name"},
		{"apk", blob(archive(t, plain(installed, "P:a\n\n"))), "packages in lib/apk/db/installed: lines 1 to 2: a package without a name or a version"},
		{"layer cut off in the database", instead(good, text[:550]), "unexpected EOF"},
		{"layer cut off behind it", instead(good, text[:1024]), "which the config does not name"},
		{"layer", instead(good, bytes.Repeat([]byte("x"), 1024)), "invalid tar header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inv, err := Packages(t.Context(), imageOf(t, tt.blob))
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(inv.Packages) > 0 {
				t.Errorf("got %v, %v; want an error with %q", inv, err, tt.want)
			}
		})
	}
}

// A database that is too large is refused before it is read; so are several together.
func TestPackagesBound(t *testing.T) {
	t.Parallel()
	header := func(size int64) []byte {
		var buf bytes.Buffer
		if err := tar.NewWriter(&buf).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: status, Size: size}); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	_, err := Packages(t.Context(), imageOf(t, instead(blob(archive(t)), header(maxDatabase+1))))
	if err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("got %v; want the bound", err)
	}
	for name, items := range map[string][]item{
		"two databases": {plain(status, deb("a 1")), plain("var/lib/dpkg/status.d/b", deb("b 1"))},
		"many paths":    {plain(status+"/a", ""), plain(status+"/b", ""), dir("var/lib/dpkg/status.d/.wh.c")},
	} {
		need := int64(0)
		for _, it := range items {
			need += int64(len(it.Name)+len(it.text)) + perPath
		}
		layers, err := layersOf(image(t, items))
		if err != nil {
			t.Fatal(err)
		}
		for room, ok := range map[int64]bool{need: true, need - 1: false} {
			s := search{all: databases(), hidden: newCover(), room: room}
			if err := s.layer(t.Context(), layers[0]); (err == nil) != ok {
				t.Errorf("%s, room for %d of %d: %v", name, room, need, err)
			}
		}
	}
}

func TestPackagesCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Packages(ctx, image(t, []item{plain(status, deb("a 1"))})); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReadDpkg(t *testing.T) {
	t.Parallel()
	full := "Package: libc6\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\nMulti-Arch: same\n" +
		"Version: 2.36-9+deb12u10\nConffiles:\n /etc/ld.so.conf.d/x.conf d4e\nDescription: GNU C Library\n" +
		" Contains: the standard libraries.\n .\n Version: 7\n"
	for _, tt := range []struct {
		name, text, want string
		control          bool
	}{
		{name: "nothing", text: "", want: ""},
		{name: "empty lines", text: "\n\n\n", want: ""},
		{name: "values of several lines", text: full, want: "libc6:amd64=2.36-9+deb12u10"},
		{name: "two architectures", text: full + "\n" + strings.Replace(full, "amd64", "i386", 1), want: "libc6:amd64=2.36-9+deb12u10 libc6:i386=2.36-9+deb12u10"},
		{name: "CRLF", text: strings.ReplaceAll(full+"\n"+deb("a 1"), "\n", "\r\n"), want: "libc6:amd64=2.36-9+deb12u10 a:amd64=1"},
		{name: "names of fields in small letters", text: strings.ToLower("Package: a\nStatus: install ok installed\nVersion: 1\n"), want: "a:=1"},
		{name: "only configuration", text: "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n", want: ""},
		{name: "not installed, no version", text: "Package: a\nStatus: purge ok not-installed\n\n" + deb("b 1"), want: "b:amd64=1"},
		{name: "half installed", text: "Package: a\nStatus: install reinstreq half-installed\nVersion: 1\n", want: ""},
		{name: "unpacked", text: "Package: a\nStatus: install ok unpacked\nVersion: 1\n", want: ""},
		{name: "held", text: "Package: a\nStatus: hold ok installed\nVersion: 1\n", want: "a:=1"},
		{name: "to be removed", text: "Package: a\nStatus: deinstall ok installed\nVersion: 1\n", want: "a:=1"},
		{name: "waits for triggers", text: "Package: a\nStatus: install ok triggers-awaited\nVersion: 1\n", want: "a:=1"},
		{name: "no status", text: "Package: a\nVersion: 1\n", want: ""},
		{name: "no status in a control file", text: "Package: a\nVersion: 1\n", control: true, want: "a:=1"},
		{name: "a status in a control file", text: "Package: a\nVersion: 1\nStatus: deinstall ok config-files\n", control: true, want: ""},

		{name: "no name", text: "Version: 1\n", want: "error: lines 1 to 1: a package without a name"},
		{name: "no name, no field that is read", text: deb("a 1") + "Section: x\n", want: "error: lines 6 to 6: a package without a name"},
		{name: "no version", text: "Package: a\nStatus: install ok installed\n", want: "error: lines 1 to 2: package a has no version"},
		{name: "no such status", text: "Package: a\nStatus: installed\n", want: `error: lines 1 to 2: package a has the status "installed"`},
		{name: "no field", text: "Package: a\nVersion\n", want: `error: line 2: is no field: "Version"`},
		{name: "no name of a field", text: ": a\n", want: `error: line 1: is no field: ": a"`},
		{name: "a hole", text: "Package: a\n\x00\x00:\x00", want: `error: line 2: is no field: "\x00\x00:\x00"`},
		{name: "goes on with nothing", text: "\n x\n", want: "error: line 2: goes on with a field, and there is none"},
		{name: "twice", text: "Package: a\nPackage: b\n", want: "error: line 2: the field Package is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			read := readStatus
			if tt.control {
				read = readControl
			}
			if got := parsed(read([]byte(tt.text))); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadApk(t *testing.T) {
	t.Parallel()
	full := "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:1\nT:the musl c library (libc) implementation\no:musl\n" +
		"F:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1def=\nF:\nr:\n"
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"one", full, "musl:x86_64=1.2.5-r0"},
		{"two", full + "\n" + "P:a\nV:1\nA:noarch\n\n", "musl:x86_64=1.2.5-r0 a:noarch=1"},
		{"many empty lines", "\n\n" + full + "\n\n\n", "musl:x86_64=1.2.5-r0"},
		{"no architecture", "P:a\nV:1\n", "a:=1"},
		{"no version", "P:a\n", "error: lines 1 to 1: a package without a name or a version"},
		{"no name", full + "\nV:1\n", "error: lines 15 to 15: a package without a name or a version"},
		{"no field", "P:a\nversion\n", `error: line 2: is no field: "version"`},
		{"one letter", "P:a\nV\n", `error: line 2: is no field: "V"`},
		{"a hole", full + strings.Repeat("\x00", 3), `error: line 14: is no field: "\x00\x00\x00"`},
	} {
		if got := parsed(readInstalled([]byte(tt.text))); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func parsed(list []Package, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var words []string
	for _, p := range list {
		words = append(words, p.Name+":"+p.Arch+"="+p.Version)
	}
	return strings.Join(words, " ")
}

// Whatever a database has, what is read of it has names and versions.
func FuzzRead(f *testing.F) {
	f.Add([]byte(deb("a 1", "b 2")))
	f.Add([]byte("P:a\nV:1\n\nP:b\nV:2\n"))
	f.Add([]byte(" \n:\r\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func([]byte) ([]Package, error){readStatus, readControl, readInstalled} {
			list, err := read(text)
			if err != nil && list != nil {
				t.Errorf("got %v with the error %v", list, err)
			}
			if slices.ContainsFunc(list, func(p Package) bool { return p.Name == "" || p.Version == "" || p.Kind == "" }) {
				t.Errorf("got %v", list)
			}
		}
	})
}

// Whatever a layer has, one that is not what its config says is never taken for it.
func FuzzLayer(f *testing.F) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: status, Size: 1}); err != nil {
		f.Fatal(err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(archive(f, tree()...))
	f.Fuzz(func(t *testing.T, text []byte) {
		claimed := archive(t, plain("a", ""))
		if bytes.Equal(text, claimed) {
			return
		}
		img := imageOf(t, instead(blob(claimed), text))
		for _, other := range []v1.Image{image(t), image(t, later([]item{plain("a", "")}))} {
			if same, _ := Same(t.Context(), img, other); same {
				t.Error("it is the same as another layer")
			}
		}
		if _, err := Packages(t.Context(), img); err == nil {
			t.Error("its packages were read")
		}
	})
}
