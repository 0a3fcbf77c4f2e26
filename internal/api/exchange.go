package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// exchange is a request of a principal, and the way to answer it.
type exchange struct {
	http.ResponseWriter
	*http.Request
	who    access.Principal
	params url.Values
	// leaveBody bounds the read of the body that another goroutine is in, and lets no other begin.
	leaveBody func()
}

// json answers with a document.
func (x *exchange) json(status int, doc any) error {
	x.ResponseWriter.Header().Set("Content-Type", "application/json")
	x.WriteHeader(status)
	if x.Method == http.MethodHead {
		return nil
	}
	_ = encode(x.ResponseWriter, doc) // the client sees that it is cut off
	return nil
}

// text answers with lines of text.
func (x *exchange) text(format string, args ...any) error {
	x.ResponseWriter.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(x.ResponseWriter, format, args...)
	return nil
}

// tagged answers with a document and its ETag, or that the client has it.
func (x *exchange) tagged(doc any) error {
	tag, err := etag(doc)
	if err != nil {
		return err
	}
	x.ResponseWriter.Header().Set("ETag", tag)
	if matches(x.Request.Header.Get("If-None-Match"), tag) {
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	return x.json(http.StatusOK, doc)
}

// etag is a strong one: equal documents have equal tags, on every server.
func etag(doc any) (string, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("encode the answer: %w", err)
	}
	sum := sha256.Sum256(raw)
	return `"` + hex.EncodeToString(sum[:16]) + `"`, nil
}

func matches(header, tag string) bool {
	for _, part := range strings.Split(header, ",") {
		if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == tag || part == "*" {
			return true
		}
	}
	return false
}

// document reads a JSON body into doc, strictly. An absent body leaves it as it is.
func (x *exchange) document(doc any) error {
	if err := x.wants("application/json"); err != nil {
		return err
	}
	dec := json.NewDecoder(x.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && dec.More() {
		err = errors.New("more data after the end of the document")
	}
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return problem("body_invalid", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return err
}

// wants refuses a body of a known other type. What has none is taken for what is wanted;
// curl calls everything a form unless it is told.
func (x *exchange) wants(types ...string) error {
	header := x.Request.Header.Get("Content-Type")
	got, _, err := mime.ParseMediaType(header)
	if header == "" || got == "application/x-www-form-urlencoded" || slices.Contains(types, got) {
		return nil
	}
	if err != nil {
		got = header
	}
	return problem("media_type_unsupported", "found %q; want %s", jobs.Clip(got), jobs.Either(types))
}

// known refuses parameters that the route does not know, and ones that come twice.
func known(params url.Values, names, lists []string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		switch {
		case slices.Contains(lists, name):
		case !slices.Contains(names, name):
			hint := "it takes none"
			if all := slices.Concat(names, lists); len(all) > 0 {
				hint = "it takes " + jobs.Either(all)
			}
			if n := jobs.Nearest(name, slices.Concat(names, lists)); n != "" {
				hint = fmt.Sprintf("did you mean %s?", n)
			}
			return &ParameterError{jobs.Clip(name), "unknown parameter", hint}
		case len(params[name]) > 1:
			return &ParameterError{name, "it may come once", ""}
		}
	}
	return nil
}

// duration is a parameter such as wait=90s, from 0 to most. A plain number is seconds.
func (x *exchange) duration(name string, most time.Duration) (time.Duration, error) {
	text := x.params.Get(name)
	if text == "" {
		return 0, nil
	}
	if _, err := strconv.Atoi(text); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, &ParameterError{name, fmt.Sprintf("found %q; want a duration from 0 to %s, such as 90s", jobs.Clip(text), jobs.Duration(most)), ""}
	}
	return d, nil
}

// time is a parameter that is a time of RFC 3339.
func (x *exchange) time(name string) (time.Time, error) {
	text := x.params.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &ParameterError{name, fmt.Sprintf("found %q; want a time such as 2006-01-02T15:04:05Z", jobs.Clip(text)), ""}
	}
	return at, nil
}

// number is a parameter that counts something.
func (x *exchange) number(name string, least, most, absent int) (int, error) {
	text := x.params.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &ParameterError{name, fmt.Sprintf("found %q; want a number from %d to %d", jobs.Clip(text), least, most), ""}
	}
	return n, nil
}

// flag is a parameter that is true or false; alone it is true.
func (x *exchange) flag(name string) (bool, error) {
	if !x.params.Has(name) {
		return false, nil
	}
	switch text := x.params.Get(name); text {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, &ParameterError{name, fmt.Sprintf("found %q; want true or false", jobs.Clip(text)), ""}
	}
}

// word is a parameter that is one of a few words, the first of them when it is absent.
func (x *exchange) word(name string, words ...string) (string, error) {
	text := x.params.Get(name)
	if text == "" {
		return words[0], nil
	}
	if !slices.Contains(words, text) {
		return "", &ParameterError{name, fmt.Sprintf("found %q; want %s", jobs.Clip(text), jobs.Either(words)), ""}
	}
	return text, nil
}
