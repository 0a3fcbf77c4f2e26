//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/client"
	"github.com/slipway-farm/slipway/internal/api/apitest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// httpLines is how many lines the job of these tests prints.
const httpLines = 4000

// talker is a context whose image counts, with pauses, and leaves a report.
func talker() map[string]string {
	return map[string]string{
		"Dockerfile": "FROM busybox\nCOPY count.sh /\nCMD [\"sh\", \"/count.sh\"]\n",
		"count.sh": fmt.Sprintf(`i=0
while [ $i -lt %d ]; do
	echo "line $i"
	i=$((i + 1))
	[ $((i %% 500)) != 0 ] || sleep 0.1
done
mkdir -p /out
echo "counted to $i" >/out/report.txt
`, httpLines),
	}
}

// everyLine is the text that it prints.
func everyLine() string {
	var b strings.Builder
	for i := range httpLines {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

const report = "counted to 4000\n"

// linesOf leaves of a text what the image printed.
func linesOf(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "line ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// From a tar to image, log, result and output over HTTP: with one request of curl, with
// Python, and with the Go client; the last two through a network that cuts connections.
func TestHTTP(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	s := &httpServer{t, f.serve()}
	dir := contextDir(t, talker())
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("curl", func(t *testing.T) {
		sh := filepath.Join(examples, "http-shell", "build.sh")
		a := s.client(s.url, dir, sh, "once", dir, "http-once:1")
		var job jobs.Job
		if err := json.Unmarshal([]byte(a.stdout), &job); err != nil || a.code != 0 || job.State != jobs.Succeeded || job.Result.ImageID == "" || *job.Result.ExitCode != 0 {
			t.Fatalf("exit code %d, %v\n%s%s", a.code, err, a.stdout, a.stderr)
		}
		if job.Submitter != "e2e" || f.enqueue("logs", job.ID).stdout == "" {
			t.Errorf("the job is %s's, want e2e's, and a log", job.Submitter)
		}
		a = s.client(s.url, dir, sh, "steps", dir, "http-steps:1", "/out/report.txt")
		if a.code != 0 || a.stdout != report || linesOf(a.stderr) != everyLine() {
			t.Errorf("step by step: exit code %d, stdout %q\n%.2000s", a.code, a.stdout, a.stderr)
		}
		// One that fails is a problem, and an exit code of curl's.
		bad := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN exit 3\n"})
		a = s.client(s.url, bad, sh, "once", bad, "http-bad:1")
		var p client.Problem
		if err := json.Unmarshal([]byte(a.stdout), &p); err != nil || a.code != 22 || p.Fault != client.UserFault || p.Job == nil || p.Job.State != client.Failed {
			t.Errorf("a build that fails: exit code %d, %v\n%s%s", a.code, err, a.stdout, a.stderr)
		}
	})

	t.Run("python", func(t *testing.T) {
		// The tar is cut off, and the log, twice: each comes over a connection of its own.
		n := apitest.NewNetwork(t, s.addr(), 300, apitest.Whole, 1_500, 12_000)
		a := s.client("http://"+n.Addr, dir, "python3", filepath.Join(examples, "http-python", "build.py"), dir, "http-python:1", "/out/report.txt")
		if a.code != 0 || a.stdout != report || linesOf(a.stderr) != everyLine() || n.Cuts() != 3 {
			t.Errorf("exit code %d after %d cuts, stdout %q, %d bytes of the log, want %d\n%.2000s", a.code, n.Cuts(), a.stdout, len(linesOf(a.stderr)), len(everyLine()), a.stderr)
		}
	})

	t.Run("go", func(t *testing.T) {
		n := apitest.NewNetwork(t, s.addr())
		c := client.New("http://"+n.Addr, s.token)
		var tar bytes.Buffer
		tarInto(t, &tar, talker())
		job, err := c.Build(t.Context(), &tar, client.Options{Document: client.Document{
			Build: &client.Build{Tags: []string{"http-go:1"}}, Run: &client.Run{Outputs: []string{"/out/report.txt"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.HTTP.CloseIdleConnections()
		n.Cut(2_000, 12_000, 15_000)
		var log strings.Builder
		job, err = c.Follow(t.Context(), job.ID, "", func(e client.Entry) {
			if e.Stream == "stdout" {
				log.Write(e.Bytes())
			}
		})
		if err != nil || job.State != client.Succeeded || job.Result.ImageID == "" {
			t.Fatalf("the job is %+v: %v", job, err)
		}
		if log.String() != everyLine() || n.Cuts() < 2 {
			t.Errorf("%d bytes of the log came over %d cuts, want %d over 2 or more", log.Len(), n.Cuts(), len(everyLine()))
		}
		out, err := c.Output(t.Context(), job.ID, "/out/report.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if text, err := io.ReadAll(out); err != nil || string(text) != report {
			t.Errorf("the output is %q: %v", text, err)
		}
	})

	t.Run("go example", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "http-go")
		if a := s.client(s.url, examples, "go", "build", "-o", bin, "./http-go"); a.code != 0 {
			t.Fatal(a.stderr)
		}
		var tar bytes.Buffer
		tarInto(t, &tar, talker())
		a := s.clientWith(tar.Bytes(), s.url, dir, bin, "http-go:2", "/out/report.txt")
		if a.code != 0 || a.stdout != report || linesOf(a.stderr) != everyLine() {
			t.Errorf("exit code %d, stdout %q\n%.2000s", a.code, a.stdout, a.stderr)
		}
	})
	t.Run("docs", func(t *testing.T) { f.docs(t, s, contextDir(t, talker())) })
	t.Run("ci", func(t *testing.T) { f.ci(t, s, dir) })
	clean(t, hostA, before)
}

// tarInto writes files as a tar.
func tarInto(t *testing.T, to io.Writer, files map[string]string) {
	t.Helper()
	w := tar.NewWriter(to)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
