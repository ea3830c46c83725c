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
// Of placeholders without a number the first is the amount, then come those of the key, and all others are the amount again.
//
// The guard must hold for every row as it is (with the amount 0), because that is how [Delta.Apply] tells what it refuses
// from a row that is not there: what is asked of the row apart from the amount does not belong into it. Where a bound may move
// past what is there (a limit is lowered), let through what goes away from it:
//
//	AND ($1 <= 0 OR authorized + $1 <= credit_limit) AND authorized + $1 >= 0
//
// That an expression is relative is seen as far as its words say so: the column itself, plus or minus the amount.
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
		has := func(text string) bool {
			return slices.ContainsFunc(a.value, func(t token) bool { return t.is(text) })
		}
		switch {
		case !mentions(a.value, amount):
		case !has(a.column) || !has("+") && !has("-") || has("*") || has("/") || has("%"):
			fault("%s is set to a value: add the amount to it or subtract it, as in %s = %s + $1: only that can be undone when others have written since", a.column, a.column, a.column)
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
	if u.numbered && slices.Max(u.places) < 2 || !u.numbered && len(u.places) < 2 {
		fault("no key: name the row in WHERE, as in id = $2")
	}
	if set := u.inSet(); !u.numbered && set > 1 {
		fault("%d placeholders without a number in SET: the first is the amount, and those behind it are the key: number them", set)
	}
	return faults
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
// guard does not hold, with nothing written, and [ErrNoRow] when no row has the key. On MySQL the connection must count the rows that
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
