package enginetest

import "strings"

// statement is one command of a script.
type statement struct {
	argv     []string
	and      bool   // runs only when the one before it succeeded
	toStderr bool   // >&2
	file     string // > file
}

// parse splits a script into statements. It knows words, single and double
// quotes, $NAME, ; && & newline, > and >&2.
func parse(text string, env map[string]string) []statement {
	var all []statement
	var cur statement
	toFile := false
	next := func(and bool) {
		if len(cur.argv) > 0 {
			all = append(all, cur)
		}
		cur, toFile = statement{and: and}, false
	}
	for i := 0; i < len(text); {
		switch {
		case text[i] == ' ' || text[i] == '\t':
			i++
		case text[i] == ';' || text[i] == '\n':
			next(false)
			i++
		case strings.HasPrefix(text[i:], "&&"):
			next(true)
			i += 2
		case strings.HasPrefix(text[i:], "1>&2"), strings.HasPrefix(text[i:], ">&2"):
			cur.toStderr = true
			i = i + strings.IndexByte(text[i:], '2') + 1
		case text[i] == '&': // in the background; wait is a no-op, so it may block
			next(false)
			i++
		case text[i] == '>':
			toFile = true
			i++
		default:
			word, n := readWord(text[i:], env)
			i += n
			if toFile {
				cur.file, toFile = word, false
			} else {
				cur.argv = append(cur.argv, word)
			}
		}
	}
	next(false)
	return all
}

// readWord reads one word and says how many bytes it took.
func readWord(text string, env map[string]string) (string, int) {
	var word strings.Builder
	i, quote := 0, byte(0)
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && strings.IndexByte(" \t\n;>&", c) >= 0:
			return word.String(), i
		case quote != '\'' && c == '$':
			n := 1
			for i+n < len(text) && isNameByte(text[i+n]) {
				n++
			}
			word.WriteString(env[text[i+1:i+n]])
			i += n - 1
		default:
			word.WriteByte(c)
		}
	}
	return word.String(), i
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
}
