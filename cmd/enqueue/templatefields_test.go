package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A field that no document of a type has is refused; one that only this document has not is
// not, and neither is what the type does not tell.
func TestTemplateFields(t *testing.T) {
	t.Parallel()
	type inner struct {
		Shared string `json:"shared"`
	}
	type document struct {
		inner
		Job    *jobs.Job      `json:"job,omitempty"`
		Any    any            `json:"any"`
		At     time.Time      `json:"at"`
		Plain  []inner        // by its own name
		Hidden string         `json:"-"`
		Map    map[string]int `json:"map"`
	}
	for template, want := range map[string]string{
		"plain text":                         "",
		"{{.}} {{.shared}} {{json .job}}":    "",
		"{{.job.result.image_id}}":           "",
		"{{.job.spec.labels.anything}}":      "",
		"{{.any.thing}} {{.map.key}}":        "",
		"{{range .Plain}}{{.shared}}{{end}}": "",
		"{{range $i, $o := .job.result.outputs}}{{$o.nope}}{{.path}}{{end}}": "",
		"{{with .job}}{{.id}}{{else}}{{.shared}}{{end}}":                     "",
		"{{(index .job.result.outputs 0).nope}}":                             "",
		"{{define \"a\"}}{{.nope}}{{end}}":                                   "",
		"{{.nope}}":                                                          "{{.nope}}: there is no field nope",
		"{{.job.result.imageid}}":                                            "there is no field imageid|did you mean image_id?",
		"{{json .job.stat}}":                                                 "there is no field stat|did you mean state?",
		"{{.job.seq}}":                                                       "there is no field seq",
		"{{.Hidden}}":                                                        "there is no field Hidden|there are Plain, any, at, job, map, shared",
		"{{if .nope}}x{{end}}":                                               "there is no field nope",
		"{{if .job}}x{{else}}{{.nope}}{{end}}":                               "there is no field nope",
		"{{range .job.result.outputs}}{{.file}}{{end}}":                      "there is no field file",
		"{{with .job}}{{.shared}}{{end}}":                                    "there is no field shared",
		"{{with .job}}{{$.shared}}{{$.nope}}{{end}}":                         "there is no field nope",
		"{{(.job).nope}}":                                                    "there is no field nope",
		"{{range .Plain}}{{else}}{{.nope}}{{end}}":                           "there is no field nope",
		"{{with $j := .job}}{{.nope}}{{$j.whatever}}{{end}}":                 "there is no field nope",
		"{{.job.id | printf \"%s %s\" .job.nope}}":                           "there is no field nope",
	} {
		p, err := newPrinter(io.Discard, "template="+template)
		if err != nil {
			t.Fatal(err)
		}
		err = p.fits(&document{})
		what, hint, _ := strings.Cut(want, "|")
		f, _ := err.(failure) //nolint:errorlint // it is made so
		if (err != nil) != (want != "") || !strings.Contains(f.what, what) || !strings.Contains(f.hint, hint) {
			t.Errorf("%s: error %q, hint %q; want %q", template, f.what, f.hint, want)
		}
	}
}
