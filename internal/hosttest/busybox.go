package hosttest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// BusyboxTag is the name that [Busybox] gives its image.
const BusyboxTag = "busybox:latest"

// Busybox puts an image with a shell and the usual commands on the host and
// returns its tag.
func Busybox(t testing.TB, h *Host) string {
	t.Helper()
	if err := h.ImportBusybox(t.Context()); err != nil {
		t.Fatal(err)
	}
	return BusyboxTag
}

// ImportBusybox is Busybox for TestMain. An image that is there stays, with its
// ID.
func (h *Host) ImportBusybox(ctx context.Context) error {
	if h.call(ctx, http.MethodGet, "/images/"+BusyboxTag+"/json", nil, nil) == nil {
		return nil
	}
	layer, err := BusyboxLayer(ctx)
	if err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(BusyboxTag, ":")
	return h.importImage(ctx, repo, tag, bytes.NewReader(layer), `CMD ["sh"]`, "ENV PATH=/bin")
}

// BusyboxLayer is a root file system as a tar: the statically linked
// /bin/busybox of this machine with a link for each of its commands.
func BusyboxLayer(ctx context.Context) ([]byte, error) {
	const from = "/bin/busybox"
	program, err := os.ReadFile(from)
	if err != nil {
		return nil, err
	}
	applets, err := exec.CommandContext(ctx, from, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the commands of %s: %w", from, err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, data string) {
		h.Size, h.Format, h.ModTime = int64(len(data)), tar.FormatPAX, time.Unix(0, 0)
		if err == nil {
			err = w.WriteHeader(&h)
		}
		if err == nil {
			_, err = w.Write([]byte(data))
		}
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "proc/", "sys/", "dev/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, "")
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, "")
	add(tar.Header{Name: "etc/passwd", Mode: 0o644}, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	add(tar.Header{Name: "etc/group", Mode: 0o644}, "root:x:0:\nnogroup:x:65534:\n")
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, string(program))
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, "")
		}
	}
	if err != nil {
		return nil, err
	}
	return buf.Bytes(), w.Close()
}
