package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a job document before it is looked into.
const (
	// MaxSpecBytes is the largest document accepted.
	MaxSpecBytes = 256 << 10
	maxDepth     = 32
)

// DecodeSpec reads one job document strictly: unknown fields, duplicate keys,
// wrong types, trailing data and oversized or deeply nested input are refused
// with an [*Invalid] that names the place. It does not call Validate.
func DecodeSpec(data []byte) (Spec, error) {
	var s Spec
	if err := decodeStrict(data, &s); err != nil {
		return s, err
	}
	var p problems
	if s.Cause != nil {
		p.add("cause_reserved", "/cause", "only the farm sets it; leave it out")
	}
	return s, p.err()
}

// DecodeEnvelope reads the payload of a task, {id, spec}; Spec is nil in a
// ticket that only refers to a record. When the document is refused the ID is
// still returned if there is one, so that the refusal can be reported.
func DecodeEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	err := decodeStrict(data, &e)
	if err != nil {
		var only struct{ ID string }
		_ = json.Unmarshal(data, &only) // the refusal is err already
		e = Envelope{ID: only.ID}
	}
	return e, err
}

// Envelope is the payload of an asynq task. A ticket of the farm has only the
// ID; a plain asynq producer sends the document too.
type Envelope struct {
	ID   string `json:"id"`
	Spec *Spec  `json:"spec,omitempty"`
}

func decodeStrict(data []byte, into any) error {
	var ps problems
	if len(data) > MaxSpecBytes {
		ps.add("spec_too_large", "", "%d bytes; the limit is %d", len(data), MaxSpecBytes)
		return ps.err()
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	w := walker{dec: dec, data: data}
	w.value("", reflect.TypeOf(into).Elem(), 0)
	if w.syntax == nil {
		end := dec.InputOffset()
		if rest := bytes.TrimLeft(data[end:], " \t\r\n"); len(rest) > 0 {
			w.add("spec_invalid", "", "%s: more data after the end of the document", w.at(int64(len(data)-len(rest))))
		}
	}
	if at, what := notText(data); w.syntax == nil && what != "" {
		w.add("text_invalid", "", "%s: %s", w.at(int64(at)), what)
	}
	if w.syntax != nil {
		w.list = []Problem{{Code: "spec_invalid", Message: w.syntax.Error()}}
	}
	if err := w.err(); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		ps.add("spec_invalid", "", "%v", err)
	}
	return ps.err()
}

// walker reads a document token by token beside the Go type it should fit.
type walker struct {
	problems
	dec    *json.Decoder
	data   []byte
	syntax error
}

func (w *walker) at(offset int64) string {
	before := w.data[:min(offset, int64(len(w.data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	col := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, col)
}

func (w *walker) token() json.Token {
	if w.syntax != nil {
		return nil
	}
	tok, err := w.dec.Token()
	if err != nil {
		w.syntax = w.notJSON(err)
	}
	return tok
}

// notJSON says where the document stops being JSON. A decoder that reads token
// by token knows that only roughly, a check of the whole document exactly.
func (w *walker) notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: not valid JSON: the document ends too early", w.at(int64(len(w.data))))
	}
	offset := w.dec.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(w.data, new(json.RawMessage)), &syntax) {
		offset, err = syntax.Offset-1, syntax
	}
	return fmt.Errorf("%s: not valid JSON: %w", w.at(offset), err)
}

var unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

// value reads one JSON value that should fit t. A nil t means that the value
// belongs to an unknown field: it is read and not judged.
func (w *walker) value(ptr string, t reflect.Type, depth int) {
	tok := w.token()
	if w.syntax != nil {
		return
	}
	if depth > maxDepth {
		w.syntax = fmt.Errorf("%s: nested deeper than %d levels", w.at(w.dec.InputOffset()), maxDepth)
		return
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			w.object(ptr, t, depth)
			return
		}
		w.array(ptr, t, depth)
	case nil:
		// null is the absent value.
	default:
		w.scalar(ptr, t, v)
	}
}

func (w *walker) object(ptr string, t reflect.Type, depth int) {
	var fields map[string]reflect.Type
	isMap := false
	switch {
	case t == nil:
	case t.Kind() == reflect.Struct:
		fields = fieldTypes(t)
	case t.Kind() == reflect.Map:
		isMap = true
	default:
		w.add("spec_wrong_type", ptr, "found an object, want %s", describe(t))
		t = nil
	}
	seen := map[string]bool{}
	for w.syntax == nil && w.dec.More() {
		key, _ := w.token().(string)
		at := ptr + "/" + escape(key)
		if seen[key] {
			w.add("spec_duplicate_key", at, "the key stands twice")
		}
		seen[key] = true
		var ft reflect.Type
		switch {
		case isMap:
			ft = t.Elem()
		case t != nil:
			var ok bool
			if ft, ok = fields[key]; !ok {
				w.unknown(at, key, fields)
			}
		}
		w.value(at, ft, depth+1)
	}
	w.token()
}

func (w *walker) unknown(at, key string, fields map[string]reflect.Type) {
	hint := ""
	if n := Nearest(key, slices.Sorted(maps.Keys(fields))); n != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", n)
	}
	w.add("spec_unknown_field", at, "unknown field %q%s", Clip(key), hint)
}

func (w *walker) array(ptr string, t reflect.Type, depth int) {
	var et reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		et = t.Elem()
	} else if t != nil {
		w.add("spec_wrong_type", ptr, "found a list, want %s", describe(t))
	}
	for i := 0; w.syntax == nil && w.dec.More(); i++ {
		w.value(ptr+"/"+strconv.Itoa(i), et, depth+1)
	}
	w.token()
}

func (w *walker) scalar(ptr string, t reflect.Type, v any) {
	if t == nil {
		return
	}
	if reflect.PointerTo(t).Implements(unmarshalerType) {
		raw, _ := json.Marshal(v)
		if err := reflect.New(t).Interface().(json.Unmarshaler).UnmarshalJSON(raw); err != nil {
			w.add("spec_wrong_type", ptr, "%v", err)
		}
		return
	}
	ok := false
	switch v := v.(type) {
	case string:
		ok = t.Kind() == reflect.String
	case bool:
		ok = t.Kind() == reflect.Bool
	case json.Number:
		switch t.Kind() {
		case reflect.Int, reflect.Int64:
			_, err := strconv.ParseInt(v.String(), 10, t.Bits())
			ok = err == nil
		case reflect.Float64:
			_, err := v.Float64()
			ok = err == nil
		}
	}
	if !ok {
		w.add("spec_wrong_type", ptr, "found %s, want %s", found(v), describe(t))
	}
}

// fieldTypes maps the JSON names of a struct to the types of its fields.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	m := make(map[string]reflect.Type, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			m[name] = t.Field(i).Type
		}
	}
	return m
}

func found(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %q", Clip(v))
	case json.Number:
		return "the number " + Clip(v.String())
	default:
		return fmt.Sprint(v)
	}
}

func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return `a duration such as "90s"`
	case reflect.TypeFor[Bytes]():
		return `a size such as "512m"`
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}

func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(Clip(key))
}
