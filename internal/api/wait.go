package api

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// longestWait is how long a request may wait for a job.
const longestWait = time.Hour

// waitFor returns the job as soon as until is true of it, or as it is after so long.
func (s *Server) waitFor(x *exchange, job jobs.Job, wait time.Duration, until func(jobs.Job) bool) (jobs.Job, error) {
	if wait <= 0 || until(job) {
		return job, nil
	}
	err := s.looks(x, job, wait, func(l look) (bool, error) {
		if l.err != nil && !errors.Is(l.err, errClosing) {
			return true, l.err
		}
		job = l.job
		return until(job) || l.over || l.err != nil, nil
	})
	return job, err
}

// looks looks at a job, and again each time that something is new of it, until enough says so or
// for so long. All who follow the job hold one connection to Redis together.
func (s *Server) looks(x *exchange, job jobs.Job, wait time.Duration, enough func(look) (bool, error)) error {
	if !s.follows.take(x.who.Token) {
		return s.tooManyFollow()
	}
	defer s.follows.give(x.who.Token)
	f, done, err := s.feeds.follow(job, x.who.Token)
	if err != nil {
		return err
	}
	defer done()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		l := f.look(place{})
		if over, err := enough(l); over || err != nil {
			return err
		}
		select {
		case <-l.changed:
		case <-timeout.C:
			return nil
		case <-x.Context().Done():
			return x.Context().Err()
		}
	}
}

func (s *Server) tooManyFollow() error {
	return problem("busy", "as many requests wait for jobs or read logs as may, in all or of this token").retry(5 * time.Second)
}

// ended is what most wait for.
func ended(job jobs.Job) bool { return job.State.Terminal() }

// waiting is how the caller wants to be answered about a job that it waits for.
type waiting struct {
	wait time.Duration
	// fail answers with a problem when the job did not succeed.
	fail bool
}

var preferred = regexp.MustCompile(`(?:^|[,;\s])wait=(\d+)`)

// waiting reads wait=10m, or Prefer: wait=600, and fail.
func (x *exchange) waiting() (w waiting, err error) {
	if w.wait, err = x.duration("wait", longestWait); err != nil {
		return w, err
	}
	if m := preferred.FindStringSubmatch(strings.Join(x.Request.Header.Values("Prefer"), ",")); m != nil && !x.params.Has("wait") {
		seconds, err := strconv.Atoi(m[1])
		if err != nil {
			seconds = int(longestWait / time.Second)
		}
		w.wait = min(time.Duration(seconds)*time.Second, longestWait)
	}
	w.fail, err = x.flag("fail")
	return w, err
}

// outcome answers with a job: with 200 when it has ended, and absent so with status. With fail,
// a job that did not succeed is a problem of its kind.
func (x *exchange) outcome(w waiting, status int, job jobs.Job) error {
	x.ResponseWriter.Header().Set("Location", "/v1/jobs/"+job.ID)
	switch {
	case !job.State.Terminal():
		return x.json(status, job)
	case w.fail && job.State != jobs.Succeeded:
		return ofJob(job)
	}
	return x.json(http.StatusOK, job)
}

// ofJob is the problem of a job that did not succeed.
func ofJob(job jobs.Job) *Problem {
	p := ofKind(jobs.KindInternal, "the job is "+string(job.State), "")
	if r := job.Result; r != nil && r.Failure != nil {
		p = ofKind(r.Failure.Kind, r.Failure.Message, r.Failure.Hint)
	}
	p.Job = &job
	return p
}
