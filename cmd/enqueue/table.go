package main

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

// row is one row of the table of submit's flags: the flag, and what it does to
// the job document. What help, completion, the document and the report of a
// mistake need of a flag is here and nowhere else.
type row struct {
	name, shorthand, help string
	// pointers are the JSON pointers that the flag sets. A problem found at one
	// of them, or below it, is reported as the flag's.
	pointers []string
	// asks is the half of a job that the flag asks for.
	asks half
	// words complete the flag's value.
	words []string
	// reference is what to do instead when the flag is given and PATH is no
	// reference; "" for a flag that does without.
	reference string
	// batch and bake are true when the flag may be given with --batch, and with --bake.
	batch, bake bool
	// declare adds the flag to a set, for a value that the row holds.
	declare func(fs *pflag.FlagSet, f row)
	// apply changes the document. It is called when the flag was given, nil when
	// the flag does not change the document by itself.
	apply func(s *jobs.Spec)
}

// kind declares a flag with a value of type T.
type kind[T any] func(fs *pflag.FlagSet, p *T, f row)

func text(fs *pflag.FlagSet, p *string, f row) { fs.StringVarP(p, f.name, f.shorthand, "", f.help) }

func texts(fs *pflag.FlagSet, p *[]string, f row) {
	fs.StringArrayVarP(p, f.name, f.shorthand, nil, f.help)
}

func toggle(fs *pflag.FlagSet, p *bool, f row) { fs.BoolVarP(p, f.name, f.shorthand, false, f.help) }

func whole(fs *pflag.FlagSet, p *int, f row) { fs.IntVarP(p, f.name, f.shorthand, 0, f.help) }

func large(fs *pflag.FlagSet, p *int64, f row) { fs.Int64VarP(p, f.name, f.shorthand, 0, f.help) }

func fraction(fs *pflag.FlagSet, p *float64, f row) {
	fs.Float64VarP(p, f.name, f.shorthand, 0, f.help)
}

// parsed is a kind whose text a value reads.
func parsed[T any](read func(*T) *value) kind[T] {
	return func(fs *pflag.FlagSet, p *T, f row) { fs.VarP(read(p), f.name, f.shorthand, f.help) }
}

// choice takes one of words; what names them in the error.
func choice(what string, words ...string) kind[string] {
	return parsed(func(p *string) *value { return choiceVar(p, what, words...) })
}

// pairs reads KEY=VALUE; lookup is that of [pairsVar].
func pairs(lookup func(string) string) kind[map[string]string] {
	return parsed(func(p *map[string]string) *value { return pairsVar(p, lookup) })
}

// option is a flag whose value the program reads at p.
func option[T any](k kind[T], p *T, name, help string) row {
	return row{name: name, help: help, declare: func(fs *pflag.FlagSet, f row) { k(fs, p, f) }}
}

// change is a flag whose value apply brings into the document.
func change[T any](k kind[T], pointer, name, help string, apply func(s *jobs.Spec, v T)) row {
	return held(k, new(T), pointer, name, help, apply)
}

// held is a change whose value the program reads, too, at p.
func held[T any](k kind[T], p *T, pointer, name, help string, apply func(s *jobs.Spec, v T)) row {
	f := option(k, p, name, help).sets(pointer)
	f.apply = func(s *jobs.Spec) { apply(s, *p) }
	return f
}

// one is a flag that replaces a value of the document.
func one[T comparable](k kind[T], pointer, name, help string, at func(*jobs.Spec) *T) row {
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
func more[E any](k kind[[]E], pointer, name, help string, at func(*jobs.Spec) *[]E) row {
	return change(k, pointer, name, help, func(s *jobs.Spec, v []E) { *at(s) = append(*at(s), v...) })
}

// keyed is a flag that sets keys of a map of the document.
func keyed[V any](k kind[map[string]V], pointer, name, help string, at func(*jobs.Spec) *map[string]V) row {
	return change(k, pointer, name, help, func(s *jobs.Spec, v map[string]V) {
		for key, value := range v {
			put(at(s), key, value)
		}
	})
}

// sets says which fields of the document the flag sets. The first one decides
// which half of the job the flag asks for; asking says otherwise.
func (f row) sets(pointers ...string) row {
	f.pointers, f.asks = pointers, halfOf(pointers[0])
	return f
}

func (f row) asking(h half) row { f.asks = h; return f }

func (f row) short(letter string) row { f.shorthand = letter; return f }

func (f row) oneOf(words ...string) row { f.words = words; return f }

func (f row) onReference(instead string) row { f.reference = instead; return f }

func (f row) withBatch() row { f.batch = true; return f }

func (f row) withBake() row { f.bake = true; return f }

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
	rows  []row
}

// table has every flag of submit, in the order of help.
type table []group

// newTable makes the table; getenv serves --build-arg KEY and --env KEY.
func newTable(o *options, getenv func(string) string) table {
	return table{
		{"What to do", whatRows(o)},
		{"Context", contextRows(o)},
		{"Build", buildRows(o, getenv)},
		{"Run (any of these, or -- COMMAND, also runs the image that was built)", runRows(o, getenv)},
		{"Job", jobRows()},
		{"Output", outputRows(o)},
	}
}

// rows are all for which keep is true.
func (t table) rows(keep func(row) bool) iter.Seq[row] {
	return func(yield func(row) bool) {
		for _, g := range t {
			for _, f := range g.rows {
				if keep(f) && !yield(f) {
					return
				}
			}
		}
	}
}

// first is the name of the first flag for which keep is true, "" for none.
func (t table) first(keep func(row) bool) string {
	for f := range t.rows(keep) {
		return f.name
	}
	return ""
}

// declare makes the flags, one set for each group of help.
func (t table) declare() []flagGroup {
	sets := make([]flagGroup, len(t))
	for i, g := range t {
		fs := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		fs.SortFlags = false
		for _, f := range g.rows {
			f.declare(fs, f)
		}
		sets[i] = flagGroup{g.title, fs}
	}
	return sets
}

// setter is the name of the flag that set the field at a JSON pointer, "" for
// none: of the given flags the one whose pointer is the longest, and of those the
// one that names the pointer earliest.
func (t table) setter(pointer string, given func(row) bool) string {
	name, length, place := "", -1, 0
	for f := range t.rows(given) {
		for i, p := range f.pointers {
			if within(pointer, p) && (len(p) > length || len(p) == length && i < place) {
				name, length, place = f.name, len(p), i
			}
		}
	}
	return name
}

// within reports whether a JSON pointer is another one, or below it.
func within(pointer, top string) bool {
	return pointer == top || strings.HasPrefix(pointer, top+"/")
}

// reaches reports whether the flag sets a field at a JSON pointer or below it.
func (f row) reaches(top string) bool {
	return slices.ContainsFunc(f.pointers, func(p string) bool { return within(p, top) })
}
