package isolation_test

import (
	"strings"
	"testing"

	"github.com/skald-go/skald/isolation"
)

type rule = isolation.Rule[int64, string]

func value(request int64) int64 { return request }

func odd(request int64) bool { return request%2 != 0 }

func TestTheFirstRuleThatIsForARequestDecides(t *testing.T) {
	by, err := isolation.NewByValue(value,
		rule{Name: "huge", From: 10_000, Path: "by hand"},
		rule{Name: "odd", From: 100, When: odd, Path: "checked"},
		rule{Name: "large", From: 1000, Path: "checked twice"},
		rule{Name: "any", Path: "quick"},
	)
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[int64]string{
		-1: "any", 0: "any", 99: "any", 100: "any", 101: "odd", 999: "odd", 1000: "large", 1001: "odd", 9999: "odd", 10_000: "huge", 10_001: "huge",
	} {
		if got := by.For(request); got.Name != want || got.Path == "" {
			t.Errorf("%d: %q by %q, want %q", request, got.Path, got.Name, want)
		}
	}
}

func TestRulesThatLeaveARequestWithoutAPathOrAreNeverReachedAreRefused(t *testing.T) {
	last := rule{Name: "any", Path: "quick"}
	for name, c := range map[string]struct {
		value func(int64) int64
		rules []rule
		say   []string
	}{
		"none":              {value, nil, []string{"without a path"}},
		"no default":        {value, []rule{{Name: "large", From: 1, Path: "x"}}, []string{"without a path: end with a rule"}},
		"only conditions":   {value, []rule{{Name: "odd", When: odd, Path: "x"}}, []string{"without a path"}},
		"default first":     {value, []rule{last, {Name: "large", From: 100, Path: "x"}}, []string{`rule 2, "large": no request gets to it: rule 1, "any"`, "without a path"}},
		"two defaults":      {value, []rule{last, {Name: "all", Path: "x"}}, []string{`rule 2, "all": no request gets to it`}},
		"the lower first":   {value, []rule{{Name: "some", From: 100, Path: "x"}, {Name: "more", From: 200, When: odd, Path: "y"}, last}, []string{`rule 2, "more": no request gets to it: rule 1, "some", takes all from 100 on`}},
		"the same twice":    {value, []rule{{Name: "some", From: 100, Path: "x"}, {Name: "same", From: 100, Path: "y"}, last}, []string{`rule 2, "same": no request`}},
		"the same name":     {value, []rule{{Name: "any", From: 100, Path: "x"}, last}, []string{`rule 2, "any": rule 1 has this name`}},
		"no name, no path":  {value, []rule{{From: 1}, last}, []string{"it has no name", "it has no path"}},
		"a negative value":  {value, []rule{{Name: "neg", From: -1, When: odd, Path: "x"}, last}, []string{"from -1: not negative"}},
		"a value of what":   {nil, []rule{{Name: "large", From: 1, Path: "x"}, last}, []string{"of what value?"}},
		"conditions differ": {nil, []rule{{Name: "odd", When: odd, Path: "x"}, {Name: "odd too", When: odd, Path: "y"}, last}, nil},
	} {
		_, err := isolation.NewByValue(c.value, c.rules...)
		if (err == nil) != (c.say == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, say := range c.say {
			if err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%s: %v; want it to say %q", name, err, say)
			}
		}
	}
}
