package check_test

// startedAgain adds order o41 to the sound world, created by saga 42. Its first revision, saga 43, started again twice, at the
// ticket and at the card, and was done in its third round. The second one, saga 44, started again once, and was declined then.
var startedAgain = map[string]string{
	"order": `
		INSERT INTO orders VALUES
			('o41', 'c4', 'r1', 'APPROVED', 3000, '[{"menuItemId":"pie","name":"Pie","quantity":2,"price":"15.00"}]', 'z', 's', 'orchestration', '', 'declined', 5, 4, NULL, NULL, 1, 2);
		INSERT INTO consumer_replica VALUES ('c4', 1, NULL);
		INSERT INTO skald_sagas (id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision) VALUES
			({42}, 'order.create', 1, 'o41', '', 'completed', 'approve order', '', x'', x'', '', '', NULL, 1, 2, 9),
			({43}, 'order.revise', 1, 'o41/1', '', 'completed', 'confirm revision', '', x'', x'', '', '', NULL, 1, 2, 9),
			({44}, 'order.revise', 1, 'o41/2', '', 'compensated', 'begin revision', 'declined', x'', x'', '', '', NULL, 1, 2, 9);
		INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ` + done(42, createSteps...) + `,
			({43}, 11, 1, 'begin revision', 'done', ''), ({43}, 12, 1, 'revise ticket', 'sent', ''), ({43}, 13, 1, 'revise ticket', 'refused', 'menu_changed'),
			({43}, 14, 1, 'begin revision', 'undone', ''), ({43}, 15, 1, '', 'started again', 'round 1'),
			({43}, 21, 1, 'begin revision', 'done', ''), ({43}, 22, 1, 'revise ticket', 'sent', ''), ({43}, 23, 1, 'revise ticket', 'done', ''),
			({43}, 24, 1, 'revise authorization', 'sent', ''), ({43}, 25, 1, 'revise authorization', 'refused', 'order_changed'),
			({43}, 26, 1, 'revise ticket', 'undone', ''), ({43}, 27, 1, 'begin revision', 'undone', ''), ({43}, 28, 1, '', 'started again', 'round 2'),
			({43}, 31, 1, 'begin revision', 'done', ''), ({43}, 32, 1, 'revise ticket', 'done', ''), ({43}, 33, 1, 'revise authorization', 'done', ''),
			({43}, 34, 1, 'confirm ticket revision', 'done', ''), ({43}, 35, 1, 'confirm revision', 'done', ''),
			({44}, 11, 1, 'begin revision', 'done', ''), ({44}, 12, 1, 'revise ticket', 'sent', ''), ({44}, 13, 1, 'revise ticket', 'refused', 'menu_changed'),
			({44}, 14, 1, 'begin revision', 'undone', ''), ({44}, 15, 1, '', 'started again', 'round 1'),
			({44}, 21, 1, 'begin revision', 'done', ''), ({44}, 22, 1, 'revise ticket', 'done', ''), ({44}, 23, 1, 'revise authorization', 'refused', 'declined'),
			({44}, 24, 1, 'revise ticket', 'undone', ''), ({44}, 25, 1, 'begin revision', 'undone', '');
		INSERT INTO effects (operation, step, action, at) VALUES
			('o41', 'create order', 'do', 1), ('o41', 'approve order', 'do', 1),
			('o41/1', 'begin revision', 'do', 1), ('o41/1', 'begin revision', 'undo', 1), ('o41/1', 'begin revision', 'do', 1),
			('o41/1', 'begin revision', 'undo', 1), ('o41/1', 'begin revision', 'do', 1), ('o41/1', 'confirm revision', 'do', 1),
			('o41/2', 'begin revision', 'do', 1), ('o41/2', 'begin revision', 'undo', 1), ('o41/2', 'begin revision', 'do', 1), ('o41/2', 'begin revision', 'undo', 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES
			({45}, 1, 'ftgo.kitchen', 'skald.lock.sweep', 1), ({46}, 1, 'order.replies', 'skald.lock.sweep', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({46}, 'order', 1);`,
	"consumer": `INSERT INTO consumers VALUES ('c4', 1, 'Dag', NULL, 10000, 1);`,
	"kitchen": `
		INSERT INTO tickets VALUES ('o41', 'r1', 'ACCEPTED', '', '[{"menuItemId":"pie","name":"Pie","quantity":2}]', NULL, 1, 2);
		INSERT INTO effects (operation, step, action, at) VALUES
			('o41', 'create ticket', 'do', 1), ('o41', 'confirm ticket', 'do', 1), ('o41/1', 'revise ticket', 'do', 1), ('o41/1', 'revise ticket', 'undo', 1),
			('o41/1', 'revise ticket', 'do', 1), ('o41/1', 'confirm ticket revision', 'do', 1), ('o41/2', 'revise ticket', 'do', 1), ('o41/2', 'revise ticket', 'undo', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({45}, 'kitchen', 1);`,
	"accounting": `
		INSERT INTO accounts VALUES ('c4', 1, 10000, 3000, 1);
		INSERT INTO authorizations VALUES ('a41', 'o41', 'c4', 3000, 'AUTHORIZED', 1, 1);
		INSERT INTO ledger (posting, consumer_id, order_id, account, side, amount, balance, at) VALUES
			('p91', 'c4', '', 'available', 'debit', 10000, 10000, 1), ('p91', 'c4', '', 'limit', 'credit', 10000, 10000, 1),
			('p92', 'c4', 'o41', 'authorized', 'debit', 3000, 3000, 1), ('p92', 'c4', 'o41', 'available', 'credit', 3000, 7000, 1);
		INSERT INTO effects (operation, step, action, at) VALUES
			('o41', 'authorize card', 'do', 1), ('o41/1', 'revise authorization', 'do', 1), ('o41/2', 'revise authorization', 'decline', 1);`,
}

// plantedInRounds are faults that only sagas can have that started again.
var plantedInRounds = []fault{
	{"a sweep that got lost", 7, "kitchen", `DELETE FROM audit_handled WHERE id = {45}`, "never handled by kitchen"},
	{"a sweep of its own that got lost", 7, "order", `DELETE FROM audit_handled WHERE id = {46}`, "never handled by order"},

	{"done more often than it has begun", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o41/1', 'revise ticket', 'do', 2), ('o41/1', 'revise ticket', 'do', 2)`, "4 times"},
	{"undone more often than it has begun", 8, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o41/2', 'begin revision', 'undo', 2)`, "3 times"},
	{"done in two rounds with one effect", 8, "order", `DELETE FROM effects WHERE id = (SELECT min(id) FROM effects WHERE operation = 'o41/2' AND action = 'do')`, "done in 2 rounds, and order recorded 1 effects"},
	{"a card charged in each round", 8, "accounting", `INSERT INTO effects (operation, step, action, at) VALUES ('o41/1', 'revise authorization', 'do', 2)`, "2 times"},

	{"started again, and not undone before", 9, "order", `DELETE FROM skald_history WHERE saga = {43} AND number = 14`, `(round 1, after which it started again): "begin revision" landed and was undone 0 times`},
	{"undone twice before it started again", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({43}, 16, 1, 'revise ticket', 'undone', ''), ({43}, 17, 1, 'revise ticket', 'undone', '')`, "undone 3 times"},
	{"undone in the wrong order before it started again", 9, "order", `UPDATE skald_history SET number = 20 + 9 - 2 * (number - 26) WHERE saga = {43} AND number IN (26, 27); UPDATE skald_history SET number = 30 WHERE saga = {43} AND number = 28`, "(round 2, after which it started again) was undone in the order"},
	{"started again behind its pivot", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({43}, 20, 1, 'revise authorization', 'done', '')`, "which cannot be undone"},
	{"started again, and the participant did not undo", 9, "kitchen", `DELETE FROM effects WHERE operation = 'o41/1' AND action = 'undo'`, "did \"revise ticket\" 2 times and undid it 0 times"},
	{"started again, and the last round undone too", 9, "order", `INSERT INTO effects (operation, step, action, at) VALUES ('o41/1', 'begin revision', 'undo', 2)`, "it started again 2 times"},
	{"the last round not undone", 9, "order", `DELETE FROM skald_history WHERE saga = {44} AND number = 25`, "undone 0 times"},
	{"the last round's participant did not undo", 9, "order", `DELETE FROM effects WHERE id = (SELECT min(id) FROM effects WHERE operation = 'o41/2' AND action = 'undo')`, "did \"begin revision\" 2 times and undid it 1 times"},
	{"completed, and its history undoes the last round", 9, "order", `INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ({43}, 36, 1, 'begin revision', 'undone', '')`, "is completed, and its history undoes"},
}
