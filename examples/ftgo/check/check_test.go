package check_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/store/sqlite"
)

// schemas are the domain's own tables of each service's database.
var schemas = map[string][]string{
	"order":      {"audit", "replica", "order"},
	"consumer":   {"audit", "consumer"},
	"restaurant": {"audit", "restaurant"},
	"kitchen":    {"audit", "replica", "kitchen"},
	"accounting": {"audit", "accounting"},
}

var (
	createSteps   = []string{"create order", "verify consumer", "create ticket", "authorize card", "confirm ticket", "approve order"}
	parallelSteps = []string{"create order", "validate order details", "verify consumer", "validate order", "create ticket", "authorize card", "confirm ticket", "approve order"}
	cancelSteps   = []string{"begin cancel", "cancel ticket", "reverse authorization", "confirm ticket cancel", "confirm cancel"}
	reviseSteps   = []string{"begin revision", "revise ticket", "revise authorization", "confirm ticket revision", "confirm revision"}
)

// done are the entries of a saga's history that say that its steps landed.
func done(saga int, steps ...string) string {
	entries := make([]string, len(steps))
	for i, step := range steps {
		entries[i] = fmt.Sprintf("({%d}, %d, 1, '%s', 'done', '')", saga, i+1, step)
	}
	return strings.Join(entries, ", ")
}

// world is a sound one: order o1 is approved, order o2 was declined and undone. Sagas are
// numbered like their orders, messages 11 to 19 and 21 to 29 belong to them. Order o3 was cancelled by
// saga 5; order o4's first revision, saga 6, was declined, and its second, saga 7, was not. Orders o5 to
// o7 are of the parallel style: o5 is approved by saga 51, o6 was declined and undone by saga 61 when it
// was validated, o7 by saga 71 while it was not.
var world = map[string]string{
	"order": `
		INSERT INTO orders VALUES
			('o1', 'c1', 'r1', 'APPROVED', 1500, '[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"15.00"}]', 'z', 's', 'orchestration', '', '', 0, 1, 'k1', x'00', 1, 2),
			('o2', 'c1', 'r1', 'REJECTED', 90000, '[{"menuItemId":"pie","name":"Pie","quantity":60,"price":"15.00"}]', 'z', 's', 'orchestration', 'declined', '', 0, 1, 'k2', x'00', 1, 2),
			('o3', 'c1', 'r1', 'CANCELLED', 1500, '[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"15.00"}]', 'z', 's', 'orchestration', '', '', 1, 1, NULL, NULL, 1, 2),
			('o4', 'c1', 'r1', 'APPROVED', 3000, '[{"menuItemId":"pie","name":"Pie","quantity":2,"price":"15.00"}]', 'z', 's', 'orchestration', '', '', 2, 1, NULL, NULL, 1, 2),
			('o5', 'c2', 'r1', 'APPROVED', 1500, '[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"15.00"}]', 'z', 's', 'parallel', '', '', 0, 1, NULL, NULL, 1, 2),
			('o6', 'c2', 'r1', 'REJECTED', 90000, '[{"menuItemId":"pie","name":"Pie","quantity":60,"price":"15.00"}]', 'z', 's', 'parallel', 'declined', '', 0, 1, NULL, NULL, 1, 2),
			('o7', 'c2', 'r1', 'REJECTED', 1500, '[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"15.00"}]', 'z', 's', 'parallel', 'zone', '', 0, 1, NULL, NULL, 1, 2);
		INSERT INTO consumer_replica VALUES ('c1', 1, NULL), ('c2', 1, NULL);
		INSERT INTO restaurant_replica VALUES ('r1', 1, '{}');
		INSERT INTO skald_sagas (id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision) VALUES
			({1}, 'order.create', 1, 'o1', '', 'completed', 'approve order', '', x'', x'', '', '', NULL, 1, 2, 9),
			({2}, 'order.create', 1, 'o2', '', 'compensated', 'create order', 'declined', x'', x'', '', '', NULL, 1, 2, 9),
			({3}, 'order.create', 1, 'o3', '', 'completed', 'approve order', '', x'', x'', '', '', NULL, 1, 2, 9),
			({4}, 'order.create', 1, 'o4', '', 'completed', 'approve order', '', x'', x'', '', '', NULL, 1, 2, 9),
			({5}, 'order.cancel', 1, 'o3/1', '', 'completed', 'confirm cancel', '', x'', x'', '', '', NULL, 1, 2, 9),
			({6}, 'order.revise', 1, 'o4/1', '', 'compensated', 'begin revision', 'declined', x'', x'', '', '', NULL, 1, 2, 9),
			({7}, 'order.revise', 1, 'o4/2', '', 'completed', 'confirm revision', '', x'', x'', '', '', NULL, 1, 2, 9),
			({51}, 'order.create-parallel', 1, 'o5', '', 'completed', 'approve order', '', x'', x'', '', '', NULL, 1, 2, 9),
			({61}, 'order.create-parallel', 1, 'o6', '', 'compensated', 'create order', 'declined', x'', x'', '', '', NULL, 1, 2, 9),
			({71}, 'order.create-parallel', 1, 'o7', '', 'compensated', 'create order', 'zone', x'', x'', '', '', NULL, 1, 2, 9);
		INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES
			({1}, 1, 1, '', 'started', ''), ({1}, 2, 1, 'create order', 'done', ''), ({1}, 3, 1, 'verify consumer', 'sent', ''),
			({1}, 4, 1, 'verify consumer', 'done', ''), ({1}, 5, 1, 'create ticket', 'sent', ''), ({1}, 6, 1, 'create ticket', 'done', ''),
			({1}, 7, 1, 'authorize card', 'sent', ''), ({1}, 8, 1, 'authorize card', 'done', ''), ({1}, 9, 1, 'confirm ticket', 'sent', ''),
			({1}, 10, 1, 'confirm ticket', 'done', ''), ({1}, 11, 1, 'approve order', 'sent', ''), ({1}, 12, 1, 'approve order', 'done', ''),
			({1}, 13, 1, '', 'completed', ''),
			({2}, 1, 1, '', 'started', ''), ({2}, 2, 1, 'create order', 'done', ''), ({2}, 3, 1, 'verify consumer', 'sent', ''),
			({2}, 4, 1, 'verify consumer', 'done', ''), ({2}, 5, 1, 'create ticket', 'sent', ''), ({2}, 6, 1, 'create ticket', 'done', ''),
			({2}, 7, 1, 'authorize card', 'sent', ''), ({2}, 8, 1, 'authorize card', 'refused', 'declined'), ({2}, 9, 1, 'create ticket', 'undo sent', ''),
			({2}, 10, 1, 'create ticket', 'undone', ''), ({2}, 11, 1, 'create order', 'undone', ''), ({2}, 12, 1, '', 'compensated', ''),
			` + done(3, createSteps...) + `, ` + done(4, createSteps...) + `, ` + done(5, cancelSteps...) + `, ` + done(7, reviseSteps...) + `,
			` + done(6, reviseSteps[:2]...) + `, ({6}, 3, 1, 'revise authorization', 'refused', 'declined'),
			({6}, 4, 1, 'revise ticket', 'undone', ''), ({6}, 5, 1, 'begin revision', 'undone', ''),
			` + done(51, parallelSteps...) + `, ` + done(61, parallelSteps[:5]...) + `, ({61}, 6, 1, 'authorize card', 'refused', 'declined'),
			({61}, 7, 1, 'create ticket', 'undone', ''), ({61}, 8, 1, 'create order', 'undone', ''),
			` + done(71, parallelSteps[:1]...) + `, ({71}, 2, 1, 'verify consumer', 'sent', ''), ({71}, 3, 1, 'validate order details', 'sent', ''),
			({71}, 4, 1, 'validate order details', 'refused', 'zone'), ({71}, 5, 1, 'create order', 'undone', '');
		INSERT INTO effects (operation, step, action, at) VALUES
			('o1', 'create order', 'do', 1), ('o1', 'approve order', 'do', 1), ('o2', 'create order', 'do', 1), ('o2', 'create order', 'undo', 1),
			('o3', 'create order', 'do', 1), ('o3', 'approve order', 'do', 1), ('o3/1', 'begin cancel', 'do', 1), ('o3/1', 'confirm cancel', 'do', 1),
			('o4', 'create order', 'do', 1), ('o4', 'approve order', 'do', 1), ('o4/1', 'begin revision', 'do', 1), ('o4/1', 'begin revision', 'undo', 1),
			('o4/2', 'begin revision', 'do', 1), ('o4/2', 'confirm revision', 'do', 1),
			('o5', 'create order', 'do', 1), ('o5', 'validate order', 'do', 1), ('o5', 'approve order', 'do', 1),
			('o6', 'create order', 'do', 1), ('o6', 'validate order', 'do', 1), ('o6', 'create order', 'undo', 1),
			('o7', 'create order', 'do', 1), ('o7', 'create order', 'undo', 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES
			({11}, 1, 'ftgo.consumer', 'ftgo.consumer.verify-consumer', 1), ({12}, 1, 'ftgo.kitchen', 'ftgo.kitchen.create-ticket', 1),
			({13}, 1, 'ftgo.restaurant', 'ftgo.restaurant.validate-order-details', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({21}, 'order', 1), ({31}, 'order', 1), ({41}, 'order', 1);`,
	"consumer": `
		INSERT INTO consumers VALUES ('c1', 1, 'Ada', NULL, 10000, 1), ('c2', 1, 'Ben', NULL, 10000, 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES
			({21}, 2, 'order.replies', 'ftgo.consumer.verify-consumer.reply', 1), ({21}, 2, 'order.replies', 'ftgo.consumer.verify-consumer.reply', 2),
			({31}, 3, 'ftgo.consumer.events', 'ftgo.consumer.consumer-registered', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({11}, 'consumer', 1);`,
	"restaurant": `
		INSERT INTO restaurants VALUES ('r1', 1, '{}', 1, 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES ({41}, 3, 'ftgo.restaurant.events', 'ftgo.restaurant.restaurant-created', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({13}, 'restaurant', 1);`,
	"kitchen": `
		INSERT INTO tickets VALUES
			('o1', 'r1', 'AWAITING_ACCEPTANCE', '', '[{"menuItemId":"pie","name":"Pie","quantity":1}]', NULL, 1, 2),
			('o2', 'r1', 'CREATE_REJECTED', '', '[{"menuItemId":"pie","name":"Pie","quantity":60}]', NULL, 1, 2),
			('o3', 'r1', 'CANCELLED', '', '[{"menuItemId":"pie","name":"Pie","quantity":1}]', NULL, 1, 2),
			('o4', 'r1', 'ACCEPTED', '', '[{"menuItemId":"pie","name":"Pie","quantity":2}]', NULL, 1, 2),
			('o5', 'r1', 'AWAITING_ACCEPTANCE', '', '[{"menuItemId":"pie","name":"Pie","quantity":1}]', NULL, 1, 2),
			('o6', 'r1', 'CREATE_REJECTED', '', '[{"menuItemId":"pie","name":"Pie","quantity":60}]', NULL, 1, 2);
		INSERT INTO restaurant_replica VALUES ('r1', 1, '{}');
		INSERT INTO effects (operation, step, action, at) VALUES
			('o1', 'create ticket', 'do', 1), ('o1', 'confirm ticket', 'do', 1), ('o2', 'create ticket', 'do', 1), ('o2', 'create ticket', 'undo', 1),
			('o3', 'create ticket', 'do', 1), ('o3', 'confirm ticket', 'do', 1), ('o3/1', 'cancel ticket', 'do', 1), ('o3/1', 'confirm ticket cancel', 'do', 1),
			('o4', 'create ticket', 'do', 1), ('o4', 'confirm ticket', 'do', 1), ('o4/1', 'revise ticket', 'do', 1), ('o4/1', 'revise ticket', 'undo', 1),
			('o4/2', 'revise ticket', 'do', 1), ('o4/2', 'confirm ticket revision', 'do', 1), ('o4', 'accept', 'do', 1),
			('o5', 'create ticket', 'do', 1), ('o5', 'confirm ticket', 'do', 1), ('o6', 'create ticket', 'do', 1), ('o6', 'create ticket', 'undo', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({12}, 'kitchen', 1), ({41}, 'kitchen', 1);`,
	"accounting": `
		INSERT INTO accounts VALUES ('c1', 1, 10000, 4500, 1), ('c2', 1, 10000, 1500, 1);
		INSERT INTO authorizations VALUES ('a1', 'o1', 'c1', 1500, 'AUTHORIZED', 1, 1), ('a2', 'o2', 'c1', 90000, 'DECLINED', 1, 1),
			('a3', 'o3', 'c1', 1500, 'REVERSED', 1, 1), ('a4', 'o4', 'c1', 3000, 'AUTHORIZED', 1, 1),
			('a5', 'o5', 'c2', 1500, 'AUTHORIZED', 1, 1), ('a6', 'o6', 'c2', 90000, 'DECLINED', 1, 1);
		INSERT INTO ledger (posting, consumer_id, order_id, account, side, amount, balance, at) VALUES
			('p1', 'c1', '', 'available', 'debit', 10000, 10000, 1), ('p1', 'c1', '', 'limit', 'credit', 10000, 10000, 1),
			('p2', 'c1', 'o1', 'authorized', 'debit', 1500, 1500, 1), ('p2', 'c1', 'o1', 'available', 'credit', 1500, 8500, 1),
			('p3', 'c1', 'o3', 'authorized', 'debit', 1500, 3000, 1), ('p3', 'c1', 'o3', 'available', 'credit', 1500, 7000, 1),
			('p4', 'c1', 'o4', 'authorized', 'debit', 1500, 4500, 1), ('p4', 'c1', 'o4', 'available', 'credit', 1500, 5500, 1),
			('p5', 'c1', 'o3', 'available', 'debit', 1500, 7000, 1), ('p5', 'c1', 'o3', 'authorized', 'credit', 1500, 3000, 1),
			('p6', 'c1', 'o4', 'authorized', 'debit', 1500, 4500, 1), ('p6', 'c1', 'o4', 'available', 'credit', 1500, 5500, 1),
			('p7', 'c2', '', 'available', 'debit', 10000, 10000, 1), ('p7', 'c2', '', 'limit', 'credit', 10000, 10000, 1),
			('p8', 'c2', 'o5', 'authorized', 'debit', 1500, 1500, 1), ('p8', 'c2', 'o5', 'available', 'credit', 1500, 8500, 1);
		INSERT INTO effects (operation, step, action, at) VALUES ('o1', 'authorize card', 'do', 1), ('o2', 'authorize card', 'decline', 1),
			('o3', 'authorize card', 'do', 1), ('o3/1', 'reverse authorization', 'do', 1),
			('o4', 'authorize card', 'do', 1), ('o4/1', 'revise authorization', 'decline', 1), ('o4/2', 'revise authorization', 'do', 1),
			('o5', 'authorize card', 'do', 1), ('o6', 'authorize card', 'decline', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({31}, 'accounting', 1);`,
}

// numbered puts 16-byte ids where the text has {N}.
func numbered(text string) string {
	for n := range 100 {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%d}", n), fmt.Sprintf("x'%032x'", n))
	}
	return text
}

func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), numbered(statement)); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(path), err, statement)
		}
	}
}

// build makes the sound world in a folder.
func build(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for service, parts := range schemas {
		statements := []string{"PRAGMA synchronous = OFF", sqlite.Schema()}
		for _, part := range parts {
			schema, err := os.ReadFile(filepath.Join("..", part, "sqlite.sql"))
			if err != nil {
				t.Fatal(err)
			}
			statements = append(statements, string(schema))
		}
		execute(t, filepath.Join(folder, service+".db"), append(statements, world[service], choreographed[service], startedAgain[service])...)
	}
	return folder
}

func TestASoundWorldHasNoViolations(t *testing.T) {
	t.Parallel()
	report, err := check.Run(t.Context(), databases.SQLite(build(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	if report.Orders != 11 || report.Sagas != 16 || report.Messages != 11 || len(report.Services) != 5 {
		t.Errorf("%+v", report)
	}
}

// fault is one that must be found by the invariant that it breaks.
type fault struct {
	name      string
	invariant int
	service   string
	sql       string
	about     string // what the violation must name
}

var planted = []fault{
	{"one side of a posting is missing", 1, "accounting", `DELETE FROM ledger WHERE posting = 'p2' AND side = 'credit'`, "p2"},
	{"debit and credit differ", 1, "accounting", `UPDATE ledger SET amount = 1400, balance = 1400 WHERE posting = 'p2' AND side = 'debit'`, "p2"},
	{"a posting over two consumers", 1, "accounting", `UPDATE ledger SET consumer_id = 'c9' WHERE entry = 3`, "p2"},
	{"a wrong balance", 1, "accounting", `UPDATE ledger SET balance = 8499 WHERE entry = 4`, "entry 4"},
	{"a balance that was negative once", 1, "accounting", `PRAGMA ignore_check_constraints = ON; UPDATE ledger SET balance = -1 WHERE entry = 4`, "negative"},
	{"an unknown account", 1, "accounting", `UPDATE ledger SET account = 'tips' WHERE entry = 4`, "tips"},
	{"an account that forgot an authorization", 1, "accounting", `UPDATE accounts SET authorized = 0`, "c1"},
	{"an account with another limit than its ledger", 1, "accounting", `UPDATE accounts SET credit_limit = 20000`, "limit"},
	{"more authorized than granted", 1, "accounting", `UPDATE authorizations SET amount = 20000 WHERE id = 'a1'`, "c1"},
	{"money authorized without an account", 1, "accounting", `DELETE FROM accounts`, "no account"},
	{"reversed on the account only", 1, "accounting", `UPDATE authorizations SET state = 'AUTHORIZED' WHERE id = 'a3'`, "c1"},
	{"reversed everywhere but on the account", 1, "accounting", `UPDATE authorizations SET state = 'REVERSED' WHERE id = 'a1'`, "c1"},
	{"revised on the account only", 1, "accounting", `UPDATE authorizations SET amount = 1500 WHERE id = 'a4'`, "c1"},

	{"approved without authorization", 2, "accounting", `UPDATE authorizations SET state = 'DECLINED'`, "o1"},
	{"approved with two authorizations", 2, "accounting", `INSERT INTO authorizations VALUES ('a9', 'o1', 'c1', 1500, 'AUTHORIZED', 1, 1)`, "a9"},
	{"approved, another amount authorized", 2, "accounting", `UPDATE authorizations SET amount = 1499 WHERE id = 'a1'`, "14.99"},
	{"approved, another consumer charged", 2, "accounting", `UPDATE authorizations SET consumer_id = 'c9' WHERE id = 'a1'`, "c9"},
	{"approved without a ticket", 2, "kitchen", `DELETE FROM tickets WHERE id = 'o1'`, "o1"},
	{"approved, its ticket rejected", 2, "kitchen", `UPDATE tickets SET state = 'CREATE_REJECTED' WHERE id = 'o1'`, "o1"},
	{"approved, other items cooked", 2, "kitchen", `UPDATE tickets SET line_items = '[{"menuItemId":"pie","quantity":2}]' WHERE id = 'o1'`, "items"},
	{"a live authorization without an order", 2, "accounting", `INSERT INTO authorizations VALUES ('a9', 'o9', 'c1', 0, 'AUTHORIZED', 1, 1)`, "o9"},
	{"a live ticket without an order", 2, "kitchen", `INSERT INTO tickets VALUES ('o9', 'r1', 'ACCEPTED', '', '[]', NULL, 1, 1)`, "o9"},
	{"a live ticket of an order that is not approved", 2, "order", `UPDATE orders SET state = 'APPROVAL_PENDING' WHERE id = 'o1'`, "ticket o1"},
	{"approved, and given back", 2, "accounting", `UPDATE authorizations SET state = 'REVERSED' WHERE id = 'a1'`, "o1"},
	{"approved, its ticket cancelled", 2, "kitchen", `UPDATE tickets SET state = 'CANCELLED' WHERE id = 'o1'`, "o1"},
	{"revised, the authorization as before", 2, "accounting", `UPDATE authorizations SET amount = 1500 WHERE id = 'a4'`, "o4"},
	{"revised, the ticket as before", 2, "kitchen", `UPDATE tickets SET line_items = '[{"menuItemId":"pie","quantity":1}]' WHERE id = 'o4'`, "order o4 and its ticket differ in their items"},

	{"rejected with a live authorization", 3, "accounting", `UPDATE authorizations SET state = 'AUTHORIZED' WHERE id = 'a2'`, "o2"},
	{"rejected with a live ticket", 3, "kitchen", `UPDATE tickets SET state = 'AWAITING_ACCEPTANCE' WHERE id = 'o2'`, "o2"},
	{"cancelled with a live authorization", 3, "accounting", `UPDATE authorizations SET state = 'AUTHORIZED' WHERE id = 'a3'`, "o3"},
	{"cancelled with a live ticket", 3, "kitchen", `UPDATE tickets SET state = 'ACCEPTED' WHERE id = 'o3'`, "o3"},

	{"an order pends without a saga", 4, "order", `UPDATE orders SET state = 'APPROVAL_PENDING' WHERE id = 'o2'`, "o2"},
	{"a ticket pends without a saga", 4, "kitchen", `UPDATE tickets SET state = 'CREATE_PENDING' WHERE id = 'o2'`, "o2"},
	{"a saga that goes on for ever", 4, "order", `UPDATE skald_sagas SET status = 'running' WHERE key = 'o2'`, "has not ended"},
	{"parked without a reason", 4, "order", `UPDATE skald_sagas SET status = 'parked', reason = '' WHERE key = 'o2'`, "without a reason"},
	{"a cancel pends without a saga", 4, "order", `UPDATE orders SET state = 'CANCEL_PENDING' WHERE id = 'o3'`, "o3"},
	{"a ticket's revision pends without a saga", 4, "kitchen", `UPDATE tickets SET state = 'REVISION_PENDING' WHERE id = 'o4'`, "o4"},
	{"a cancel that goes on for ever", 4, "order", `UPDATE skald_sagas SET status = 'running' WHERE key = 'o3/1'`, "has not ended"},
	{"parked, and its order released", 4, "order", `UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o4/2'`, "does not hold"},
	{"an order pends in parallel without a saga", 4, "order", `UPDATE orders SET state = 'PENDING' WHERE id = 'o7'`, "order o7 is PENDING"},
	{"a validated order pends without a saga", 4, "order", `UPDATE orders SET state = 'VALIDATED' WHERE id = 'o6'`, "order o6 is VALIDATED"},
	{"parked in parallel, and its order released", 4, "order", `UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o5'`, "does not hold"},

	{"an order that its saga has not locked", 4, "order", `UPDATE orders SET state = 'CANCEL_PENDING' WHERE id = 'o3'; UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o3/1'`, "has no lock on ftgo.order.order o3"},
	{"an order for whose lock its saga waits", 4, "order", lockOrder("o3", 1, 5, "{9}") + `; UPDATE orders SET state = 'CANCEL_PENDING' WHERE id = 'o3'; UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o3/1'`, "has no lock on ftgo.order.order o3"},
	{"an order that another saga has locked", 4, "order", lockOrder("o3", 1, 3, "NULL") + `; UPDATE orders SET state = 'CANCEL_PENDING' WHERE id = 'o3'; UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o3/1'`, "has no lock on ftgo.order.order o3"},

	{"a lock held by a saga that has ended", 5, "order", `UPDATE orders SET state = 'APPROVAL_PENDING' WHERE id = 'o2'`, "o2"},
	{"a lock with two holders", 5, "order", `UPDATE skald_sagas SET status = 'parked';
		INSERT INTO skald_sagas (id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision) VALUES ({9}, 'order.cancel', 1, 'o1/1', '', 'parked', '', 'r', x'', x'', '', '', NULL, 1, 2, 9)`, "2 sagas"},
	{"a lock held by a revision that has ended", 5, "order", `UPDATE orders SET state = 'REVISION_PENDING' WHERE id = 'o4'`, "o4"},
	{"a validated order held by a saga that has ended", 5, "order", `UPDATE orders SET state = 'VALIDATED' WHERE id = 'o6'`, "order o6 is VALIDATED, a lock held by saga"},
	{"a lock with two operations as holders", 5, "order", `UPDATE skald_sagas SET status = 'parked' WHERE key IN ('o4/1', 'o4/2')`, "order o4 is locked by 2 sagas"},

	{"a semantic lock held by a saga that has ended", 5, "kitchen", lockTicket("o4", 1, 7, "NULL"), "ftgo.kitchen.ticket o4 is held by saga"},
	{"a semantic lock held by a saga that nobody knows", 5, "order", lockOrder("o1", 1, 99, "NULL"), "no such saga"},
	{"a semantic lock of another order", 5, "order", lockOrder("o1", 1, 2, "NULL") + `; UPDATE skald_sagas SET status = 'parked' WHERE key = 'o2'`, "about another order"},
	{"a semantic lock waited for by a saga that has ended", 5, "order", lockOrder("o1", 1, 1, "NULL") + ";" + lockOrder("o1", 2, 2, "{3}") + parkFirst, "is waited for by saga 00000000-0000-0000-0000-000000000002"},
	{"a semantic lock with a second holder", 5, "order", lockOrder("o1", 1, 1, "NULL") + ";" + lockOrder("o1", 2, 2, "NULL") + parkFirst, "held by 2 sagas at once"},
	{"a semantic lock with two first places", 5, "order", lockOrder("o1", 1, 1, "NULL") + ";" + lockOrder("o1", 1, 2, "{3}") + parkFirst, "held by 2 sagas at once"},

	{"an idempotency key used twice", 6, "order", `DROP INDEX orders_by_idempotency_key; UPDATE orders SET idempotency_key = 'k1'`, "o1, o2"},

	{"a command handled twice", 7, "kitchen", `INSERT INTO audit_handled (id, grp, at) VALUES ({12}, 'kitchen', 1)`, "2 times"},
	{"a command lost", 7, "kitchen", `DELETE FROM audit_handled WHERE id = {12}`, "never handled by kitchen"},
	{"a reply lost", 7, "order", `DELETE FROM audit_handled WHERE id = {21}`, "never handled by order"},
	{"an event lost to one of two subscribers", 7, "accounting", `DELETE FROM audit_handled`, "never handled by accounting"},
	{"a message that nobody sent", 7, "order", `INSERT INTO audit_handled (id, grp, at) VALUES ({77}, 'order', 1)`, "nobody sent it"},
	{"a validation lost", 7, "restaurant", `DELETE FROM audit_handled`, "never handled by restaurant"},
	{"a command handled by a stranger", 7, "accounting", `INSERT INTO audit_handled (id, grp, at) VALUES ({12}, 'accounting', 1)`, "not for"},
	{"handled and still held", 7, "kitchen", `INSERT INTO skald_held (grp, id, channel, order_key, state, attempts, next_attempt, reason, held_at, message) VALUES ('kitchen', {12}, 'c', 'k', 'parked', 1, 0, 'r', 1, x'')`, "held there"},
	{"an event that nobody knows", 7, "order", `INSERT INTO audit_sent (id, kind, channel, type, at) VALUES ({78}, 3, 'x', 'y', 1)`, "nobody subscribes"},

	{"an effect applied twice", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o1', 'confirm ticket', 'do', 2)`, "2 times"},
	{"validated without effect", 8, "order", `DELETE FROM effects WHERE operation = 'o5' AND step = 'validate order'`, "no effect"},
	{"validated twice", 8, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o6', 'validate order', 'do', 2)`, "2 times"},
	{"a card charged and declined", 8, "accounting", `INSERT INTO effects (operation, step, action, at) VALUES ('o1', 'authorize card', 'decline', 2)`, "both"},
	{"a step done without effect", 8, "kitchen", `DELETE FROM effects WHERE step = 'confirm ticket'`, "no effect"},
	{"given back twice", 8, "accounting", `INSERT INTO effects (operation, step, action, at) VALUES ('o3/1', 'reverse authorization', 'do', 2)`, "2 times"},
	{"a cancel's step done without effect", 8, "accounting", `DELETE FROM effects WHERE step = 'reverse authorization'`, "no effect"},
	{"a revision both done and declined", 8, "accounting", `INSERT INTO effects (operation, step, action, at) VALUES ('o4/2', 'revise authorization', 'decline', 2)`, "both"},
	{"the effect of another revision's step", 8, "kitchen", `UPDATE effects SET operation = 'o4/1' WHERE operation = 'o4/2'`, "o4/2"},
	{"the effect of a revision that never was", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o4/3', 'revise ticket', 'do', 2)`, "no such"},

	{"a landed step not undone", 9, "order", `DELETE FROM skald_history WHERE saga = {2} AND step = 'create ticket' AND what = 'undone'`, "undone 0 times"},
	{"a landed step undone twice", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({2}, 13, 1, 'create ticket', 'undone', '')`, "undone 2 times"},
	{"undone in the order in which it was done", 9, "order", `UPDATE skald_history SET number = number + 10 WHERE saga = {2} AND number = 10`, "reverse order"},
	{"a step undone that has no undo", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({2}, 13, 1, 'authorize card', 'undone', '')`, "has no undo"},
	{"the participant did not undo", 9, "kitchen", `DELETE FROM effects WHERE action = 'undo'`, "undid it 0 times"},
	{"the pivot landed all the same", 9, "accounting", `UPDATE effects SET action = 'do' WHERE operation = 'o2'`, "cannot be undone"},
	{"a completed saga undone", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({1}, 14, 1, 'create ticket', 'undone', '')`, "is completed"},
	{"a completed saga's participant undid", 9, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o1', 'create ticket', 'undo', 2)`, "kitchen undid"},
	{"a revision not undone", 9, "kitchen", `DELETE FROM effects WHERE operation = 'o4/1' AND action = 'undo'`, "undid it 0 times"},
	{"a revision undone in the order in which it was done", 9, "order", `UPDATE skald_history SET number = number + 10 WHERE saga = {6} AND number = 4`, "reverse order"},
	{"a declined revision landed all the same", 9, "accounting", `UPDATE effects SET action = 'do' WHERE operation = 'o4/1'`, "cannot be undone"},
	{"in parallel, a landed step not undone", 9, "order", `DELETE FROM skald_history WHERE saga = {61} AND step = 'create ticket' AND what = 'undone'`, "undone 0 times"},
	{"in parallel, undone in the order in which it was done", 9, "order", `UPDATE skald_history SET number = number + 10 WHERE saga = {61} AND number = 7`, "reverse order"},
	{"a branch undone that has no undo", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({71}, 6, 1, 'verify consumer', 'undone', '')`, "has no undo"},
	{"validated, and that undone by itself", 9, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o6', 'validate order', 'undo', 2)`, "has no undo"},
	{"in parallel, the participant did not undo", 9, "kitchen", `DELETE FROM effects WHERE operation = 'o6' AND action = 'undo'`, "undid it 0 times"},
	{"in parallel, approved all the same", 9, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o7', 'approve order', 'do', 2)`, "cannot be undone"},
	{"in parallel, a completed saga undone", 9, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o5', 'create order', 'undo', 2)`, "order undid"},
	{"a cancelled order's ticket put back", 9, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o3/1', 'cancel ticket', 'undo', 2)`, "kitchen undid"},

	{"the kitchen's menu is old", 10, "kitchen", `UPDATE restaurant_replica SET version = 0`, "kitchen's replica of restaurant r1"},
	{"the order service's menu differs", 10, "order", `UPDATE restaurant_replica SET content = '{"x":1}'`, "order's replica of restaurant r1"},
	{"a menu is missing", 10, "kitchen", `DELETE FROM restaurant_replica`, "missing"},
	{"a menu of nobody", 10, "restaurant", `DELETE FROM restaurants`, "does not know it"},
	{"a consumer's limit differs", 10, "order", `UPDATE consumer_replica SET order_limit = 5`, "consumer c1"},
	{"a consumer is missing", 10, "order", `DELETE FROM consumer_replica`, "missing"},
	{"an account of an old consumer", 10, "accounting", `UPDATE accounts SET consumer_version = 0`, "account of consumer c1"},
}

// lockOrder and lockTicket put a saga into a place of a queue, with a message that waits or NULL.
func lockOrder(order string, place, saga int, message string) string {
	return lockOf("ftgo.order.order", order, place, saga, message)
}

func lockTicket(order string, place, saga int, message string) string {
	return lockOf("ftgo.kitchen.ticket", order, place, saga, message)
}

func lockOf(resource, key string, place, saga int, message string) string {
	return fmt.Sprintf(`INSERT INTO skald_locks (resource, key, root, place, round, saga, name, step, uses, grp, message, since)
		VALUES ('%s', '%s', {%d}, %d, 0, {%d}, 'n', 's', 1, '', %s, 1)`, resource, key, saga, place, saga, message)
}

const parkFirst = `; UPDATE orders SET state = 'APPROVAL_PENDING' WHERE id = 'o1'; UPDATE skald_sagas SET status = 'parked', reason = 'r' WHERE key = 'o1'`

func TestEveryInvariantFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	tested := map[int]bool{}
	for _, p := range slices.Concat(planted, plantedInChoreographies, plantedInRounds) {
		tested[p.invariant] = true
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			folder := build(t)
			execute(t, filepath.Join(folder, p.service+".db"), p.sql)
			report, err := check.Run(t.Context(), databases.SQLite(folder))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range report.Violations {
				if v.Invariant == p.invariant && strings.Contains(v.What, p.about) && !strings.Contains(v.String(), "\n") {
					return
				}
			}
			t.Errorf("not found by invariant %d as %q; found: %v", p.invariant, p.about, report.Violations)
		})
	}
	for _, invariant := range check.Invariants {
		if !tested[invariant.Number] {
			t.Errorf("nothing is planted for invariant %d: %s", invariant.Number, invariant.Text)
		}
	}
}

// What waits where an operator sees it is no violation.
func TestWhatWaitsIsNotLost(t *testing.T) {
	t.Parallel()
	folder := build(t)
	execute(t, filepath.Join(folder, "kitchen.db"), `DELETE FROM audit_handled WHERE id = {12}`,
		`INSERT INTO skald_held (grp, id, channel, order_key, state, attempts, next_attempt, reason, held_at, message) VALUES ('kitchen', {12}, 'c', 'k', 'parked', 1, 0, 'r', 1, x'')`)
	execute(t, filepath.Join(folder, "consumer.db"), `DELETE FROM audit_handled WHERE id = {11}`)
	execute(t, filepath.Join(folder, "order.db"),
		`INSERT INTO skald_unpublished (id, position_commit, position_index, channel, order_key, attempts, next_attempt, reason, added_at, message) VALUES ({11}, 1, 0, 'ftgo.consumer', 'k', 1, 0, 'r', 1, x'')`,
		`UPDATE skald_sagas SET status = 'parked', reason = 'stuck' WHERE key = 'o2'`,
		`UPDATE orders SET state = 'APPROVAL_PENDING' WHERE id IN ('o2', 'o81')`,
		`UPDATE skald_sagas SET status = 'parked', reason = 'stalled' WHERE key = 'o81'`,
		lockOrder("o2", 1, 2, "NULL"))
	execute(t, filepath.Join(folder, "kitchen.db"), `UPDATE tickets SET state = 'CREATE_PENDING' WHERE id = 'o81'`)
	execute(t, filepath.Join(folder, "accounting.db"), `UPDATE authorizations SET state = 'PENDING' WHERE id = 'a81'`)
	report, err := check.Run(t.Context(), databases.SQLite(folder))
	if err != nil || !report.OK() {
		t.Errorf("%v, %v", report.Violations, err)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := check.Run(t.Context(), databases.SQLite(t.TempDir())); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("an empty folder: %v", err)
	}
	folder := build(t)
	if err := os.WriteFile(filepath.Join(folder, "kitchen.db"), []byte("garbage, and more of it than fits a header of SQLite's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := check.Run(t.Context(), databases.SQLite(folder)); err == nil || !strings.Contains(err.Error(), "the kitchen service's database") {
		t.Errorf("a damaged database: %v", err)
	}
}

// What is under way looks unfinished, and is waited for.
func TestSettledWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	folder := build(t)
	kitchen := filepath.Join(folder, "kitchen.db")
	execute(t, kitchen, `DELETE FROM audit_handled WHERE id = {12}`)
	if report, err := check.Settled(t.Context(), databases.SQLite(folder), 0); err != nil || report.OK() {
		t.Errorf("without patience: %+v, %v", report, err)
	}
	settled := make(chan error, 1)
	go func() {
		report, err := check.Settled(t.Context(), databases.SQLite(folder), time.Minute)
		if err == nil && !report.OK() {
			err = fmt.Errorf("%v", report.Violations)
		}
		settled <- err
	}()
	execute(t, kitchen, `INSERT INTO audit_handled (id, grp, at) VALUES ({12}, 'kitchen', 1)`)
	if err := <-settled; err != nil {
		t.Error(err)
	}
}
