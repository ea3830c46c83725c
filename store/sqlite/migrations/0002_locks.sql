-- The semantic locks: for each one a queue of the sagas that have it and want it. The row of the lowest
-- place has it, the others wait.
CREATE TABLE skald_locks (
	resource TEXT    NOT NULL,
	key      TEXT    NOT NULL,
	root     BLOB    NOT NULL, -- the saga's id, a child's outermost parent's: there is one row for each
	place    INTEGER NOT NULL,
	round    INTEGER NOT NULL, -- of the root: how often it has started
	saga     BLOB    NOT NULL, -- whose step asked
	name     TEXT    NOT NULL, -- of its definition
	step     TEXT    NOT NULL, -- empty for a reservation
	uses     INTEGER NOT NULL, -- steps that have landed under the lock, and are neither undone nor decided
	grp      TEXT    NOT NULL, -- that holds the message
	message  BLOB,             -- that waits for the lock; null when none does
	since    INTEGER NOT NULL,
	PRIMARY KEY (resource, key, root)
) STRICT, WITHOUT ROWID;
CREATE INDEX skald_locks_root ON skald_locks (root);
