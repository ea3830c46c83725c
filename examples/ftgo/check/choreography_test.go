package check_test

// choreographed adds orders to the sound world that nobody orchestrated: o8 is approved, the card of o81
// was declined, and of o82 the consumer and the ticket were refused, which the kitchen and accounting heard
// of before they heard of the order. Instances are numbered like their orders; messages 84 to 86 belong to o8.
var choreographed = map[string]string{
	"order": `
		INSERT INTO orders VALUES
			('o8', 'c3', 'r1', 'APPROVED', 1500, '[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"15.00"}]', 'z', 's', 'choreography', '', '', 0, 1, NULL, NULL, 1, 2),
			('o81', 'c3', 'r1', 'REJECTED', 90000, '[{"menuItemId":"pie","name":"Pie","quantity":60,"price":"15.00"}]', 'z', 's', 'choreography', 'declined', '', 0, 1, NULL, NULL, 1, 2),
			('o82', 'c3', 'r1', 'REJECTED', 1500, '[{"menuItemId":"fugu","name":"Fugu","quantity":1,"price":"15.00"}]', 'z', 's', 'choreography', 'limit', '', 0, 1, NULL, NULL, 1, 2);
		INSERT INTO consumer_replica VALUES ('c3', 1, NULL);
		INSERT INTO skald_sagas (id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision) VALUES
			({80}, 'order.create-choreographed', 1, 'o8', '', 'completed', 'ftgo.order.order-approved', '', x'', x'', '', '', NULL, 1, 2, 9),
			({81}, 'order.create-choreographed', 1, 'o81', '', 'compensated', 'ftgo.order.order-rejected', '', x'', x'', '', '', NULL, 1, 2, 9),
			({82}, 'order.create-choreographed', 1, 'o82', '', 'compensated', 'ftgo.order.order-rejected', '', x'', x'', '', '', NULL, 1, 2, 9);
		INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES
			({80}, 1, 1, 'ftgo.order.order-created', 'started', ''), ({80}, 2, 1, 'ftgo.consumer.consumer-verified', 'seen', 'from consumer'),
			({80}, 3, 1, 'ftgo.order.order-approved', 'seen', 'from order'), ({80}, 4, 1, '', 'completed', '');
		INSERT INTO effects (operation, step, action, at) VALUES
			('o8', 'create order', 'do', 1), ('o8', 'approve order', 'do', 1), ('o81', 'create order', 'do', 1), ('o81', 'create order', 'undo', 1),
			('o82', 'create order', 'do', 1), ('o82', 'create order', 'undo', 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES
			({84}, 3, 'ftgo.order.events', 'ftgo.order.order-created', 1), ({86}, 3, 'ftgo.order.events', 'ftgo.order.order-approved', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({85}, 'order', 1);`,
	"consumer": `
		INSERT INTO consumers VALUES ('c3', 1, 'Cem', NULL, 10000, 1);
		INSERT INTO effects (operation, step, action, at) VALUES
			('o8', 'verify consumer', 'do', 1), ('o81', 'verify consumer', 'do', 1), ('o82', 'verify consumer', 'decline', 1);
		INSERT INTO audit_sent (id, kind, channel, type, at) VALUES ({85}, 3, 'ftgo.consumer.events', 'ftgo.consumer.consumer-verified', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({84}, 'consumer', 1);`,
	"kitchen": `
		INSERT INTO tickets VALUES
			('o8', 'r1', 'AWAITING_ACCEPTANCE', '', '[{"menuItemId":"pie","name":"Pie","quantity":1}]', NULL, 1, 2),
			('o81', 'r1', 'CREATE_REJECTED', '', '[{"menuItemId":"pie","name":"Pie","quantity":60}]', NULL, 1, 2);
		INSERT INTO effects (operation, step, action, at) VALUES
			('o8', 'create ticket', 'do', 1), ('o8', 'confirm ticket', 'do', 1), ('o81', 'create ticket', 'do', 1), ('o81', 'create ticket', 'undo', 1),
			('o82', 'create ticket', 'decline', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({84}, 'kitchen', 1);`,
	"accounting": `
		INSERT INTO accounts VALUES ('c3', 1, 10000, 1500, 1);
		INSERT INTO authorizations VALUES ('a8', 'o8', 'c3', 1500, 'AUTHORIZED', 1, 1), ('a81', 'o81', 'c3', 90000, 'DECLINED', 1, 1);
		INSERT INTO ledger (posting, consumer_id, order_id, account, side, amount, balance, at) VALUES
			('p81', 'c3', '', 'available', 'debit', 10000, 10000, 1), ('p81', 'c3', '', 'limit', 'credit', 10000, 10000, 1),
			('p82', 'c3', 'o8', 'authorized', 'debit', 1500, 1500, 1), ('p82', 'c3', 'o8', 'available', 'credit', 1500, 8500, 1);
		INSERT INTO effects (operation, step, action, at) VALUES
			('o8', 'open authorization', 'do', 1), ('o8', 'authorize card', 'do', 1),
			('o81', 'open authorization', 'do', 1), ('o81', 'authorize card', 'decline', 1), ('o81', 'open authorization', 'undo', 1);
		INSERT INTO audit_handled (id, grp, at) VALUES ({84}, 'accounting', 1), ({85}, 'accounting', 1);`,
}

// plantedInChoreographies are faults that only orders can have that nobody orchestrated.
var plantedInChoreographies = []fault{
	{"nobody authorized", 2, "accounting", `UPDATE authorizations SET state = 'PENDING' WHERE id = 'a8'`, "order o8 is APPROVED with 0"},
	{"the ticket was not confirmed", 2, "kitchen", `UPDATE tickets SET state = 'CREATE_PENDING' WHERE id = 'o8'`, "order o8 is APPROVED, and its ticket"},
	{"charged all the same", 3, "accounting", `UPDATE authorizations SET state = 'AUTHORIZED' WHERE id = 'a81'`, "o81"},
	{"prepared all the same", 3, "kitchen", `UPDATE tickets SET state = 'AWAITING_ACCEPTANCE' WHERE id = 'o81'`, "o81"},

	{"an authorization pends that nobody will charge", 4, "accounting", `INSERT INTO authorizations VALUES ('a82', 'o82', 'c3', 1500, 'PENDING', 1, 1)`, "authorization a82 of order o82 is PENDING"},
	{"a ticket pends that nobody will confirm", 4, "kitchen", `UPDATE tickets SET state = 'CREATE_PENDING' WHERE id = 'o81'`, "ticket o81 is CREATE_PENDING"},
	{"a choreography that goes on for ever", 4, "order", `UPDATE skald_sagas SET status = 'running' WHERE key = 'o82'`, "has not ended"},
	{"stalled without a reason", 4, "order", `UPDATE skald_sagas SET status = 'parked' WHERE key = 'o82'`, "without a reason"},
	{"a lock that outlived its choreography", 5, "accounting", `UPDATE authorizations SET state = 'PENDING' WHERE id = 'a81'`, "authorization a81"},

	{"an event that the kitchen missed", 7, "kitchen", `DELETE FROM audit_handled WHERE id = {84}`, "never handled by kitchen"},
	{"an event that who follows missed", 7, "order", `DELETE FROM audit_handled WHERE id = {85}`, "never handled by order"},
	{"an event that was reacted to twice", 7, "accounting", `INSERT INTO audit_handled (id, grp, at) VALUES ({85}, 'accounting', 1)`, "2 times"},

	{"verified twice", 8, "consumer", `INSERT INTO effects (operation, step, action, at) VALUES ('o8', 'verify consumer', 'do', 2)`, "2 times"},
	{"verified and refused", 8, "consumer", `INSERT INTO effects (operation, step, action, at) VALUES ('o8', 'verify consumer', 'decline', 2)`, "both"},
	{"approved, and nobody confirmed", 8, "kitchen", `DELETE FROM effects WHERE operation = 'o8' AND step = 'confirm ticket'`, `did "confirm ticket" 0 times`},
	{"approved, and rejected by the kitchen", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o8', 'create ticket', 'undo', 2)`, "undid it 1 times"},
	{"rejected, and the ticket was not", 8, "kitchen", `DELETE FROM effects WHERE operation = 'o81' AND action = 'undo'`, "undid it 0 times"},
	{"rejected, and what was never done is undone", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o82', 'create ticket', 'undo', 2)`, `did "create ticket" 0 times`},
	{"rejected, and charged", 8, "accounting", `INSERT INTO effects (operation, step, action, at) VALUES ('o82', 'authorize card', 'do', 2)`, "cannot be undone"},
	{"rejected by nobody", 8, "accounting", `DELETE FROM effects WHERE action = 'decline' AND operation = 'o81'`, "declined 0 times"},
	{"approved although somebody declined", 8, "kitchen", `INSERT INTO effects (operation, step, action, at) VALUES ('o8', 'confirm ticket', 'decline', 2)`, "declined 1 times"},
}
