package skaldtest

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skald-go/skald"
)

// recorder notes what handlers and local steps read and write in the transaction under way.
type recorder struct {
	doing doing
	noted []noted
}

// doing is who does it: a saga, or somebody outside.
type doing struct {
	saga skald.ID
	op   Operation
}

// noted is an operation whose saga has no name yet.
type noted struct {
	saga skald.ID
	op   Operation
}

// begin forgets a transaction that was not committed.
func (r *recorder) begin() {
	if r != nil {
		r.noted = nil
	}
}

func (r *recorder) note(kind OperationKind, table, key, value string) {
	if r != nil {
		op := r.doing.op
		op.Kind, op.Item, op.Value = kind, table+"/"+key, value
		r.noted = append(r.noted, noted{r.doing.saga, op})
	}
}

// length is a mark to return to.
func (r *recorder) length() int {
	if r == nil {
		return 0
	}
	return len(r.noted)
}

// rollbackTo forgets the changes since a mark. What was read was read.
func (r *recorder) rollbackTo(mark int) {
	if r != nil {
		reads := slices.DeleteFunc(slices.Clone(r.noted[mark:]), func(n noted) bool { return n.op.changes() })
		r.noted = append(slices.Clip(r.noted[:mark]), reads...)
	}
}

// allRows is the item that says which rows a table has: a List reads it, and what inserts or removes a
// row adds to it.
const allRows = "*"

func (tx *Tx) noteList(table string, rows map[string]string) {
	if tx.recorder == nil {
		return
	}
	keys := make([]string, 0, len(rows))
	for key := range rows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	tx.recorder.note(OperationRead, table, allRows, strings.Join(keys, " "))
	for _, key := range keys {
		tx.recorder.note(OperationRead, table, key, rows[key])
	}
}

func (tx *Tx) notePut(table, key, value string) {
	if tx.recorder == nil {
		return
	}
	if _, there := tx.view.business.get(businessKey{table, key}); !there {
		tx.recorder.note(OperationAdd, table, allRows, "+"+strconv.Quote(key))
	}
	tx.recorder.note(OperationWrite, table, key, value)
}

func (tx *Tx) noteDelete(table, key string) {
	if tx.recorder == nil {
		return
	}
	if _, there := tx.view.business.get(businessKey{table, key}); there {
		tx.recorder.note(OperationAdd, table, allRows, "-"+strconv.Quote(key))
	}
	tx.recorder.note(OperationWrite, table, key, "")
}

// Add adds to a number, unless it would then be less than the least: false says that, and that nothing has changed. It
// is what UPDATE … SET n = n + by WHERE n + by >= least does: additions commute. An absent number is 0, and
// [math.MinInt64] is no least.
func (tx *Tx) Add(table, key string, by, least int64) bool {
	tx.mustNotBeCommitted()
	value, _ := tx.view.business.get(businessKey{table, key})
	if least > math.MinInt64 {
		tx.recorder.note(OperationRead, table, key, value) // the guard looks at it
	}
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil && value != "" {
		panic("skaldtest: add to " + strconv.Quote(value) + ": not a number")
	}
	if number+by < least {
		return false
	}
	tx.recorder.note(OperationAdd, table, key, strconv.FormatInt(by, 10))
	tx.view.business.put(businessKey{table, key}, strconv.FormatInt(number+by, 10))
	return true
}
