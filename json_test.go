package skald_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skald-go/skald"
)

// read decodes a payload into whatever it says.
func read(payload string) error {
	m := valid()
	m.Payload = []byte(payload)
	var content any
	return skald.Decode(&m, &content)
}

// Faults: 83.
func TestAPayloadThatNamesAKeyTwiceOrNestsTooDeepIsMalformed(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat(`{"a":[`, levels/2) + strings.Repeat("]}", levels/2) }
	many := func(last string) string {
		var b strings.Builder
		for n := range 100 {
			fmt.Fprintf(&b, `"name %d":{"a":1},`, n)
		}
		return "{" + b.String() + last + ":0}"
	}
	for name, payload := range map[string]string{
		"a name twice": `{"order":1,"order":2}`, "the same value": `{"order":1,"order":1}`, "behind others": `{"a":{"b":[1,{"c":"}"}],"d":2},"e":3,"a":4}`,
		"within an array": `[{"a":1},{"a":1,"a":2}]`, "escaped": `{"order":1,"\u006frder":2}`, "an empty name": `{"":1,"":2}`,
		"a quote in it": `{"a\"":1,"b":"\\","a\"":2}`, "the first of many": many(`"name 0"`), "the last of many": many(`"name 99"`),
		"nested too deep": nested(skald.MaxNesting + 2), "nested without end": nested(20_000),
	} {
		if err := read(payload); !errors.Is(err, skald.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	for name, payload := range map[string]string{
		"one name in two objects": `{"a":{"a":1},"b":{"a":{"a":2}}}`, "a name as a value": `{"a":"b","b":"a","c":["a","a"]}`, "case": `{"order":1,"Order":2}`,
		"brackets in text": `{"a":"{\"a\":","b":"]"}`, "a backslash at the end": `{"a":"\\","b":"\\\\"}`, "many": many(`"another"`),
		"nested as deep as may be": nested(skald.MaxNesting), "text": `"a"`, "a number": `1`, "empty ones": `[{},[],{"a":{}}]`,
	} {
		if err := read(payload); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, payload := range []string{`{"a":1,"b":[{"a":"\"}"}]}`, `{"a":1,"\u0061":2}`, `[[[[]]]]`, `"\\"`} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		if err := read(payload); err != nil {
			if !errors.Is(err, skald.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if read("["+payload+","+payload+"]") != nil && strings.Count(payload, "[")+strings.Count(payload, "{") < skald.MaxNesting {
			t.Errorf("%q is read, and not twice in an array", payload)
		}
		if read(`{"a":`+payload+`,"b":`+payload+`,"a":0}`) == nil {
			t.Errorf("a name is given twice around %q", payload)
		}
	})
}
