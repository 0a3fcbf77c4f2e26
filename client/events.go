package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is a server-sent event.
type event struct{ name, id, data string }

// events reads a stream of server-sent events, as the HTML standard has it.
type events struct {
	r *bufio.Reader
	// alive is called for each line, also for those that only keep the connection open.
	alive func()
	// retry is how long the server wants a client to be away before it comes again.
	retry time.Duration
}

// mostEvent bounds an event, in bytes: a job with its document is the largest.
const mostEvent = 32 << 20

var errLargeEvent = fmt.Errorf("an event is larger than %d bytes", mostEvent)

// next returns the next event. One that the stream ends in the middle of does not count: it
// comes again. The error is io.EOF when the stream has ended.
func (s *events) next() (event, error) {
	var e event
	var data []string
	size := 0
	for {
		line, err := s.line(mostEvent - size)
		if err != nil {
			return event{}, err
		}
		s.alive()
		size += len(line)
		if line == "" {
			if e.name == "" && data == nil {
				continue
			}
			e.data = strings.Join(data, "\n")
			return e, nil
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil && ms >= 0 {
				s.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line reads a line without its end.
func (s *events) line(most int) (string, error) {
	var b strings.Builder
	for {
		part, err := s.r.ReadSlice('\n')
		b.Write(part)
		switch {
		case b.Len() > most:
			return "", &unreadable{errLargeEvent}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return "", io.EOF // a line that is cut off is none
		case err != nil:
			return "", fmt.Errorf("read the log: %w", err)
		}
		return strings.TrimRight(b.String(), "\r\n"), nil
	}
}
