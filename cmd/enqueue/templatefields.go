package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// templateFields finds fields of a template that no document of a type has. A field that only
// this document has not is none of them: its value is missing, as in every template. What a
// type does not tell, such as that of a variable, is taken for good; nil stands for it.
type templateFields struct {
	root reflect.Type
	err  error
}

// checkFields returns the first that no document has.
func checkFields(tree *parse.Tree, doc reflect.Type) error {
	c := &templateFields{root: doc}
	c.node(tree.Root, doc)
	return c.err
}

func (c *templateFields) node(n parse.Node, dot reflect.Type) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil { // an else that is not there
			for _, inner := range n.Nodes {
				c.node(inner, dot)
			}
		}
	case *parse.ActionNode:
		c.pipe(n.Pipe, dot)
	case *parse.IfNode:
		c.pipe(n.Pipe, dot)
		c.node(n.List, dot)
		c.node(n.ElseList, dot)
	case *parse.WithNode:
		c.node(n.List, c.pipe(n.Pipe, dot))
		c.node(n.ElseList, dot)
	case *parse.RangeNode:
		c.node(n.List, elements(c.pipe(n.Pipe, dot)))
		c.node(n.ElseList, dot)
	}
}

// pipe returns the type of a pipe that is one field.
func (c *templateFields) pipe(p *parse.PipeNode, dot reflect.Type) (t reflect.Type) {
	for _, cmd := range p.Cmds {
		for _, arg := range cmd.Args {
			t = c.argument(arg, dot)
		}
	}
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return nil
	}
	return t
}

func (c *templateFields) argument(n parse.Node, dot reflect.Type) reflect.Type {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return c.walk(dot, n.Ident)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return c.walk(c.root, n.Ident[1:])
		}
	case *parse.ChainNode:
		return c.walk(c.argument(n.Node, dot), n.Field)
	case *parse.PipeNode:
		return c.pipe(n, dot)
	}
	return nil
}

// walk follows fields from a type.
func (c *templateFields) walk(t reflect.Type, names []string) reflect.Type {
	for _, name := range names {
		if t = known(t); t == nil {
			return nil
		}
		if t.Kind() == reflect.Map {
			t = t.Elem()
			continue
		}
		fields := jsonFields(t)
		next, ok := fields[name]
		if !ok {
			c.missing(strings.Join(names, "."), name, fields)
			return nil
		}
		t = next
	}
	return t
}

func (c *templateFields) missing(path, name string, fields map[string]reflect.Type) {
	if c.err != nil {
		return
	}
	var names []string
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	hint := "there are " + strings.Join(names, ", ")
	if near := jobs.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	c.err = usage(hint, "--output: {{.%s}}: there is no field %s", path, name)
}

var marshals = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}

// known is a struct or a map, nil for what tells nothing of its fields in JSON.
func known(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return nil
	}
	for _, m := range marshals {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return nil
		}
	}
	return t
}

// jsonFields are the fields of a struct by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch inner := known(f.Type); {
		case name == "-":
		case f.Anonymous && name == "" && inner != nil:
			for n, t := range jsonFields(inner) {
				if fields[n] == nil {
					fields[n] = t
				}
			}
		case f.IsExported() && name != "":
			fields[name] = f.Type
		case f.IsExported():
			fields[f.Name] = f.Type
		}
	}
	return fields
}

// elements is what a range over a type goes through.
func elements(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && slices.Contains([]reflect.Kind{reflect.Slice, reflect.Array, reflect.Map}, t.Kind()) {
		return t.Elem()
	}
	return nil
}
