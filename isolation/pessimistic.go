package isolation

import (
	"fmt"
	"strings"

	"github.com/skald-go/skald/saga"
)

// Review is the countermeasure pessimistic view: it says what the order of a saga's steps means for those who read
// meanwhile, and proposes a better one. What a saga takes from others (it lowers) belongs before its decision; what it
// gives them (it raises: credit that is freed, a seat) belongs into its pivot or behind it. Then others see too little for a while
// and never too much: nobody spends what is taken back.
//
// Steps declare what they do in [saga.Compensatable] and [saga.Step]. With that, [saga.Register] refuses a definition that raises
// something before it is decided, and Review shows the way out. It takes such a definition too.
//
// It prevents dirty reads of what is raised. Those of what is lowered remain: somebody is refused a credit that is free a
// moment later, because the saga that held it was undone. It prevents neither lost updates nor fuzzy reads, and it sees
// what is declared, not what is done.
//
// It costs nothing when the saga runs.
//
// Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2. The rules of what may move are those of
// [saga.PessimisticView].
func Review[S any](definition saga.Definition[S]) (*Report, error) {
	view, err := saga.PessimisticView(definition)
	if err != nil {
		return nil, err
	}
	return &Report{definition.Name, max(definition.Version, 1), *view}, nil
}

// Report is what [Review] has found.
type Report struct {
	Saga    string
	Version int
	saga.View
}

// Best reports whether no order with less risk is known, and nothing is raised before the saga is decided.
func (r *Report) Best() bool { return r.Given.Risk == r.Proposed.Risk && r.Given.Risk.Raised == 0 }

// String is the report, for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "saga %q version %d: %s\n", r.Saga, r.Version, risk(r.Given.Risk))
	if r.Given.String() != r.Proposed.String() {
		fmt.Fprintf(&b, "  as it is: %s\n  better:   %s (%s)\n", r.Given, r.Proposed, risk(r.Proposed.Risk))
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "  - %s\n", reason)
	}
	return b.String()
}

func risk(r saga.Risk) string {
	return fmt.Sprintf("raised early %d, lowered late %d, lowered early %d", r.Raised, r.Late, r.Lowered)
}
