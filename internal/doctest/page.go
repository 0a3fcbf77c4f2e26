package doctest

import (
	"slices"
	"strings"
)

// Block is a block of code of a page.
type Block struct {
	// Language is what follows the opening mark.
	Language string
	// Line is that of the first line inside, from 1.
	Line int
	// Section is the "## " heading above it.
	Section string
	// Lines are those inside, without the indentation of the mark.
	Lines []string
	// indent is that of the mark.
	indent string
}

// Text is what a test compares or names a block by.
func (b Block) Text() string { return strings.Join(b.Lines, "\n") + "\n" }

// Blocks returns the blocks of code of a page.
func Blocks(page string) (all []Block) {
	var open *Block
	number, section := 0, ""
	for line := range strings.Lines(page) {
		number++
		line = strings.TrimSuffix(line, "\n")
		trimmed := strings.TrimLeft(line, " ")
		mark, isMark := strings.CutPrefix(trimmed, "```")
		switch {
		case open == nil && isMark:
			open = &Block{Language: strings.TrimSpace(mark), Line: number + 1, Section: section, indent: line[:len(line)-len(trimmed)]}
		case open != nil && isMark && strings.TrimSpace(mark) == "":
			all = append(all, *open)
			open = nil
		case open == nil && strings.HasPrefix(line, "## "):
			section = strings.TrimPrefix(line, "## ")
		case open != nil:
			open.Lines = append(open.Lines, strings.TrimPrefix(line, open.indent))
		}
	}
	return all
}

// HasCommands reports whether a page has blocks that are run.
func HasCommands(page string) bool { return slices.ContainsFunc(Blocks(page), Block.runs) }

// runs reports whether the commands of a block are run.
func (b Block) runs() bool { return b.Language == "console" || b.Language == "sh" }

// NoCommands are the languages of blocks that are no commands.
func NoCommands() []string {
	return []string{"dockerfile", "go", "ini", "json", "mermaid", "nft", "python", "text", "yaml"}
}

// step is a command of a page and what it prints.
type step struct {
	// line is that of the command on the page, from 1; below it are lines more of the command,
	// and then those of the output.
	line int
	// command has as many lines as on the page.
	command []string
	want    []string
	// indent is that of the block.
	indent string
	// before is what happens before it; nil is nothing.
	before func()
	// silent says that the page shows no output, and that the command has to succeed.
	silent bool
}

// steps returns the commands of a block, those of an sh block as one.
func (b Block) steps() (all []step) {
	if b.Language == "sh" {
		return []step{{line: b.Line, indent: b.indent, command: b.Lines, silent: true}}
	}
	for i, line := range b.Lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, step{line: b.Line + i, indent: b.indent, command: []string{command}})
			continue
		}
		if len(all) == 0 {
			continue // lines before the first command are words
		}
		last := &all[len(all)-1]
		more, ok := strings.CutPrefix(line, "> ")
		if ok && len(last.want) == 0 {
			last.command = append(last.command, more)
			continue
		}
		last.want = append(last.want, line)
	}
	return all
}
