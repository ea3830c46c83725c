package skald

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MaxNesting is how deep a payload's arrays and objects may lie in each other.
const MaxNesting = 1000

// checkJSON refuses what encoding/json reads without a word, or reads too far: an object that
// names a key twice, of which it keeps the last, and what is nested deeper than [MaxNesting].
// The text must be JSON; that it is not goes unnoticed or panics.
func checkJSON(text []byte) error {
	var inNames [manyNames][]byte
	var inLevels [8]level
	names, levels := inNames[:0], inLevels[:0] // names of all open objects, outermost first
	named := false                             // the next string is a name
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if named = text[i] == '{'; len(levels) == MaxNesting {
				return fmt.Errorf("nested deeper than %d", MaxNesting)
			}
			levels = append(levels, level{object: named, first: len(names)})
		case '}', ']':
			names = names[:levels[len(levels)-1].first]
			levels = levels[:len(levels)-1]
			named = false
		case ',':
			named = levels[len(levels)-1].object
		case '"':
			quoted := text[i : i+2+stringLength(text[i+1:])]
			i += len(quoted) - 1
			if !named {
				continue
			}
			named = false
			name := unquote(quoted)
			top := &levels[len(levels)-1]
			if top.has(names[top.first:], name) {
				return fmt.Errorf("the name %.100q is given twice in one object", name)
			}
			if top.many == nil {
				names = append(names, name)
			}
		}
	}
	return nil
}

// level is an open array or object.
type level struct {
	object bool
	first  int // of its names
	// many has the names once they are many, so that the time is not their number squared.
	many map[string]bool
}

const manyNames = 16

// has reports whether an object has the name already. The names are the object's so far; when
// they are many, it keeps them itself from then on.
func (l *level) has(names [][]byte, name []byte) bool {
	if l.many == nil && len(names) < manyNames {
		for _, earlier := range names {
			if bytes.Equal(earlier, name) {
				return true
			}
		}
		return false
	}
	if l.many == nil {
		l.many = make(map[string]bool, 4*manyNames)
		for _, earlier := range names {
			l.many[string(earlier)] = true
		}
	}
	had := l.many[string(name)]
	l.many[string(name)] = true
	return had
}

// unquote returns what a string says.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var said string
	_ = json.Unmarshal(quoted, &said) // it was read before
	return []byte(said)
}

// stringLength is the number of bytes before the quote that ends a string.
func stringLength(text []byte) int {
	for n := 0; ; {
		end := n + bytes.IndexByte(text[n:], '"')
		escape := bytes.IndexByte(text[n:end], '\\')
		if escape < 0 {
			return end
		}
		n += escape + 2 // behind what is escaped
	}
}
