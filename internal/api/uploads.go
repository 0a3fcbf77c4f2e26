package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A context can come in pieces, so that a transfer that breaks goes on where it was:
//
//	POST  /v1/uploads           Upload-Complete: ?0   the first piece, may be empty
//	HEAD  /v1/uploads/{upload}                        how much has come: Upload-Offset
//	PATCH /v1/uploads/{upload}  Upload-Offset: N      the next piece
//	PATCH ...                   Upload-Complete: ?1   the last piece
//
// The headers are those of the IETF's draft of resumable uploads. What has come is a file of
// this server's until the last piece is there.
const (
	offsetHeader   = "Upload-Offset"
	completeHeader = "Upload-Complete"
	// uploadKept is for how long an upload is kept to which nothing comes.
	uploadKept = 24 * time.Hour
	// mostUploads is how many are kept.
	mostUploads = 1000
)

// uploadNote is what is kept of an upload beside what has come.
type uploadNote struct {
	// Token is whose it is: no other may add to it.
	Token      string `json:"token"`
	Dockerfile string `json:"dockerfile,omitempty"`
	Digest     string `json:"digest,omitempty"`
}

// uploadFiles keeps uploads in a directory.
type uploadFiles struct {
	dir string

	mu   sync.Mutex
	busy map[string]bool
}

var uploadPattern = regexp.MustCompile(`^[a-z0-9]{26}$`)

func (u *uploadFiles) part(id string) string { return filepath.Join(u.dir, id+".part") }
func (u *uploadFiles) note(id string) string { return filepath.Join(u.dir, id+".json") }

// hold makes the caller the only one that works on an upload.
func (u *uploadFiles) hold(id string) (release func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy[id] {
		return nil, problem("busy", "another request adds to this upload").retry(time.Second)
	}
	if u.busy == nil {
		u.busy = map[string]bool{}
	}
	u.busy[id] = true
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.busy, id)
	}, nil
}

// begin makes an upload without content.
func (u *uploadFiles) begin(n uploadNote) (string, error) {
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return "", fmt.Errorf("make the directory for uploads: %w", err)
	}
	if err := u.tidy(time.Now()); err != nil {
		return "", err
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("encode the note of an upload: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := os.WriteFile(u.part(id), nil, 0o600); err != nil {
		return "", fmt.Errorf("begin an upload: %w", err)
	}
	// The note comes last: without it there is no upload.
	if err := os.WriteFile(u.note(id), raw, 0o600); err != nil {
		return "", fmt.Errorf("begin an upload: %w", errors.Join(err, os.Remove(u.part(id))))
	}
	return id, nil
}

// tidy removes uploads that were left alone, and refuses more when there are too many.
func (u *uploadFiles) tidy(now time.Time) error {
	entries, err := os.ReadDir(u.dir)
	if err != nil {
		return fmt.Errorf("list uploads: %w", err)
	}
	n := 0
	for _, e := range entries {
		id, isPart := strings.CutSuffix(e.Name(), ".part")
		info, err := e.Info()
		if !isPart || !uploadPattern.MatchString(id) || err != nil {
			continue
		}
		if now.Sub(info.ModTime()) < uploadKept {
			n++
			continue
		}
		if release, err := u.hold(id); err == nil {
			u.drop(id)
			release()
		}
	}
	if n >= mostUploads {
		return problem("busy", "%d uploads have begun and not ended", n).retry(time.Minute)
	}
	return nil
}

// drop removes an upload; what is left of it goes with a later tidy.
func (u *uploadFiles) drop(id string) {
	_ = os.Remove(u.note(id))
	_ = os.Remove(u.part(id))
}

// find returns an upload of the principal, and how much of it has come.
func (u *uploadFiles) find(x *exchange) (id string, n uploadNote, offset int64, err error) {
	id = x.PathValue("upload")
	none := problem("not_found", "there is no such upload").hint("begin one with POST /v1/uploads; those to which nothing comes for a day are removed")
	if !uploadPattern.MatchString(id) {
		return id, n, 0, none
	}
	raw, err := os.ReadFile(u.note(id))
	if errors.Is(err, fs.ErrNotExist) {
		return id, n, 0, none
	}
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return id, n, 0, fmt.Errorf("read the note of upload %s: %w", id, err)
	}
	if n.Token != x.who.Token {
		return id, n, 0, none
	}
	info, err := os.Stat(u.part(id))
	if err != nil {
		return id, n, 0, fmt.Errorf("look at upload %s: %w", id, err)
	}
	return id, n, info.Size(), nil
}

// add appends a piece, as much of it as comes: what has come stays when the rest does not.
func (u *uploadFiles) add(id string, r io.Reader, most int64) (size int64, err error) {
	f, err := os.OpenFile(u.part(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, fmt.Errorf("open upload %s: %w", id, err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("look at upload %s: %w", id, err), f.Close())
	}
	n, err := io.Copy(f, io.LimitReader(r, most-info.Size()+1))
	size = info.Size() + n
	if err == nil && size > most {
		err = contexts.TooMuchCompressed(most)
	}
	return size, errors.Join(err, f.Close())
}

// complete reads Upload-Complete, a boolean of structured fields.
func (x *exchange) complete(absent bool) (bool, error) {
	switch text := x.Request.Header.Get(completeHeader); text {
	case "":
		return absent, nil
	case "?0":
		return false, nil
	case "?1":
		return true, nil
	default:
		return false, &ParameterError{completeHeader, fmt.Sprintf("found %q; want ?0 or ?1", jobs.Clip(text)), ""}
	}
}

// beginUpload answers POST /v1/uploads.
func (s *Server) beginUpload(x *exchange) error {
	last, err := x.complete(true)
	if err != nil {
		return err
	}
	n := uploadNote{Token: x.who.Token, Dockerfile: x.params.Get("dockerfile"), Digest: x.params.Get("digest")}
	id, err := s.parts.begin(n)
	if err != nil {
		return err
	}
	x.ResponseWriter.Header().Set("Location", "/v1/uploads/"+id)
	return s.addPart(x, id, n, 0, last, http.StatusCreated)
}

// resumeUpload answers PATCH /v1/uploads/{upload}.
func (s *Server) resumeUpload(x *exchange) error {
	last, err := x.complete(false)
	if err != nil {
		return err
	}
	id, n, offset, err := s.parts.find(x)
	if err != nil {
		return err
	}
	from, err := strconv.ParseInt(x.Request.Header.Get(offsetHeader), 10, 64)
	if err != nil {
		return &ParameterError{offsetHeader, "want the number of bytes that have come", fmt.Sprintf("%d have; HEAD tells", offset)}
	}
	return s.addPart(x, id, n, from, last, http.StatusNoContent)
}

// addPart appends the body, and stores the context when that was the last piece.
func (s *Server) addPart(x *exchange, id string, n uploadNote, from int64, last bool, status int) error {
	release, err := s.parts.hold(id)
	if err != nil {
		return err
	}
	defer release()
	info, err := os.Stat(s.parts.part(id))
	if err != nil {
		return fmt.Errorf("look at upload %s: %w", id, err)
	}
	h := x.ResponseWriter.Header()
	h.Set(offsetHeader, strconv.FormatInt(info.Size(), 10))
	if from != info.Size() {
		return problem("upload_offset_wrong", "the piece begins at %d, and %d bytes have come", from, info.Size()).hint("go on at %d", info.Size())
	}
	size, err := s.parts.add(id, x.Body, s.Limits.Complete().Compressed)
	h.Set(offsetHeader, strconv.FormatInt(size, 10))
	if err != nil {
		return err
	}
	if !last {
		h.Set(completeHeader, "?0")
		x.WriteHeader(status)
		return nil
	}
	f, err := os.Open(s.parts.part(id))
	if err != nil {
		return fmt.Errorf("open upload %s: %w", id, err)
	}
	defer f.Close() // only read
	h.Set(completeHeader, "?1")
	err = s.keepContext(x, f, n.Dockerfile, n.Digest)
	if err == nil || problemOf(err).Fault == jobs.UserFault {
		s.parts.drop(id) // a store that failed is tried again with an empty last piece
	}
	return err
}

// upload answers HEAD and GET /v1/uploads/{upload}.
func (s *Server) upload(x *exchange) error {
	_, _, offset, err := s.parts.find(x)
	if err != nil {
		return err
	}
	h := x.ResponseWriter.Header()
	h.Set(offsetHeader, strconv.FormatInt(offset, 10))
	h.Set(completeHeader, "?0")
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// dropUpload answers DELETE /v1/uploads/{upload}.
func (s *Server) dropUpload(x *exchange) error {
	id, _, _, err := s.parts.find(x)
	if err != nil {
		return err
	}
	release, err := s.parts.hold(id)
	if err != nil {
		return err
	}
	defer release()
	s.parts.drop(id)
	x.WriteHeader(http.StatusNoContent)
	return nil
}
