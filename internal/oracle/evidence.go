package oracle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Events is what the record says happened to a job.
func Events(ctx context.Context, r jobs.Records, id string) (all []jobs.Event, err error) {
	for cur := (jobs.Cursor{}); ; {
		news, err := r.Follow(ctx, id, cur, 0)
		if err != nil {
			return nil, err
		}
		if len(news.Events) == 0 && len(news.Log) == 0 {
			return all, nil
		}
		cur = news.Next
		all = append(all, news.Events...)
	}
}

// Count is how many of the events are of a type.
func Count(events []jobs.Event, typ jobs.EventType) (n int) {
	for _, e := range events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

// History is the events for people, each on a line of its own.
func History(events []jobs.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%s %s %s", e.At.Format("15:04:05.000"), e.Type, e.Text)
	}
	return b.String()
}

// Output is what the job's container printed, by the stored log. torn tells that the
// log itself says that its end may be missing.
func Output(ctx context.Context, blobs *artifacts.Blobs, job jobs.Job) (text string, torn bool, err error) {
	if job.Result == nil || job.Result.Log.Digest == "" {
		return "", false, nil
	}
	r, err := blobs.Read(ctx, job.Result.Log.Digest)
	if err != nil {
		return "", false, err
	}
	defer r.Close()
	var out strings.Builder
	for frames := jobs.NewFrameReader(r); ; {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), torn, nil
		} else if err != nil {
			return "", false, fmt.Errorf("read the log of job %s: %w", job.ID, err)
		}
		switch frame.Stream {
		case jobs.Stdout:
			out.Write(frame.Data)
		case jobs.Note:
			torn = torn || strings.Contains(string(frame.Data), "the last of its output may be missing")
		case jobs.Stderr, jobs.BuildStatus:
		}
	}
}

// Leftovers lists the files that a worker keeps about jobs in its state directory: none,
// when all jobs and services have ended.
func Leftovers(state string) (left []string, err error) {
	for _, dir := range []string{"spool", "journal", "builds", "services"} {
		files, readErr := os.ReadDir(filepath.Join(state, dir))
		if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
			err = errors.Join(err, readErr)
		}
		for _, file := range files {
			left = append(left, dir+"/"+file.Name())
		}
	}
	return left, err
}
