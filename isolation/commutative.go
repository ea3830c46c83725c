package isolation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skald-go/skald"
)

// ErrNoRow is returned when no row has the key, or when the guard does not hold for the row as it is. It is no
// refusal: a row that is not there yet is a reason to wait.
var ErrNoRow = errors.New("isolation: no row of this key for which the guard holds as it is")

// ErrTaken is returned by [Delta.Undo] when the guard does not let an amount be taken back: others have taken meanwhile what it
// had made available. It is no refusal either; the runtime tries again, and parks what does not work out. Who must never meet it
// raises behind the pivot only: see [Review].
var ErrTaken = errors.New("isolation: what was given cannot be taken back: others have it")

// Delta is the countermeasure commutative update: a step adds an amount to what is there, and is undone by
// the opposite amount, never by a value that it has seen before. So it does not matter in which order sagas
// write, nor which of them is undone.
//
// It prevents lost updates: an undo that wrote the old value would wipe out what others have added since, and so would a do
// that wrote a value computed from one it has read. The guard, which the database checks at the moment of the write, keeps
// what must always hold (a balance is not negative, credit is not over its limit).
//
// It does not prevent dirty reads: others see the sum with amounts that may be taken back. Where they may act on too
// much, give only behind the pivot ([Review]).
//
// It costs nothing when the guard holds: it is the one statement that writes anyway. A refusal costs a second one.
//
// Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2.
type Delta struct {
	statement string
	numbered  bool
	places    int
	refusal   skald.Refusal
}

// NewDelta checks the statement and makes a delta of it. The statement is executed as it is. Its first argument is the amount,
// which it adds to a column and mentions again in its WHERE, as the guard; the others are the key. With
// numbered placeholders:
//
//	UPDATE accounts SET authorized = authorized + $1 WHERE id = $2 AND authorized + $1 BETWEEN 0 AND credit_limit
//
// Of placeholders without a number the first is the amount, then come those of the key, and all others are the amount again: the key
// stands in front of the guard.
//
// The guard must hold for every row as it is (with the amount 0), because that is how [Delta.Apply] tells what it refuses
// from a row that is not there: what is asked of the row apart from the amount does not belong into it. Where a bound may move
// past what is there (a limit is lowered), let through what goes away from it:
//
//	AND ($1 <= 0 OR authorized + $1 <= credit_limit) AND authorized + $1 >= 0
//
// What is set by the amount is the column itself, plus or minus the amount; coalesce and ifnull around the column, and a cast of the
// amount, are let through.
//
// The refusal is what Apply returns when the guard does not hold; its code is one that the command declares.
func NewDelta(statement string, refusal *skald.Refusal) (*Delta, error) {
	faults := []error{checkRefusal(refusal)}
	u, err := parseUpdate(statement)
	if err != nil {
		faults = append(faults, err)
	} else {
		faults = append(faults, u.relative()...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("isolation: delta %.200q is refused:\n%w", statement, err)
	}
	return &Delta{statement, u.numbered, len(u.places), *refusal}, nil
}

func checkRefusal(r *skald.Refusal) error {
	if r == nil || r.Code == "" {
		return errors.New("no refusal: give what is answered, with a code that the command declares")
	}
	return nil
}

const amount = 1 // the placeholder's number

// relative checks that the amount is added to a column, and guarded.
func (u *update) relative() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	relative := false
	for _, a := range u.set {
		switch {
		case !mentions(a.value, amount):
		case !a.adds():
			fault("%s is set to a value: add the amount to it or subtract it, and nothing else, as in %s = %s + $1: only that can be undone when others have written since", a.column, a.column, a.column)
		default:
			relative = true
		}
	}
	if !relative && faults == nil {
		fault("no column that is changed by the amount, the first placeholder: as in SET authorized = authorized + $1")
	}
	if u.numbered && !mentions(u.where, amount) || !u.numbered && len(u.places) < 3 {
		fault("no guard: mention the amount in WHERE as well, as in AND authorized + $1 <= credit_limit")
	}
	if key := func(t token) bool { return t.place > amount }; !slices.ContainsFunc(u.where, key) {
		fault("no key: name the row in WHERE, as in id = $2")
	}
	if set := u.inSet(); !u.numbered && set > 1 {
		fault("%d placeholders without a number in SET: the first is the amount, and those behind it are the key: number them", set)
	}
	if !u.numbered && u.keyBehindGuard() {
		fault("a key behind the guard, without a number: those behind the first are the key, and then comes the amount again: put the key in front, or number them")
	}
	return faults
}

// keyBehindGuard reports whether in WHERE a placeholder that is compared stands behind one that is added or subtracted.
func (u *update) keyBehindGuard() bool {
	guarded := false
	for i := 1; i < len(u.where); i++ {
		if u.where[i].place == 0 {
			continue
		}
		before := u.where[i-1]
		guarded = guarded || before.is("+") || before.is("-")
		if guarded && before.is("=") && !slices.ContainsFunc([]string{"<", ">", "!"}, u.where[max(i-2, 0)].is) {
			return true
		}
	}
	return false
}

// adds reports whether the value is the column, plus or minus the amount.
func (a *assignment) adds() bool {
	value := bare(a.value)
	var signs []token
	var terms [][]token
	for i, from := 0, 0; i <= len(value); i++ {
		if i < len(value) && (value[i].depth > value[0].depth || !value[i].is("+") && !value[i].is("-")) {
			continue
		}
		if terms = append(terms, bare(value[from:i])); i < len(value) {
			signs = append(signs, value[i])
		}
		from = i + 1
	}
	if len(terms) != 2 {
		return false
	}
	column := func(term []token) bool { return isColumn(term, a.column) }
	return column(terms[0]) && isAmount(terms[1]) || column(terms[1]) && isAmount(terms[0]) && signs[0].is("+")
}

// bare is an expression without parentheses around all of it.
func bare(e []token) []token {
	for n := len(e) - 1; n > 1 && e[0].is("(") && e[n].is(")"); n = len(e) - 1 {
		if slices.ContainsFunc(e[1:n], func(t token) bool { return t.depth <= e[0].depth }) { // they are two pairs
			break
		}
		e = e[1:n]
	}
	return e
}

// isColumn reports whether a term is the column, with its table or without, or with a value for where there is none.
func isColumn(term []token, column string) bool {
	if len(term) > 1 && term[1].is("(") && (term[0].is("coalesce") || term[0].is("ifnull")) {
		end := slices.IndexFunc(term, func(t token) bool { return t.is(",") })
		return end > 0 && isColumn(term[2:end], column) && !mentions(term, amount)
	}
	n := len(term)
	return n == 1 && term[0].is(column) || n == 3 && term[1].is(".") && term[2].is(column)
}

// isAmount reports whether a term is the amount, as whatever type.
func isAmount(term []token) bool {
	if len(term) > 4 && term[0].is("cast") && term[3].is("as") {
		term = term[2:3]
	}
	return len(term) > 0 && term[0].place == amount && (len(term) == 1 || term[1].is(":"))
}

func (u *update) inSet() (n int) {
	for _, a := range u.set {
		for _, t := range a.value {
			if t.place > 0 {
				n++
			}
		}
	}
	return n
}

// Apply adds the amount, which may be negative or zero, to the row of the key. It returns the delta's refusal when the
// guard does not hold, and [ErrNoRow] when no row has the key. To tell which, it executes the statement again with the amount 0:
// whoever keeps writes in spite of the refusal keeps what else the statement sets, such as a version. On MySQL the connection must count the rows that
// are found (clientFoundRows=true), not those that look different afterwards.
func (d *Delta) Apply(ctx context.Context, tx skald.Tx, amount int64, key ...any) error {
	switch changed, err := d.exec(ctx, tx, amount, key); {
	case err != nil:
		return err
	case changed:
		return nil
	case amount == 0:
		return fmt.Errorf("%w: %v", ErrNoRow, key)
	}
	// The guard holds for the row as it is: when nothing at all can be added, it is not there.
	there, err := d.exec(ctx, tx, 0, key)
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("%w: %v", ErrNoRow, key)
	default:
		refusal := d.refusal
		return &refusal
	}
}

// Undo takes back what Apply has added: it adds the opposite amount. It is never refused; [ErrTaken] says that the guard
// does not hold.
func (d *Delta) Undo(ctx context.Context, tx skald.Tx, amount int64, key ...any) error {
	if amount == math.MinInt64 {
		return fmt.Errorf("isolation: the amount %d has no opposite", amount)
	}
	err := d.Apply(ctx, tx, -amount, key...)
	if _, refused := skald.AsRefusal(err); refused {
		return fmt.Errorf("%w: %d of %v", ErrTaken, amount, key)
	}
	return err
}

// exec reports whether it has changed the row.
func (d *Delta) exec(ctx context.Context, tx skald.Tx, amount int64, key []any) (bool, error) {
	if len(key) == 0 {
		return false, errors.New("isolation: a delta without a key")
	}
	args := append([]any{amount}, key...)
	for !d.numbered && len(args) < d.places {
		args = append(args, amount)
	}
	result, err := tx.ExecContext(ctx, d.statement, args...)
	if err != nil {
		return false, fmt.Errorf("isolation: add %d to %v: %w", amount, key, err)
	}
	rows, err := result.RowsAffected()
	switch {
	case err != nil:
		return false, fmt.Errorf("isolation: add %d to %v: %w", amount, key, err)
	case rows > 1:
		return false, fmt.Errorf("isolation: add %d to %v: it has changed %d rows: make the key that of one", amount, key, rows)
	}
	return rows == 1, nil
}
