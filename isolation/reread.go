package isolation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
)

// Reread is the countermeasure reread value, as a write: what a saga has read before, maybe in a step long ago or in
// the request that started it, carries a version; the write happens only if the row still has it, and is refused
// otherwise. What the saga does then is its definition's affair: it is undone, or, where its Call names the code with Again, it is undone
// and starts again from its first step, which reads anew.
//
// It prevents lost updates, and decisions on a fuzzy read: what was decided on is what is written over.
//
// It does not prevent dirty reads: the version that was read may be that of a saga which is undone later. Nor does it protect what is
// only read and not written here; check that with [Unchanged] in the transaction that relies on it.
//
// It costs a column, and nothing while nobody else writes. Under contention sagas are refused and do their work again: where
// that is the rule rather than the exception, a semantic lock is cheaper.
//
// Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2: optimistic offline locking, which is
// Fowler's (Patterns of Enterprise Application Architecture).
type Reread struct {
	statement string
	places    int
	refusal   skald.Refusal
}

// NewReread checks the statement and makes a reread of it. The statement is executed as it is. Its last argument is the version that was
// read: its WHERE compares a column with it, and its SET gives that column another value, or the next writer would not
// notice this one.
//
//	UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 AND version = $3
//
// The refusal is what Write returns when the version is another; its code is one that the command declares.
func NewReread(statement string, refusal *skald.Refusal) (*Reread, error) {
	faults := []error{checkRefusal(refusal)}
	u, err := parseUpdate(statement)
	if err != nil {
		faults = append(faults, err)
	} else {
		faults = append(faults, u.versioned())
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("isolation: reread %.200q is refused:\n%w", statement, err)
	}
	return &Reread{statement, slices.Max(u.places), *refusal}, nil
}

// versioned checks that the version is compared, and changed.
func (u *update) versioned() error {
	column := u.compared(slices.Max(append(u.places, 0)))
	if column == "" {
		return errors.New("the last placeholder is compared with no version: as in AND version = $3")
	}
	set := slices.IndexFunc(u.set, func(a assignment) bool { return a.column == column })
	if set < 0 {
		return fmt.Errorf("%s is compared and stays as it is: change it as well, as in %s = %s + 1, or the next writer will not notice this one", column, column, column)
	}
	if value := bare(u.set[set].value); isColumn(value, column) || len(value) == 1 && value[0].place == slices.Max(u.places) {
		return fmt.Errorf("%s is set to what it is: change it, as in %s = %s + 1, or the next writer will not notice this one", column, column, column)
	}
	return nil
}

// compared is the column that has to equal a placeholder; empty for none.
func (u *update) compared(place int) string {
	named := func(i int) bool { return i >= 0 && i < len(u.where) && word(u.where[i].text[0]) }
	for i, t := range u.where {
		switch {
		case place == 0 || t.place != place:
		case i > 1 && u.where[i-1].is("=") && named(i-2):
			return u.where[i-2].text
		case i+2 < len(u.where) && u.where[i+1].is("=") && named(i+2):
			column := i + 2
			for column+2 < len(u.where) && u.where[column+1].is(".") {
				column += 2
			}
			return u.where[column].text
		}
	}
	return ""
}

// Write executes the statement with the arguments and the version that was read. It returns the refusal when the row has another version
// by now or is not there any more, with nothing written; the refusal's detail is a [Changed], without what the version is now.
func (r *Reread) Write(ctx context.Context, tx skald.Tx, version int64, args ...any) error {
	if len(args)+1 != r.places {
		return fmt.Errorf("isolation: a write at version %d with %d arguments: the statement takes %d, and the version", version, len(args), r.places-1)
	}
	result, err := tx.ExecContext(ctx, r.statement, append(slices.Clone(args), version)...)
	if err != nil {
		return fmt.Errorf("isolation: write at version %d: %w", version, err)
	}
	switch rows, err := result.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("isolation: write at version %d: %w", version, err)
	case rows > 1:
		return fmt.Errorf("isolation: write at version %d: it has changed %d rows: name one", version, rows)
	case rows == 0:
		return r.refusal.With(Changed{Read: version})
	default:
		return nil
	}
}

// Changed is the detail of a refusal because of another version.
type Changed struct {
	Read int64 `json:"read"`
	// Now is 0 when that is not known.
	Now int64 `json:"now,omitempty"`
}

// Unchanged compares the version that was read with the one that there is now, in the transaction that relies on
// it: for what is read and not written, and for handlers that have read the row already. It returns the refusal when that is newer. When it
// is older, whoever asks knows more than whoever answers, whose replica is behind: that is an error, which is retried.
func Unchanged(read, now int64, refusal *skald.Refusal) error {
	switch {
	case now < read:
		return fmt.Errorf("isolation: version %d was read, and this is version %d: it is behind", read, now)
	case now == read:
		return nil
	}
	if err := checkRefusal(refusal); err != nil {
		return fmt.Errorf("isolation: version %d was read, and this is version %d: %w", read, now, err)
	}
	return refusal.With(Changed{read, now})
}
