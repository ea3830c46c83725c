package skaldtest

import (
	"iter"
	"maps"
)

// table holds committed rows. Rows are never changed in place and alias nothing that a
// caller holds, so copies of the map are snapshots.
type table[K comparable, V any] struct {
	rows   map[K]V
	shared bool // with a copy: rows is cloned before it is changed
}

// clone returns an independent copy.
func (t *table[K, V]) clone() table[K, V] {
	if !t.shared { // a backup may be restored by several at once
		t.shared = true
	}
	return *t
}

// own makes the rows the table's alone, to be changed.
func (t *table[K, V]) own() map[K]V {
	if t.shared || t.rows == nil {
		rows := make(map[K]V, len(t.rows)+1)
		maps.Copy(rows, t.rows)
		t.rows, t.shared = rows, false
	}
	return t.rows
}

// layer is a table as one transaction sees it: its own changes above the committed rows.
type layer[K comparable, V any] struct {
	table   *table[K, V]
	own     map[K]change[V]
	journal *journal
}

type change[V any] struct {
	row     V
	deleted bool
}

// journal undoes a transaction's changes, the last one first.
type journal struct{ undo []func() }

// rollbackTo undoes what was changed since the journal had the length.
func (j *journal) rollbackTo(length int) {
	for len(j.undo) > length {
		last := len(j.undo) - 1
		j.undo[last]()
		j.undo = j.undo[:last]
	}
}

func (l *layer[K, V]) get(key K) (V, bool) {
	if c, ok := l.own[key]; ok {
		return c.row, !c.deleted
	}
	row, ok := l.table.rows[key]
	return row, ok
}

func (l *layer[K, V]) on(t *table[K, V], j *journal) { l.table, l.journal = t, j }

func (l *layer[K, V]) put(key K, row V) { l.change(key, change[V]{row: row}) }

func (l *layer[K, V]) delete(key K) { l.change(key, change[V]{deleted: true}) }

func (l *layer[K, V]) change(key K, c change[V]) {
	if l.own == nil {
		l.own = map[K]change[V]{}
	}
	earlier, changed := l.own[key]
	l.journal.undo = append(l.journal.undo, func() {
		if changed {
			l.own[key] = earlier
		} else {
			delete(l.own, key)
		}
	})
	l.own[key] = c
}

// all yields every row, in no order.
func (l *layer[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, c := range l.own {
			if !c.deleted && !yield(key, c.row) {
				return
			}
		}
		for key, row := range l.table.rows {
			if _, changed := l.own[key]; !changed && !yield(key, row) {
				return
			}
		}
	}
}

// apply makes the changes the table's own.
func (l *layer[K, V]) apply() {
	if len(l.own) == 0 {
		return
	}
	rows := l.table.own()
	for key, c := range l.own {
		if c.deleted {
			delete(rows, key)
		} else {
			rows[key] = c.row
		}
	}
}
