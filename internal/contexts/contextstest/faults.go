package contextstest

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

// Fault is how a server misbehaves once.
type Fault struct {
	// Status is answered instead of the content, with these headers.
	Status int
	Header map[string]string
	// Cut ends the connection after so many bytes of the body; Silent pretends
	// that this is the end, by sending no length. Stall keeps it open instead,
	// until the client goes away.
	Cut    int
	Silent bool
	Stall  bool
	// Slow sends a byte and waits this long, again and again.
	Slow time.Duration
	// Flip damages the byte at Flip-1 of the content.
	Flip int
	// Length is what Content-Length says, if it is not the truth.
	Length int
	// NoRange ignores what part was asked for, NoTag sends no validator.
	NoRange, NoTag bool
	// Content replaces the content.
	Content []byte
}

// FaultServer serves content, with one fault after the other; the last one
// stays. Without faults it behaves.
type FaultServer struct {
	Content []byte
	Faults  []Fault
	// Header goes with every answer.
	Header map[string]string

	mu       sync.Mutex
	requests []*http.Request
}

// Requests are those that came so far.
func (s *FaultServer) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.requests...)
}

// Reset forgets the requests and begins with the first fault again.
func (s *FaultServer) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// ServeHTTP implements http.Handler.
func (s *FaultServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var f Fault
	if n := len(s.requests); len(s.Faults) > 0 {
		f = s.Faults[min(n, len(s.Faults)-1)]
	}
	s.requests = append(s.requests, r)
	s.mu.Unlock()

	for k, v := range s.Header {
		w.Header().Set(k, v)
	}
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	if f.Status != 0 {
		http.Error(w, http.StatusText(f.Status), f.Status)
		return
	}
	content := s.Content
	if f.Content != nil {
		content = f.Content
	}
	tag := `"` + artifactstest.Digest(content) + `"`
	if f.Flip > 0 {
		content = bytes.Clone(content)
		content[f.Flip-1] ^= 0x55
	}
	if !f.NoTag {
		w.Header().Set("ETag", tag)
	}
	if f.NoRange {
		r.Header.Del("Range")
	}
	if f.Cut == 0 && f.Slow == 0 && f.Length == 0 && !f.Silent && !f.Stall {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		return
	}
	f.raw(w, r, content, tag)
}

// raw writes an answer that no honest server writes.
func (f Fault) raw(w http.ResponseWriter, r *http.Request, content []byte, tag string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // the test's server speaks HTTP/1.1
	}
	defer conn.Close()
	from, partial := 0, ""
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && r.Header.Get("If-Range") == tag {
		partial = fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", from, len(content)-1, len(content))
	} else {
		from = 0
	}
	body := content[from:]
	length := len(body)
	if f.Length > 0 {
		length = f.Length
	}
	status := "200 OK"
	if partial != "" {
		status = "206 Partial Content"
	}
	_, _ = buf.WriteString("HTTP/1.1 " + status + "\r\nConnection: close\r\n" + partial)
	_ = w.Header().Write(buf)
	if !f.Silent {
		_, _ = buf.WriteString("Content-Length: " + strconv.Itoa(length) + "\r\n")
	}
	_, _ = buf.WriteString("\r\n")
	if f.Cut > 0 {
		body = body[:min(f.Cut, len(body))]
	}
	switch {
	case f.Slow > 0:
		for _, b := range body {
			if buf.WriteByte(b) != nil || buf.Flush() != nil {
				return // the client went away
			}
			time.Sleep(f.Slow)
		}
	default:
		_, _ = buf.Write(body)
	}
	_ = buf.Flush()
	if f.Stall {
		_, _ = conn.Read(make([]byte, 1)) // until the client goes away
	}
}
