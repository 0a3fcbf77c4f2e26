package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/template"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/safetext"
)

// printer writes documents in the format of -o. Field names are the API's in
// every format.
type printer struct {
	w    io.Writer
	kind string // "", table, wide, json, jsonl, name, template
	tmpl *template.Template
}

// newPrinter understands -o: json, jsonl, name, template=TEXT, or one of the
// verb's own words.
func newPrinter(w io.Writer, format string, own ...string) (printer, error) {
	p := printer{w: w, kind: format}
	text, isTemplate := strings.CutPrefix(format, "template=")
	known := append(own, "json", "jsonl", "name", "template=...")
	switch {
	case isTemplate:
		var err error
		p.kind = "template"
		p.tmpl, err = template.New("output").Funcs(template.FuncMap{"json": toJSON}).Parse(text)
		if err != nil {
			return p, failure{code: jobs.ExitUsage, what: "--output", err: err, hint: "write fields as {{.id}} and {{.result.image_id}}"}
		}
		return p, nil
	case format == "":
		return p, nil
	}
	for _, k := range known {
		if k == format {
			return p, nil
		}
	}
	hint := ""
	if n := jobs.Nearest(format, known); n != "" {
		hint = fmt.Sprintf("did you mean %s?", n)
	}
	return p, usage(hint, "--output: unknown format %q: want %s", format, jobs.Either(known))
}

func toJSON(v any) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}

// human reports whether no machine-readable format was asked for.
func (p printer) human() bool { return p.kind == "" || p.kind == "table" || p.kind == "wide" }

// fits refuses a template with a field that no document like this one has. Verbs that wait
// before they print ask it before.
func (p printer) fits(doc any) error {
	if p.tmpl == nil || doc == nil {
		return nil
	}
	return checkFields(p.tmpl.Tree, reflect.TypeOf(doc))
}

// one prints a document as json (indented), jsonl (one line) or through the
// template. id is what -o name prints.
func (p printer) one(id string, doc any) error {
	switch p.kind {
	case "name":
		_, err := fmt.Fprintln(p.w, id)
		return err
	case "template":
		fields, err := asFields(doc)
		if err != nil {
			return err
		}
		if err := p.fits(doc); err != nil {
			return err
		}
		w := p.w
		if isTerminal(w) { // the fields are raw
			w = &sanitizer{w: w, keepColor: true}
		}
		if err := p.tmpl.Execute(w, fields); err != nil {
			return failure{code: jobs.ExitUsage, what: "--output", err: err}
		}
		_, err = fmt.Fprintln(p.w)
		return err
	default:
		var text bytes.Buffer
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		if p.kind != "jsonl" {
			enc.SetIndent("", "  ")
		}
		if err := enc.Encode(doc); err != nil {
			return err
		}
		_, err := p.w.Write(safetext.JSON(text.Bytes()))
		return err
	}
}

// printAll prints documents: as one object {"NAME": [...]} in json, one by one else.
func printAll[T any](p printer, name string, docs []T, id func(T) string) error {
	if p.kind == "json" {
		return p.one("", map[string][]T{name: append([]T{}, docs...)})
	}
	for _, d := range docs {
		if err := p.one(id(d), d); err != nil {
			return err
		}
	}
	return nil
}

// many prints jobs: as one object {"jobs": [...]} in json, one by one else. A
// next page token goes into the object.
func (p printer) many(list []jobs.Job, nextPage string) error {
	if p.kind == "json" {
		return p.one("", struct {
			Jobs []jobs.Job `json:"jobs"`
			Next string     `json:"next_page_token,omitempty"`
		}{append([]jobs.Job{}, list...), nextPage})
	}
	for _, j := range list {
		if err := p.one(j.ID, j); err != nil {
			return err
		}
	}
	return nil
}

// asFields is the document as its JSON, so that templates use the API's names.
func asFields(doc any) (any, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("marshal document: %w", err)
	}
	var fields any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	return fields, nil
}
