package api

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

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
	// mostUploads is how many are kept, mostOwn of one principal: the others have to have room.
	mostUploads = 1000
	mostOwn     = mostUploads / 10
)

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
	if err := checkDigest(n.Digest); err != nil { // before all of it has come
		return err
	}
	id, err := s.parts.begin(n)
	if err != nil {
		return noRoom(err)
	}
	f, err := s.parts.hold(id)
	if err != nil {
		return err
	}
	defer f.Close() // what was written is looked at when it is read
	x.ResponseWriter.Header().Set("Location", "/v1/uploads/"+id)
	return s.addPart(x, f, id, n, 0, last, http.StatusCreated)
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
	f, err := s.parts.hold(id)
	if err != nil {
		return err
	}
	defer f.Close() // what was written is looked at when it is read
	return s.addPart(x, f, id, n, from, last, http.StatusNoContent)
}

// addPart appends the body to an upload that is held, and stores the context when that was the
// last piece.
func (s *Server) addPart(x *exchange, f *os.File, id string, n uploadNote, from int64, last bool, status int) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at upload %s: %w", id, err)
	}
	h := x.ResponseWriter.Header()
	h.Set(offsetHeader, strconv.FormatInt(info.Size(), 10))
	if from != info.Size() {
		return problem("upload_offset_wrong", "the piece begins at %d, and %d bytes have come", from, info.Size()).hint("go on at %d", info.Size())
	}
	size, err := appendPiece(f, &sparing{Reader: x.Body, u: &s.parts}, from, s.Limits.Complete())
	h.Set(offsetHeader, strconv.FormatInt(size, 10))
	if err != nil {
		if problemOf(err).Fault == jobs.UserFault || size == 0 && from == 0 && problemOf(err).Status == http.StatusInsufficientStorage {
			h.Del("Location")
			s.parts.drop(id) // nothing can make it whole, or nothing of it is there
		}
		return err
	}
	if !last {
		h.Set(completeHeader, "?0")
		x.WriteHeader(status)
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read upload %s: %w", id, err)
	}
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
	f, err := s.parts.hold(id)
	if err != nil {
		return err
	}
	defer f.Close() // it goes away
	s.parts.drop(id)
	x.WriteHeader(http.StatusNoContent)
	return nil
}
