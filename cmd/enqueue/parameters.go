package main

import (
	"errors"
	"maps"
	"net/url"
	"slices"

	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The parameters of a submission over HTTP are the flags of submit that are about the job
// document, by their long names, and these:
const (
	// contextParam is a reference, as PATH may be one.
	contextParam = "context"
	// commandParam is a word of the container's command; it is repeated for each.
	commandParam = "command"
)

// parameters lists them.
func parameters() []string {
	names := []string{contextParam, commandParam}
	for f := range newTable(&options{}, nil).rows(row.isParameter) {
		names = append(names, f.name)
	}
	return names
}

// isParameter reports whether the flag is about the document alone. The environment and the
// files of the server are none of the client's.
func (f row) isParameter() bool { return len(f.pointers) > 0 || f.name == "run" }

// fromParameters applies parameters to a document.
func fromParameters(base jobs.Spec, params url.Values) (jobs.Spec, error) {
	o := &options{}
	r := request{options: o, table: newTable(o, nil), base: base, command: params[commandParam]}
	fs := pflag.NewFlagSet("parameters", pflag.ContinueOnError)
	for f := range r.table.rows(row.isParameter) {
		f.declare(fs, f)
	}
	r.changed = fs.Changed
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == contextParam || name == commandParam {
			continue
		}
		for _, v := range params[name] {
			if f := fs.Lookup(name); v == "" && f != nil && f.NoOptDefVal != "" {
				v = f.NoOptDefVal // ?run is ?run=true
			}
			if err := fs.Set(name, v); err != nil {
				if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
					err = notValue(invalid)
				}
				return base, &api.ParameterError{Name: name, Message: err.Error()}
			}
		}
	}
	if refs := params[contextParam]; len(refs) > 0 {
		if len(refs) > 1 || base.Context != nil {
			return base, &api.ParameterError{Name: contextParam, Message: "a job has one context", Hint: "leave out the others"}
		}
		r.hasContext = true
	}
	r.dockerfile = o.file
	builds := r.hasContext || base.Build != nil || r.asks(buildHalf) != "" || r.changed("file")
	spec := r.apply(builds, r.runs())
	if r.hasContext {
		spec.Context = copyOf(spec.Context)
		spec.Context.Ref = params.Get(contextParam)
	}
	return spec, nil
}
