package main

// fault is a case of the catalogue.
type fault struct {
	title string
	// promises are the letters of what must hold all the same: see promises.
	promises string
	// later says what has to be there first; empty when the case can be tested now.
	later string
}

// promises are what the letters stand for.
var promises = []struct{ letter, meaning string }{
	{"G", "only what was committed is published"},
	{"L", "what was committed is handled, or parked where it can be seen"},
	{"O", "each effect happens exactly once"},
	{"Q", "messages of a key keep their order"},
	{"T", "every saga ends, or is parked with a reason"},
	{"C", "what is undone is what was done"},
	{"K", "locks are sound"},
	{"M", "a saga moves only as its definition allows"},
	{"A", "it stops and says so"},
	{"R", "memory, connections and time are bounded, and a backlog drains"},
	{"S", "access is denied, or what comes in does no harm"},
}

const (
	cluster    = "brokers in a cluster"
	servers    = "stores and brokers that are servers of their own"
	mysql      = "the MySQL store"
	operations = "the console and its access control"
)

// catalogue is every case: the number of a case is its place, from 1.
var catalogue = []fault{
	// The process is killed.
	{"before the business transaction commits", "G", ""},
	{"after the commit, before the client is answered; the client asks again", "O", ""},
	{"when the relay has read, and published nothing", "L", ""},
	{"when the broker has stored, and its confirmation is lost", "LO", ""},
	{"when the broker has confirmed, and the checkpoint is not written", "O", ""},
	{"when the checkpoint is written, and the replication slot is not confirmed", "LO", ""},
	{"when half of a batch is published", "LQ", ""},
	{"in a handler's batch, before it commits", "LO", ""},
	{"when a handler's batch is committed, and the broker does not know", "O", ""},
	{"between a saga's new state and its next command", "T", ""},
	{"between two compensations", "C", ""},
	{"while a deadline fires", "O", ""},
	{"not killed but stopped, longer than its lease, and then resumed", "OQ", ""},
	{"while an outbox or an inbox is cleaned", "LO", ""},
	{"during a migration of the schema", "A", ""},
	{"again and again, under load, everything at once", "GLOQTC", ""},
	// The broker.
	{"the broker is restarted in good order", "L", ""},
	{"the broker loses what it had not yet synced", "LA", ""},
	{"a partition of the network in one direction", "L", cluster},
	{"publishing to a minority of the brokers", "L", cluster},
	{"a sync of the disk takes half a second", "R", cluster},
	{"the broker's disk is full", "LR", ""},
	{"the broker's limits remove what is unread", "A", ""},
	{"the channel's stream is missing", "L", ""},
	{"published again when the broker has forgotten the first time", "O", ""},
	{"a handler runs for longer than its claim on the partition", "O", ""},
	{"a message has used up its attempts", "L", ""},
	{"partitions change hands in the middle of a handler", "OQ", ""},
	{"a reader's position is older than what is left", "A", ""},
	{"the broker is wiped, and gets everything again", "LO", ""},
	{"the number of partitions is another one", "QA", ""},
	{"the broker's credentials are exchanged", "L", servers},
	{"a bit of a stored message flips", "LA", cluster},
	// The database.
	{"the connection is cut at the commit, which may have landed", "O", ""},
	{"a deadlock, a conflict, or a busy database", "O", ""},
	{"the primary dies, and its standby takes over", "LO", ""},
	{"the replication slot is missing", "A", ""},
	{"the replication slot is invalid", "A", ""},
	{"a row is decoded before it can be seen", "L", ""},
	{"a row is decoded on a primary that was lost with it", "G", ""},
	{"the old primary comes back", "G", ""},
	{"a long transaction commits behind shorter ones that began later", "LQ", ""},
	{"a cleaning meets the rows of a transaction that took a day", "L", ""},
	{"messages of a savepoint that was rolled back", "G", ""},
	{"a transaction of a million rows", "RL", ""},
	{"the publication is dropped under way", "A", ""},
	{"the binary log is purged past the checkpoint", "A", mysql},
	{"a failover by GTID", "LO", mysql},
	{"two writers on one SQLite file while it is checkpointed", "L", ""},
	{"the database's disk is full", "GO", ""},
	{"all connections are taken", "R", ""},
	{"the database is restored from an older copy", "A", ""},
	// Sagas.
	{"every message comes two to five times", "O", ""},
	{"up to six messages come in every possible order", "MO", ""},
	{"a step succeeds after its deadline", "C", ""},
	{"an undo comes before what it undoes", "C", ""},
	{"a step comes after its undo", "C", ""},
	{"a step and its undo come at once", "C", ""},
	{"an undo fails for ever", "T", ""},
	{"an undo is refused", "T", ""},
	{"a step behind the pivot fails", "M", ""},
	{"cancelling meets creating, in every order", "TK", ""},
	{"cancelled twice, or after the end", "M", ""},
	{"revising meets cancelling", "M", ""},
	{"two sagas wait for each other's locks", "TK", ""},
	{"a lock is left behind", "K", ""},
	{"locked or unlocked twice", "K", ""},
	{"an old unlock comes when the lock is another's", "K", ""},
	{"a success and a refusal answer one command", "A", ""},
	{"a reply to a saga that does not exist, or to a step that was never asked", "T", ""},
	{"the clock jumps by an hour, by a year", "TM", ""},
	{"100,000 deadlines in one second", "RO", ""},
	{"a new version of a definition while instances of the old one run", "M", ""},
	{"a definition that instances still need is missing", "A", ""},
	{"a deployment is taken back", "T", ""},
	{"an older consumer meets a newer field or type", "L", ""},
	{"one of two parallel branches fails while the other runs", "C", "parallel steps"},
	{"a start is asked for twice", "O", ""},
	{"events that cause each other without end", "A", ""},
	// Bad input and load.
	{"a handler panics", "L", ""},
	{"a handler hangs", "R", ""},
	{"a message is too large", "L", ""},
	{"a payload is empty, not UTF-8, nested too deep, or names a key twice", "L", ""},
	{"headers are malformed, missing, repeated, huge, or break lines", "L", ""},
	{"a small message unpacks into a huge one", "R", "compression"},
	{"everybody reconnects after an hour, to a backlog of a million", "RL", servers},
	{"one consumer is slow", "R", ""},
	{"a backlog of ten million in 256 MiB", "R", ""},
	{"attempts multiply each other", "R", ""},
	{"a parked message is tried again twice", "O", ""},
	{"a thousand reconnects", "R", ""},
	// Security.
	{"a route without credentials", "S", operations},
	{"a viewer acts as an operator", "S", operations},
	{"another tenant's item in an action on many", "S", operations},
	{"a request from another site", "S", operations},
	{"scripts in payloads, headers, names and errors", "S", operations},
	{"SQL and wildcards in names and subjects", "S", operations},
	{"endpoints that lead inside, or elsewhere", "S", operations},
	{"a signed message is forged, altered or replayed", "SO", "signatures"},
	{"secrets in logs, traces and pages", "S", operations},
	{"the relay's role reads a business table; the wrong authority or host", "S", ""},
}
