package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// nested is a savepoint of a handler's or an application's own, as a pgx.Tx.
type nested struct {
	*transaction
	depth int
	over  bool
}

func beginNested(ctx context.Context, t *transaction, depth int) (pgx.Tx, error) {
	n := &nested{transaction: t, depth: depth}
	if _, err := t.Exec(ctx, "savepoint "+n.name()); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *nested) name() string { return fmt.Sprintf("nested_%d", n.depth) }

// Begin implements [pgx.Tx].
func (n *nested) Begin(ctx context.Context) (pgx.Tx, error) {
	return beginNested(ctx, n.transaction, n.depth+1)
}

// Commit implements [pgx.Tx]: it keeps what was written since the savepoint.
func (n *nested) Commit(ctx context.Context) error {
	if n.over {
		return pgx.ErrTxClosed
	}
	n.over = true
	_, err := n.Exec(ctx, "release savepoint "+n.name())
	return err
}

// Rollback implements [pgx.Tx]: it undoes what was written since the savepoint.
func (n *nested) Rollback(ctx context.Context) error {
	if n.over {
		return pgx.ErrTxClosed
	}
	n.over = true
	n.discard() // what was queued since: whatever came before was sent ahead of the savepoint
	if _, err := n.Exec(ctx, "rollback to savepoint "+n.name()); err != nil {
		return err
	}
	_, err := n.Exec(ctx, "release savepoint "+n.name())
	return err
}
