-- Times are microseconds since 1970 in UTC; 0 means "none" or "at once". Ids are the 16
-- bytes of a UUID. A column called order_key holds the message's key, or its id in text
-- where it has none.

-- The outbox. There is one writer, so the order of seq is the order of commits.
-- AUTOINCREMENT keeps a seq from being used again after clean-up. An id may be there twice:
-- a recorded reply is sent again under its own id.
CREATE TABLE skald_outbox (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	id           BLOB    NOT NULL,
	added_at     INTEGER NOT NULL, -- before what may be long, so that clean-up need not read that
	kind         INTEGER NOT NULL, -- 1 command, 2 reply, 3 event
	version      INTEGER NOT NULL,
	time         INTEGER NOT NULL,
	channel      TEXT    NOT NULL,
	key          TEXT    NOT NULL,
	type         TEXT    NOT NULL,
	source       TEXT    NOT NULL,
	content_type TEXT    NOT NULL,
	headers      TEXT    NOT NULL, -- a line "name: value" for each
	payload      BLOB    NOT NULL
) STRICT;

-- One row: the relay's lease and checkpoint.
CREATE TABLE skald_relay (
	one             INTEGER PRIMARY KEY CHECK (one = 1),
	holder          TEXT    NOT NULL,
	epoch           INTEGER NOT NULL,
	expires_at      INTEGER NOT NULL,
	position_commit INTEGER NOT NULL,
	position_index  INTEGER NOT NULL,
	mark            TEXT    NOT NULL
) STRICT;
INSERT INTO skald_relay VALUES (1, '', 0, 0, 0, 0, '');

-- Messages that the broker refuses, and those behind them in their key.
CREATE TABLE skald_unpublished (
	id              BLOB    PRIMARY KEY,
	position_commit INTEGER NOT NULL,
	position_index  INTEGER NOT NULL,
	channel         TEXT    NOT NULL,
	order_key       TEXT    NOT NULL,
	attempts        INTEGER NOT NULL,
	next_attempt    INTEGER NOT NULL,
	reason          TEXT    NOT NULL,
	added_at        INTEGER NOT NULL,
	message         BLOB    NOT NULL
) STRICT;
CREATE INDEX skald_unpublished_order ON skald_unpublished (channel, order_key, position_commit, position_index);
CREATE INDEX skald_unpublished_due ON skald_unpublished (next_attempt, position_commit, position_index);

-- Which messages a subscriber group has handled. Ids sort by the moment they were drawn,
-- so new rows come near the end, and clean-up reads from the beginning up to the moment.
-- The few whose id is no such time (not version 7, or drawn by a clock that was ahead) are
-- found by the partial index.
CREATE TABLE skald_inbox (
	id         BLOB    NOT NULL,
	grp        TEXT    NOT NULL,
	handled_at INTEGER NOT NULL,
	untimed    INTEGER NOT NULL, -- 1: the id's time is not before handled_at
	reply      BLOB,
	PRIMARY KEY (id, grp)
) STRICT, WITHOUT ROWID;
CREATE INDEX skald_inbox_untimed ON skald_inbox (handled_at) WHERE untimed = 1;

-- What is known of each attempt at a step of a saga, at its participant.
CREATE TABLE skald_barriers (
	saga     BLOB    NOT NULL,
	step     TEXT    NOT NULL,
	attempt  INTEGER NOT NULL,
	state    TEXT    NOT NULL,
	command  BLOB    NOT NULL,
	saved_at INTEGER NOT NULL,
	untimed  INTEGER NOT NULL, -- 1: the saga id's time is not before saved_at
	PRIMARY KEY (saga, step, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX skald_barriers_untimed ON skald_barriers (saved_at) WHERE untimed = 1;

-- Messages that wait: for their next attempt, behind another of their key, for an operator.
CREATE TABLE skald_held (
	place        INTEGER PRIMARY KEY AUTOINCREMENT,
	grp          TEXT    NOT NULL,
	id           BLOB    NOT NULL,
	channel      TEXT    NOT NULL,
	order_key    TEXT    NOT NULL,
	state        TEXT    NOT NULL, -- retrying, following or parked
	attempts     INTEGER NOT NULL,
	next_attempt INTEGER NOT NULL,
	reason       TEXT    NOT NULL,
	held_at      INTEGER NOT NULL,
	saga         BLOB,             -- of a saga's do: whose, which step, which attempt
	step         TEXT,
	attempt      INTEGER,
	message      BLOB    NOT NULL,
	raw          BLOB,             -- what arrived when it is not a message
	UNIQUE (grp, id)
) STRICT;
CREATE INDEX skald_held_order ON skald_held (grp, channel, order_key, place);
CREATE INDEX skald_held_due ON skald_held (grp, next_attempt) WHERE state = 'retrying';
CREATE INDEX skald_held_do ON skald_held (grp, saga, step, attempt) WHERE saga IS NOT NULL;

-- Who reads a partition of a channel for a group, and how far it is handled.
CREATE TABLE skald_partitions (
	channel     TEXT    NOT NULL,
	grp         TEXT    NOT NULL,
	number      INTEGER NOT NULL,
	holder      TEXT    NOT NULL, -- empty when nobody reads it
	epoch       INTEGER NOT NULL, -- rises whenever the holder changes
	expires_at  INTEGER NOT NULL,
	incarnation TEXT    NOT NULL,
	sequence    INTEGER NOT NULL, -- 64 bits without sign, stored as they are
	last        BLOB    NOT NULL,
	PRIMARY KEY (channel, grp, number)
) STRICT, WITHOUT ROWID;

-- The sagas that this service orchestrates.
CREATE TABLE skald_sagas (
	id           BLOB    PRIMARY KEY,
	name         TEXT    NOT NULL,
	version      INTEGER NOT NULL, -- of the definition
	key          TEXT    NOT NULL,
	request      TEXT    NOT NULL,
	status       TEXT    NOT NULL,
	step         TEXT    NOT NULL,
	reason       TEXT    NOT NULL,
	due_at       INTEGER,          -- of the earliest timer
	started_at   INTEGER NOT NULL,
	updated_at   INTEGER NOT NULL,
	revision     INTEGER NOT NULL,
	trace_parent TEXT    NOT NULL,
	trace_state  TEXT    NOT NULL,
	state        BLOB    NOT NULL,
	progress     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX skald_sagas_live ON skald_sagas (name, key) WHERE status NOT IN ('completed', 'compensated');
CREATE UNIQUE INDEX skald_sagas_request ON skald_sagas (name, request) WHERE request <> '';
CREATE INDEX skald_sagas_key ON skald_sagas (name, key, id);
CREATE INDEX skald_sagas_due ON skald_sagas (name, version, due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE skald_history (
	saga   BLOB    NOT NULL,
	number INTEGER NOT NULL,
	at     INTEGER NOT NULL,
	step   TEXT    NOT NULL,
	what   TEXT    NOT NULL,
	detail TEXT    NOT NULL,
	PRIMARY KEY (saga, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE skald_definitions (
	name        TEXT    NOT NULL,
	version     INTEGER NOT NULL,
	fingerprint TEXT    NOT NULL,
	PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
