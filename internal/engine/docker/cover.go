package docker

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/mask"
)

// cover has the secrets of a build, and what each of its outputs may end with of one.
type cover struct {
	mask    mask.Values
	outputs map[output]*mask.Stream
}

// output is a stream of a step.
type output struct {
	step   digest.Digest
	stream int
}

// logs covers what steps printed.
func (c *cover) logs(s *client.SolveStatus) {
	if c.mask.Empty() {
		return
	}
	for _, l := range s.Logs {
		at := output{l.Vertex, l.Stream}
		if c.outputs[at] == nil {
			if c.outputs == nil {
				c.outputs = map[output]*mask.Stream{}
			}
			c.outputs[at] = c.mask.Stream()
		}
		l.Data = c.outputs[at].Next(l.Data)
	}
	s.Logs = slices.DeleteFunc(s.Logs, func(l *client.VertexLog) bool { return len(l.Data) == 0 })
}

// names covers how steps are called and how they ended. They come from the Dockerfile, which
// may have a value of its own accord.
func (c *cover) names(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		v.Name, v.Error = c.mask.Text(v.Name), c.mask.Text(v.Error)
	}
}

// rest is what was held back of each output. BuildKit may pass output on when it has told
// that the step is over, so this is for the end of the build.
func (c *cover) rest() *client.SolveStatus {
	s := &client.SolveStatus{}
	for _, at := range slices.SortedFunc(maps.Keys(c.outputs), func(a, b output) int { return a.stream - b.stream }) {
		if data := c.outputs[at].Rest(); len(data) > 0 {
			s.Logs = append(s.Logs, &client.VertexLog{Vertex: at.step, Stream: at.stream, Data: data, Timestamp: time.Now()})
		}
	}
	c.outputs = nil
	return s
}

// failure covers what a person is told of a build that failed.
func (c *cover) failure(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		f.Message = c.mask.Text(f.Message)
	}
	return err
}
