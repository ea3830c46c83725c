package sqlite_test

import (
	"errors"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
)

var (
	declined = skald.Refuse("declined", "not enough credit")
	changed  = skald.Refuse("order_changed", "the order has changed")
)

// The statements of package isolation's countermeasures do on SQLite what they say, with each kind of placeholder.
func TestADeltaIsGuardedAndUndoneByItsOpposite(t *testing.T) {
	store := fresh(t)
	for table, statement := range map[string]string{
		"numbered": `UPDATE numbered SET authorized = authorized + ?1 WHERE id = ?2 AND authorized + ?1 BETWEEN 0 AND credit_limit`,
		"plain":    `UPDATE plain SET authorized = authorized + ? WHERE id = ? AND authorized + ? BETWEEN 0 AND credit_limit`,
	} {
		credit, err := isolation.NewDelta(statement, declined)
		must(t, err)
		inBatch(t, store, func(tx skald.Tx) {
			exec(t, tx, `CREATE TABLE `+table+` (id TEXT PRIMARY KEY, authorized INTEGER NOT NULL, credit_limit INTEGER NOT NULL)`)
			exec(t, tx, `INSERT INTO `+table+` VALUES ('ada', 0, 100), ('bob', 7, 100)`)
			must(t, credit.Apply(t.Context(), tx, 60, "ada"))
			must(t, credit.Apply(t.Context(), tx, 40, "ada"))
			err := credit.Apply(t.Context(), tx, 1, "ada")
			if refusal, refused := skald.AsRefusal(err); !refused || refusal.Code != "declined" {
				t.Errorf("%s: over the limit: %v", table, err)
			}
			must(t, credit.Undo(t.Context(), tx, 60, "ada")) // the first, after the second
			must(t, credit.Apply(t.Context(), tx, 0, "ada"))
			if err := credit.Apply(t.Context(), tx, 1, "eve"); !errors.Is(err, isolation.ErrNoRow) {
				t.Errorf("%s: nobody's: %v", table, err)
			}
			if err := credit.Undo(t.Context(), tx, 41, "ada"); !errors.Is(err, isolation.ErrTaken) {
				t.Errorf("%s: more than there is: %v", table, err)
			}
		})
		if n := number(t, store.DB(), `SELECT group_concat(authorized, '') FROM `+table); n != 407 {
			t.Errorf("%s: %d authorized, for ada and bob", table, n)
		}
	}
}

func TestAWriteAtAnOldVersionIsRefused(t *testing.T) {
	store := fresh(t)
	revise, err := isolation.NewReread(`UPDATE orders SET total = ?1, version = version + 1 WHERE id = ?2 AND version = ?3`, changed)
	must(t, err)
	inBatch(t, store, func(tx skald.Tx) {
		exec(t, tx, `CREATE TABLE orders (id TEXT PRIMARY KEY, total INTEGER NOT NULL, version INTEGER NOT NULL)`)
		exec(t, tx, `INSERT INTO orders VALUES ('o', 0, 4)`)
		must(t, revise.Write(t.Context(), tx, 4, 12, "o"))
		for id, version := range map[string]int64{"o": 4, "another": 1} {
			if _, refused := skald.AsRefusal(revise.Write(t.Context(), tx, version, 15, id)); !refused {
				t.Errorf("%s at version %d was written over", id, version)
			}
		}
		must(t, revise.Write(t.Context(), tx, 5, 13, "o"))
	})
	if total := number(t, store.DB(), `SELECT total FROM orders`); total != 13 {
		t.Errorf("total %d", total)
	}
}
