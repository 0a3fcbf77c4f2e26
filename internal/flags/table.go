// Package flags has the flags of enqueue submit, and what each does to a job document: as a
// command line has them, and as parameters of the HTTP API. It also has the types of flags
// that other verbs share.
package flags

import (
	"iter"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// half is one of the two things a job can do.
type half string

const (
	neither   half = ""
	buildHalf half = "build"
	runHalf   half = "run"
)

// Row is one row of the table of submit's flags: the flag, and what it does to
// the job document. What help, completion, the document and the report of a
// mistake need of a flag is here and nowhere else.
type Row struct {
	Name, Shorthand, Help string
	// Pointers are the JSON pointers that the flag sets. A problem found at one
	// of them, or below it, is reported as the flag's.
	Pointers []string
	// asks is the half of a job that the flag asks for.
	asks half
	// Words complete the flag's value.
	Words []string
	// Reference is what to do instead when the flag is given and PATH is no
	// reference; "" for a flag that does without.
	Reference string
	// Batch and Bake are true when the flag may be given with --batch, and with --bake.
	Batch, Bake bool
	// declare adds the flag to a set, for a value that the row holds.
	declare func(fs *pflag.FlagSet, f Row)
	// Apply changes the document. It is called when the flag was given, nil when
	// the flag does not change the document by itself.
	Apply func(s *jobs.Spec)
}

// kind declares a flag with a value of type T.
type kind[T any] func(fs *pflag.FlagSet, p *T, f Row)

func text(fs *pflag.FlagSet, p *string, f Row) { fs.StringVarP(p, f.Name, f.Shorthand, "", f.Help) }

func texts(fs *pflag.FlagSet, p *[]string, f Row) {
	fs.StringArrayVarP(p, f.Name, f.Shorthand, nil, f.Help)
}

func toggle(fs *pflag.FlagSet, p *bool, f Row) { fs.BoolVarP(p, f.Name, f.Shorthand, false, f.Help) }

func whole(fs *pflag.FlagSet, p *int, f Row) { fs.IntVarP(p, f.Name, f.Shorthand, 0, f.Help) }

func large(fs *pflag.FlagSet, p *int64, f Row) { fs.Int64VarP(p, f.Name, f.Shorthand, 0, f.Help) }

func fraction(fs *pflag.FlagSet, p *float64, f Row) {
	fs.Float64VarP(p, f.Name, f.Shorthand, 0, f.Help)
}

// parsed is a kind whose text a value reads.
func parsed[T any](read func(*T) *Value) kind[T] {
	return func(fs *pflag.FlagSet, p *T, f Row) { fs.VarP(read(p), f.Name, f.Shorthand, f.Help) }
}

// choice takes one of words; what names them in the error.
func choice(what string, words ...string) kind[string] {
	return parsed(func(p *string) *Value { return Choice(p, what, words...) })
}

// pairs reads KEY=VALUE; lookup is that of [pairsVar].
func pairs(lookup func(string) string) kind[map[string]string] {
	return parsed(func(p *map[string]string) *Value { return pairsVar(p, lookup) })
}

// option is a flag whose value the program reads at p.
func option[T any](k kind[T], p *T, name, help string) Row {
	return Row{Name: name, Help: help, declare: func(fs *pflag.FlagSet, f Row) { k(fs, p, f) }}
}

// change is a flag whose value apply brings into the document.
func change[T any](k kind[T], pointer, name, help string, apply func(s *jobs.Spec, v T)) Row {
	return held(k, new(T), pointer, name, help, apply)
}

// held is a change whose value the program reads, too, at p.
func held[T any](k kind[T], p *T, pointer, name, help string, apply func(s *jobs.Spec, v T)) Row {
	f := option(k, p, name, help).sets(pointer)
	f.Apply = func(s *jobs.Spec) { apply(s, *p) }
	return f
}

// one is a flag that replaces a value of the document.
func one[T comparable](k kind[T], pointer, name, help string, at func(*jobs.Spec) *T) Row {
	return change(k, pointer, name, help, replace(at))
}

// replace sets what at returns; a zero value is the same as leaving the flag out.
func replace[T comparable](at func(*jobs.Spec) *T) func(*jobs.Spec, T) {
	return func(s *jobs.Spec, v T) {
		var zero T
		if v != zero { // before at, which may make a part of the document
			*at(s) = v
		}
	}
}

// more is a flag that adds to a list of the document.
func more[E any](k kind[[]E], pointer, name, help string, at func(*jobs.Spec) *[]E) Row {
	return change(k, pointer, name, help, func(s *jobs.Spec, v []E) { *at(s) = append(*at(s), v...) })
}

// keyed is a flag that sets keys of a map of the document.
func keyed[V any](k kind[map[string]V], pointer, name, help string, at func(*jobs.Spec) *map[string]V) Row {
	return change(k, pointer, name, help, func(s *jobs.Spec, v map[string]V) {
		for key, value := range v {
			put(at(s), key, value)
		}
	})
}

// sets says which fields of the document the flag sets. The first one decides
// which half of the job the flag asks for; asking says otherwise.
func (f Row) sets(pointers ...string) Row {
	f.Pointers, f.asks = pointers, halfOf(pointers[0])
	return f
}

func (f Row) asking(h half) Row { f.asks = h; return f }

func (f Row) short(letter string) Row { f.Shorthand = letter; return f }

func (f Row) oneOf(words ...string) Row { f.Words = words; return f }

func (f Row) onReference(instead string) Row { f.Reference = instead; return f }

func (f Row) withBatch() Row { f.Batch = true; return f }

func (f Row) withBake() Row { f.Bake = true; return f }

// halfOf derives the half from a JSON pointer: /build/.. and /timeouts/build are
// of the build.
func halfOf(pointer string) half {
	part, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pointer, "/timeouts"), "/"), "/")
	if h := half(part); h == buildHalf || h == runHalf {
		return h
	}
	return neither
}

// group is a part of the table and of help.
type group struct {
	title string
	rows  []Row
}

// Table has every flag of submit, in the order of help.
type Table []group

// New makes the table; getenv serves --build-arg KEY and --env KEY.
func New(o *Options, getenv func(string) string) Table {
	return Table{
		{"What to do", whatRows(o)},
		{"Context", contextRows(o)},
		{"Build", buildRows(o, getenv)},
		{"Run (any of these, or -- COMMAND, also runs the image that was built)", runRows(o, getenv)},
		{"Job", jobRows()},
		{"Output", outputRows(o)},
	}
}

// Rows are all for which keep is true.
func (t Table) Rows(keep func(Row) bool) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, g := range t {
			for _, f := range g.rows {
				if keep(f) && !yield(f) {
					return
				}
			}
		}
	}
}

// First is the name of the first flag for which keep is true, "" for none.
func (t Table) First(keep func(Row) bool) string {
	for f := range t.Rows(keep) {
		return f.Name
	}
	return ""
}

// Set is a part of help.
type Set struct {
	Title string
	Flags *pflag.FlagSet
}

// Declare makes the flags, one set for each group of help.
func (t Table) Declare() []Set {
	sets := make([]Set, len(t))
	for i, g := range t {
		fs := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		fs.SortFlags = false
		for _, f := range g.rows {
			f.declare(fs, f)
		}
		sets[i] = Set{g.title, fs}
	}
	return sets
}

// Flags makes some of the flags, as submit has them, outside the groups of its help.
func (t Table) Flags(keep func(Row) bool) *pflag.FlagSet {
	fs := pflag.NewFlagSet("flags", pflag.ContinueOnError)
	for f := range t.Rows(keep) {
		f.declare(fs, f)
	}
	return fs
}

// setter is the name of the flag that set the field at a JSON pointer, "" for
// none: of the given flags the one whose pointer is the longest, and of those the
// one that names the pointer earliest.
func (t Table) setter(pointer string, given func(Row) bool) string {
	name, length, place := "", -1, 0
	for f := range t.Rows(given) {
		for i, p := range f.Pointers {
			if Within(pointer, p) && (len(p) > length || len(p) == length && i < place) {
				name, length, place = f.Name, len(p), i
			}
		}
	}
	return name
}

// Within reports whether a JSON pointer is another one, or below it.
func Within(pointer, top string) bool {
	return pointer == top || strings.HasPrefix(pointer, top+"/")
}

// reaches reports whether the flag sets a field at a JSON pointer or below it.
func (f Row) reaches(top string) bool {
	return slices.ContainsFunc(f.Pointers, func(p string) bool { return Within(p, top) })
}
