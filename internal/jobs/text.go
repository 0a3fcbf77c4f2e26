package jobs

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A document that is not text is refused: JSON would have U+FFFD in place of what is none, and
// another command than the one that was asked for would run.

// text looks at every text in a value of the document.
func (p *problems) text(pointer string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) {
			p.add("text_invalid", pointer, "%s is not UTF-8", Clip(strconv.Quote(s)))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			p.text(pointer, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if name != "" && name != "-" {
				p.text(pointer+"/"+escape(name), v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			p.text(pointer+"/"+strconv.Itoa(i), v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			at := pointer + "/" + escape(strings.ToValidUTF8(key.String(), "\uFFFD"))
			p.text(at, key)
			p.text(at, v.MapIndex(key))
		}
	}
}

// notText returns where JSON has the first bytes that are no text, and what they are; "" when
// all of it is text.
func notText(data []byte) (offset int, what string) {
	for i := 0; i < len(data); {
		if data[i] == '\\' {
			n, ok := escaped(data[i:])
			if !ok {
				return i, "the escape is half of a character: no character of its own"
			}
			i += n
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i, "the byte " + strconv.Quote(string(data[i:i+1])) + " is not UTF-8"
		}
		i += n
	}
	return 0, ""
}

// escaped returns how long an escape is, and whether it stands for a character, as both
// halves of a surrogate pair do together.
func escaped(data []byte) (n int, ok bool) {
	first, is := unit(data)
	if !is {
		return 2, true // of one letter; or it is no JSON, which others find
	}
	if !utf16.IsSurrogate(first) {
		return len(`\u0000`), true
	}
	second, _ := unit(data[len(`\u0000`):])
	return 2 * len(`\u0000`), utf16.DecodeRune(first, second) != utf8.RuneError
}

// unit reads \uXXXX.
func unit(data []byte) (rune, bool) {
	if len(data) < len(`\u0000`) || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:len(`\u0000`)]), 16, 16)
	return rune(n), err == nil
}
