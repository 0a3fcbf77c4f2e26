package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestBatchLines: what a reader of lines has to survive.
func TestBatchLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", jobs.MaxSpecBytes+10)
	good := `{"run":{"image":"a"}}`
	tests := []struct {
		name, in string
		// want has a line number per document, with ! where it is refused.
		want string
	}{
		{"empty", "", ""},
		{"blank lines", "\n \n\r\n", ""},
		{"no newline at the end", good, "1 "},
		{"crlf", good + "\r\n" + good + "\r\n", "1 2 "},
		{"long line between others", good + "\n" + long + "\n" + good + "\n", "1 !2 3 "},
		{"long line at the end", good + "\n" + long, "1 !2 "},
		{"document and too many blanks", good + strings.Repeat(" ", jobs.MaxSpecBytes), "!1 "},
		{"not a document", "[]\n" + good, "!1 2 "},
		{"half a document", `{"run":{"ima`, "!1 "},
		{"invalid utf-8", "\xff\xfe\n" + good, "!1 2 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines := make(chan document)
			go readDocuments(t.Context(), io.NopCloser(strings.NewReader(tt.in)), lines, func(*jobs.Spec) {})
			got := ""
			for d := range lines {
				if d.err != nil {
					got += "!"
				}
				got += fmt.Sprintf("%d ", d.line)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBatchOfAStream: documents that come slowly are not held back for a full
// chunk.
func TestBatchOfAStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := newFarm(t, dir, farmOptions{paused: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		r, w := io.Pipe()
		var stdout, stderr buffer
		code := make(chan int, 1)
		go func() {
			a := f.app(process{getenv: noEnv, stdin: r, stdout: &stdout, stderr: &stderr})
			code <- a.run(t.Context(), []string{"submit", "--batch", "-"})
		}()
		for i := range 3 {
			fmt.Fprintln(w, `{"run":{"image":"a"}}`)
			synctest.Wait()
			linger(t)
			if n := strings.Count(stdout.String(), "\n"); n != i+1 {
				t.Errorf("after %d documents: %q, %q", i+1, stdout.String(), stderr.String())
			}
		}
		_ = w.Close()
		if got := <-code; got != 0 {
			t.Errorf("exit code %d: %s", got, stderr.String())
		}
	})
}

// linger lets the bubble's clock pass the time that a chunk waits.
func linger(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*batchLinger)
	defer cancel()
	<-ctx.Done()
	synctest.Wait()
}

// TestBatchOrder: answers come in the order of the lines, over many chunks.
func TestBatchOrder(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	const n = 3*batchSize + 17
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, `{"name":"n%d","run":{"image":"a"}}`+"\n", i)
	}
	var stdout, stderr buffer
	a := f.app(process{getenv: noEnv, stdin: strings.NewReader(in.String()), stdout: &stdout, stderr: &stderr})
	if code := a.run(t.Context(), []string{"submit", "--batch", "-", "-q"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	ids := strings.Fields(stdout.String())
	if len(ids) != n || f.queue.Len() != n {
		t.Fatalf("%d IDs and %d tickets, want %d", len(ids), f.queue.Len(), n)
	}
	for _, i := range []int{0, batchSize - 1, batchSize, n - 1} {
		job, err := f.svc.Get(t.Context(), ids[i])
		if want := fmt.Sprintf("n%d", i); err != nil || job.Spec.Name != want {
			t.Errorf("line %d is job %s of %q (%v), want %q", i+1, ids[i], job.Spec.Name, err, want)
		}
	}
}
