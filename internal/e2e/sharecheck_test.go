//go:build integration

package e2e_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// check holds one record against its sort, the daemons' events and the counter
// of build steps.
func (s *sharing) check(mark string, job jobs.Job) {
	s.t.Helper()
	want, r := s.lots[mark], job.Result
	bad := func(format string, args ...any) {
		s.t.Errorf("%s job %s (%s) of worker %s: %s\n%+v", want.name, mark, job.ID, r.Worker, fmt.Sprintf(format, args...), *r)
	}
	kind := jobs.Kind("")
	if r.Failure != nil {
		kind = r.Failure.Kind
	}
	attempts := max(want.starts, 1)
	if job.State != want.state || kind != want.kind || job.Attempt != attempts || job.Retries != attempts-1 || job.Losses != 0 {
		bad("%s %s, attempt %d, %d retries, %d losses; want %s %s, attempt %d", job.State, kind, job.Attempt, job.Retries, job.Losses, want.state, want.kind, attempts)
	}
	starts := s.everywhere(job.ID, "start")
	for i, e := range starts {
		if e.attempt() != strconv.Itoa(i+1) {
			bad("start %d is of attempt %s", i+1, e.attempt())
		}
	}
	if len(starts) != want.starts {
		bad("the daemons started %d containers, want %d", len(starts), want.starts)
	}
	made := slices.DeleteFunc(s.events[r.Worker].all(), func(e happening) bool { return e.Action != "create" || e.Actor.ID != r.ContainerID })
	if len(made) != 0 && (len(made) != 1 || made[0].job() != job.ID || made[0].attempt() != strconv.Itoa(job.Attempt)) || want.starts > 0 && len(made) == 0 {
		bad("its daemon made %+v as container %s", made, r.ContainerID)
	}
	if created, gone := s.everywhere(job.ID, "create"), s.everywhere(job.ID, "destroy"); len(created) != len(gone) {
		bad("%d containers were made and %d removed", len(created), len(gone))
	}
	steps := s.counter.of(mark)
	if len(steps) != want.builds || want.builds == 1 && steps[0] != s.hosts[r.Worker].Name {
		bad("its build step ran on %q, want %d times", steps, want.builds)
	}
	if out := s.stdout(job); want.starts > 0 && out != mark+"\n" || want.starts == 0 && out != "" {
		bad("its output is %q", out)
	}
	s.checkFiles(mark, job, bad)
}

// everywhere returns what all daemons did to the job's containers, by attempt.
func (s *sharing) everywhere(id, action string) []happening {
	var all []happening
	for _, l := range s.events {
		all = append(all, slices.DeleteFunc(l.all(), func(e happening) bool { return e.job() != id || e.Action != action })...)
	}
	slices.SortFunc(all, func(a, b happening) int { return cmp.Compare(a.TimeNano, b.TimeNano) })
	return all
}

// checkFiles looks at what the job leaves: an output in the store, a tag on its
// host.
func (s *sharing) checkFiles(mark string, job jobs.Job, bad func(string, ...any)) {
	s.t.Helper()
	r := job.Result
	if want := s.lots[mark].outputs; len(r.Outputs) != want {
		bad("outputs %+v, want %d", r.Outputs, want)
	}
	for _, out := range r.Outputs {
		files := tar.NewReader(bytes.NewReader(s.blob(out.Digest)))
		head, err := files.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if content, err := io.ReadAll(files); err != nil || head.Name != "out" || string(content) != mark+"\n" {
			bad("its output %s holds %q (%v)", head.Name, content, err)
		}
	}
	if job.State == jobs.Succeeded && job.Spec.Build != nil {
		want := []string{r.ImageID}
		if len(job.Spec.Build.Tags) == 0 {
			want = nil // no job can name it, so it goes with the job
		}
		if got := s.tags[r.Worker][mark]; !slices.Equal(got, want) {
			bad("its tag is on its host as %q, want %q", got, want)
		}
	}
}

// readTags lists the tagged images of a host by mark.
func (s *sharing) readTags(worker string) {
	s.t.Helper()
	s.tags[worker] = map[string][]string{}
	for _, line := range docker(s.t, s.hosts[worker], "images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}") {
		repo, id, _ := strings.Cut(line, " ")
		if mark, ok := strings.CutPrefix(repo, "share/"); ok {
			s.tags[worker][mark] = append(s.tags[worker][mark], id)
		}
	}
}

// blob reads from the artifact store.
func (s *sharing) blob(digest string) []byte {
	s.t.Helper()
	r, err := s.blobs().Read(s.t.Context(), digest)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return content
}

// stdout is the output of the job's container in the stored log.
func (s *sharing) stdout(job jobs.Job) string {
	s.t.Helper()
	if job.Result.Log.Digest == "" {
		return ""
	}
	var out strings.Builder
	for frames := jobs.NewFrameReader(bytes.NewReader(s.blob(job.Result.Log.Digest))); ; {
		f, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		} else if err != nil {
			s.t.Fatal(err)
		}
		if f.Stream == jobs.Stdout {
			out.Write(f.Data)
		}
	}
}

// noStrangers checks that the daemon started no container that is not a job's.
func (s *sharing) noStrangers(worker string) {
	s.t.Helper()
	known := map[string]bool{}
	for _, job := range s.jobs {
		known[job.ID] = true
	}
	for _, e := range s.events[worker].all() {
		if e.Action == "start" && !known[e.job()] && e.Actor.Attributes[engine.LabelProbe] == "" {
			s.t.Errorf("host %s started a container that is no job's: %+v", s.hosts[worker].Name, e)
		}
	}
}

// onlyRecords checks that Redis holds the records of the jobs, asynq's
// statistics and nothing that grows beside them.
func (s *sharing) onlyRecords() {
	s.t.Helper()
	rdb, err := redisconn.Open(s.t.Context(), s.redis.SocketURL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer rdb.Close()
	keys, err := rdb.Keys(s.t.Context(), "*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	allowed := regexp.MustCompile(`^(slipway:\{[0-9a-f-]{36}\}:(job|spec|result|past|log|news)|slipway:jobs:(succeeded|failed|refused)|slipway:name:m[0-9]{3}` +
		`|slipway:\{builds\}:(bell:(\+[0-9a-f-]{36}|\w*)|warm:m[0-9]{3}|warmth:[0-9a-f-]{36}|turns:(high|normal|low))|slipway:(leader|caller)|slipway:farm(:name)?|slipway:seat:[0-9a-f-]{36}|slipway:store(:marking)?|slipway:hosts|slipway:collect|slipway:\{ended\}:(stream|ids|cursors|recipes|moved:(metrics|recipes|webhooks):[0-9a-f-]{36})|slipway:\{artifacts\}:pins|asynq:queues|asynq:\{builds(:high|:low)?(~m[0-9]{3}){0,2}\}:(processed|failed)(:[0-9-]+)?)$`)
	for _, key := range keys {
		if !allowed.MatchString(key) {
			s.t.Errorf("redis still has %s", key)
		}
		// What is for those who follow a job must go soon after its end; -1 is
		// Redis' word for never.
		follows := strings.HasSuffix(key, "}:log") || strings.HasSuffix(key, "}:news")
		if follows && rdb.TTL(s.t.Context(), key).Val() == -1 {
			s.t.Errorf("redis keeps %s for ever", key)
		}
	}
	if n := rdb.LLen(s.t.Context(), "slipway:{builds}:bell:").Val(); n > 16 {
		s.t.Errorf("the bell has %d tokens", n)
	}
}
