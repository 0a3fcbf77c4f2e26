package flags

import (
	"maps"
	"net/url"
	"slices"

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

// ParameterError says what is wrong with a parameter.
type ParameterError struct{ Name, Message, Hint string }

func (e *ParameterError) Error() string { return e.Name + ": " + e.Message }

// Parameters lists them.
func Parameters() []string {
	names := []string{contextParam, commandParam}
	for f := range New(&Options{}, nil).Rows(Row.isParameter) {
		names = append(names, f.Name)
	}
	return names
}

// isParameter reports whether the flag is about the document alone. The environment and the
// files of the server are none of the client's.
func (f Row) isParameter() bool { return len(f.Pointers) > 0 || f.Name == "run" }

// FromParameters applies parameters to a document, which stays as it is. The error is a
// [*ParameterError].
func FromParameters(base jobs.Spec, params url.Values) (jobs.Spec, error) {
	o := &Options{}
	r := Request{Options: o, Table: New(o, nil), Base: base, Command: params[commandParam]}
	fs := r.Table.Flags(Row.isParameter)
	r.Changed = fs.Changed
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == contextParam || name == commandParam {
			continue
		}
		for _, v := range params[name] {
			if f := fs.Lookup(name); v == "" && f != nil && f.NoOptDefVal != "" {
				v = f.NoOptDefVal // ?run is ?run=true
			}
			if err := fs.Set(name, v); err != nil {
				return base, &ParameterError{Name: name, Message: NotValue(err).Error()}
			}
		}
	}
	if refs := params[contextParam]; len(refs) > 0 {
		if len(refs) > 1 || base.Context != nil {
			return base, &ParameterError{Name: contextParam, Message: "a job has one context", Hint: "leave out the others"}
		}
		r.HasContext = true
	}
	r.Dockerfile = o.File
	builds := r.HasContext || base.Build != nil || r.asks(buildHalf) != "" || r.Changed("file")
	spec := r.apply(builds, r.runs())
	if r.HasContext {
		spec.Context = copyOf(spec.Context)
		spec.Context.Ref = params.Get(contextParam)
	}
	return spec, nil
}
