package isolation

import (
	"errors"
	"fmt"
	"reflect"
)

// ByValue is the countermeasure of that name: what a request puts at risk decides how carefully it is handled. Most take the
// quick path and live with an anomaly now and then; those with much at stake take a stricter one: a saga with locks or
// one more check right before its pivot, a distributed transaction, a person who looks.
//
// By itself it prevents nothing: it brings the cost of the other countermeasures to where an anomaly would be dear. What it
// does not prevent is what the quick path lets happen, at the price that the rules put on it.
//
// It costs a comparison for each request, and the upkeep of two paths that must have the same result.
//
// Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2.
type ByValue[R, P any] struct {
	value func(R) int64
	rules []Rule[R, P]
}

// Rule sends requests to a path.
type Rule[R, P any] struct {
	// Name says in logs and tests which rule it was. Required, and unique.
	Name string
	// From is the least value of the requests that the rule is for; 0 for whatever value.
	From int64
	// When says which requests the rule is for. Defaults to all of From's.
	When func(R) bool
	// Path is where they go. Required.
	Path P
}

// NewByValue makes a choice among paths. The rules are tried in their order, and the first that is for the request
// decides; the last one has neither From nor When, so that no request is left without a path. A rule that cannot be reached is
// refused, as far as that can be seen: value is compared, what When says is not known. A nil value stands for rules
// without From.
func NewByValue[R, P any](value func(R) int64, rules ...Rule[R, P]) (*ByValue[R, P], error) {
	var faults []error
	fault := func(i int, format string, args ...any) {
		faults = append(faults, fmt.Errorf("rule %d, %q: "+format, append([]any{i + 1, rules[i].Name}, args...)...))
	}
	for i := range rules {
		r := &rules[i]
		if r.Name == "" {
			fault(i, "it has no name: give it one")
		}
		if path := reflect.ValueOf(&r.Path).Elem(); path.IsZero() {
			fault(i, "it has no path: give it one")
		}
		if r.From < 0 {
			fault(i, "from %d: not negative", r.From)
		}
		if r.From > 0 && value == nil {
			fault(i, "from %d: of what value? Give the function that tells a request's", r.From)
		}
		for j := range rules[:i] {
			if rules[j].Name == r.Name && r.Name != "" {
				fault(i, "rule %d has this name as well", j+1)
			}
			if rules[j].When == nil && rules[j].From <= r.From {
				fault(i, "no request gets to it: rule %d, %q, takes all from %d on: put it in front of that one, or remove it", j+1, rules[j].Name, rules[j].From)
			}
		}
	}
	if n := len(rules); n == 0 || rules[n-1].From > 0 || rules[n-1].When != nil {
		faults = append(faults, errors.New("requests may be left without a path: end with a rule that has neither From nor When"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("isolation: these rules by value are refused:\n%w", err)
	}
	return &ByValue[R, P]{value, append([]Rule[R, P](nil), rules...)}, nil
}

// For returns the rule that the request falls under. It is safe for concurrent use, as far as the rules' functions are.
func (b *ByValue[R, P]) For(request R) Rule[R, P] {
	var value int64
	if b.value != nil {
		value = b.value(request)
	}
	last := len(b.rules) - 1
	for _, r := range b.rules[:last] {
		if (r.From == 0 || value >= r.From) && (r.When == nil || r.When(request)) {
			return r
		}
	}
	return b.rules[last]
}
