package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/joblog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func (s *keptService) spool() string { return s.w.spoolPath(s.job.ID, s.job.Result.Attempt) }

// openLog goes on with the spool of an earlier process.
func (s *keptService) openLog(ctx context.Context) error {
	_, err := os.Stat(s.spool())
	var gap error
	if errors.Is(err, os.ErrNotExist) {
		gap = s.fetchSpool(ctx)
	}
	l, err := joblog.Open(s.spool(), s.w.opts.LogCap, s.appendTail)
	if err != nil {
		return err
	}
	l.Serve()
	l.Mask(s.w.coverOf(ctx, s.job, s.job.Result.Host, s.job.Result.Attempt))
	if gap != nil {
		s.log.WarnContext(ctx, "lost the log of a kept service up to when it was ready", "err", gap)
		fmt.Fprintln(l.Writer(jobs.Note), "[gap: the log up to here is lost; what follows is what the engine still has of it]")
	}
	s.joblog = l
	return nil
}

// partSuffix is the end of the name of a spool that is being fetched.
const partSuffix = ".part"

// fetchSpool recreates a lost spool from the log in the result, which ends at
// readiness. The engine still has the output after that.
func (s *keptService) fetchSpool(ctx context.Context) error {
	digest := s.job.Result.Log.Digest
	if digest == "" {
		return nil // there was no output yet
	}
	ctx, cancel := context.WithTimeout(ctx, spoolTime)
	defer cancel()
	r, err := s.w.Blobs.Read(ctx, digest)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if err := os.MkdirAll(filepath.Dir(s.spool()), 0o700); err != nil {
		return fmt.Errorf("make log spool: %w", err)
	}
	part := s.spool() + partSuffix // a worker that dies here leaves no half of a log
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make log spool: %w", err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, s.spool())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fetch the log: %w", err), os.Remove(part))
	}
	return nil
}

func (s *keptService) appendTail(ctx context.Context, offset int64, frames []byte) error {
	return s.w.Claims.AppendLog(ctx, s.job.ID, s.job.Nonce, jobs.LogChunk{Attempt: s.job.Result.Attempt, Offset: offset, Data: frames})
}

// saveLog closes the log and puts it into the artifact store. It fails only when ctx
// ends: a log that the store refuses for too long is recorded as missing.
func (s *keptService) saveLog(ctx context.Context) (jobs.LogInfo, error) {
	bounded, cancel := context.WithTimeout(ctx, serviceLogTime)
	defer cancel()
	warn := func(err error) bool {
		s.log.WarnContext(ctx, "store log of a kept service failed; tried again", "err", err)
		return false
	}
	disk, cancelDisk := context.WithTimeout(ctx, logTime)
	defer cancelDisk()
	_ = repeat(disk, s.joblog.Flush, warn) // close has the last try
	size, dropped := s.joblog.Close(ctx)
	info := jobs.LogInfo{Size: size, Dropped: dropped, Clipped: s.job.Result.Log.Clipped}
	if size == 0 {
		return info, nil
	}
	err := repeat(bounded, func() error {
		r, err := s.joblog.Reader(size)
		if err != nil {
			return err
		}
		defer r.Close() // only read
		blob, err := s.w.Blobs.Write(bounded, r)
		info.Digest = blob.Digest
		return err
	}, warn)
	switch {
	case ctx.Err() != nil:
		return info, context.Cause(ctx)
	case err != nil:
		info = s.job.Result.Log // up to when it was ready
		info.Missing = true
	}
	return info, nil
}
