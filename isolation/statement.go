package isolation

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// update is an UPDATE statement, taken apart as far as its checks need it. It is read, never rewritten.
type update struct {
	set   []assignment
	where []token
	// numbered says that placeholders are "$1" or "?1", and places lists their numbers in the text's order;
	// of a bare "?" that is its place.
	numbered bool
	places   []int
}

// assignment is one of a SET clause.
type assignment struct {
	column string
	value  []token
}

// token is a word, a sign, a literal or a placeholder.
type token struct {
	text  string
	place int // a placeholder's number; 0 for everything else
	depth int // in parentheses
}

func (t token) is(text string) bool { return t.place == 0 && t.text == text }

var errUnfinished = errors.New("a quote or a comment has no end")

// parseUpdate takes a statement apart, and returns every fault at once.
func parseUpdate(statement string) (*update, error) {
	tokens, err := scan(statement)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 || !tokens[0].is("update") {
		return nil, errors.New("it is no UPDATE: give one that changes the row of a key")
	}
	if slices.ContainsFunc(tokens, func(t token) bool { return t.is(";") }) {
		return nil, errors.New("a semicolon: give one statement, without")
	}
	outer := func(word string) int {
		return slices.IndexFunc(tokens, func(t token) bool { return t.depth == 0 && t.is(word) })
	}
	set, where := outer("set"), outer("where")
	if set < 0 || where < set {
		return nil, errors.New("no SET with a WHERE behind it")
	}
	end := where
	if from := outer("from"); from > set && from < where { // what it is joined with
		end = from
	}
	u := &update{where: tokens[where+1:]}
	u.assignments(tokens[set+1 : end])
	if slices.ContainsFunc(u.where, func(t token) bool { return t.depth == 0 && t.is("or") }) {
		return nil, errors.New("an OR beside the key lets other rows through: put it into parentheses")
	}
	return u, u.number(tokens)
}

// assignments splits a SET clause at its outer commas.
func (u *update) assignments(set []token) {
	for len(set) > 0 {
		end := slices.IndexFunc(set, func(t token) bool { return t.depth == 0 && t.is(",") })
		one, rest := set, []token(nil)
		if end >= 0 {
			one, rest = set[:end], set[end+1:]
		}
		if equal := slices.IndexFunc(one, func(t token) bool { return t.is("=") }); equal > 0 {
			u.set = append(u.set, assignment{one[equal-1].text, one[equal+1:]})
		}
		set = rest
	}
}

// number lists the placeholders.
func (u *update) number(tokens []token) error {
	bare := 0
	for i := range tokens {
		switch t := &tokens[i]; {
		case t.place > 0:
			u.numbered = true
			u.places = append(u.places, t.place)
		case t.place < 0: // a bare one
			bare++
			u.places = append(u.places, bare)
			t.place = bare
		}
	}
	if u.numbered && bare > 0 {
		return errors.New(`placeholders with and without a number: give all of them one, "$1" or "?1", or none`)
	}
	for n := range slices.Max(append(u.places, 0)) {
		if !slices.Contains(u.places, n+1) {
			return fmt.Errorf("placeholder %d is missing: number them from 1, without a gap", n+1)
		}
	}
	return nil
}

func mentions(tokens []token, place int) bool {
	return slices.ContainsFunc(tokens, func(t token) bool { return t.place == place })
}

// scan splits a statement. Words are in lower case, except quoted ones; a string literal is one token.
func scan(statement string) ([]token, error) {
	var tokens []token
	depth := 0
	for s := strings.TrimLeft(statement, blank); s != ""; s = strings.TrimLeft(s, blank) {
		t, size, err := next(s)
		if err != nil {
			return nil, err
		}
		s = s[size:]
		switch t.text {
		case "":
			continue // a comment
		case ")":
			depth--
		}
		if t.depth = depth; t.text == "(" {
			depth++
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

const blank = " \t\r\n"

// next reads the first token of what is left; an empty one for a comment.
func next(s string) (token, int, error) {
	switch {
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			return token{}, end, nil
		}
		return token{}, len(s), nil
	case strings.HasPrefix(s, "/*"):
		end := strings.Index(s, "*/")
		if end < 0 {
			return token{}, 0, errUnfinished
		}
		return token{}, end + 2, nil
	case strings.ContainsRune("'\"`", rune(s[0])):
		return quoted(s)
	case s[0] == '$' || s[0] == '?':
		return placeholder(s)
	}
	size := 0
	for size < len(s) && word(s[size]) {
		size++
	}
	if size == 0 {
		return token{text: s[:1]}, 1, nil
	}
	return token{text: strings.ToLower(s[:size])}, size, nil
}

func word(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// quoted reads a string literal, or a quoted name without its quotes.
func quoted(s string) (token, int, error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		text := s[1:i]
		if quote == '\'' || text == "" {
			text = s[:i+1]
		}
		return token{text: text}, i + 1, nil
	}
	return token{}, 0, errUnfinished
}

func placeholder(s string) (token, int, error) {
	size := 1
	for size < len(s) && '0' <= s[size] && s[size] <= '9' {
		size++
	}
	if size == 1 && s[0] == '?' {
		return token{text: "?", place: -1}, 1, nil
	}
	n, err := strconv.Atoi(s[1:size])
	if err != nil || n < 1 || n > maxPlaces {
		return token{}, 0, fmt.Errorf(`%.20q: a placeholder is "$1", "?1" or "?", with a number of at most %d`, s, maxPlaces)
	}
	return token{text: s[:size], place: n}, size, nil
}

const maxPlaces = 1000
