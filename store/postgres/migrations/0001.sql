-- Ids are UUIDs. A column called order_key holds the message's key, or its id in text where it
-- has none. The column message is Skald's binary form of the whole message.

-- The outbox. The order of seq is no order of commits; xid tells, together with a snapshot, which
-- rows are visible to whom. A bucket is emptied by TRUNCATE once all that it holds is published
-- and old enough, so that cleaning up leaves nothing to vacuum. An id may be there twice: a
-- recorded reply is sent again under its own id.
CREATE SEQUENCE skald_outbox_seq AS bigint CACHE 1;
CREATE TABLE skald_outbox (
	seq      bigint      NOT NULL DEFAULT nextval('skald_outbox_seq'),
	xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
	added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	id       uuid        NOT NULL,
	bucket   smallint    NOT NULL,
	channel  text        NOT NULL,
	key      text        NOT NULL,
	type     text        NOT NULL,
	message  bytea       NOT NULL
) PARTITION BY LIST (bucket);
CREATE TABLE skald_outbox_0 PARTITION OF skald_outbox FOR VALUES IN (0);
CREATE TABLE skald_outbox_1 PARTITION OF skald_outbox FOR VALUES IN (1);
CREATE TABLE skald_outbox_2 PARTITION OF skald_outbox FOR VALUES IN (2);
CREATE TABLE skald_outbox_3 PARTITION OF skald_outbox FOR VALUES IN (3);
CREATE INDEX skald_outbox_by_seq ON skald_outbox (seq);
CREATE INDEX skald_outbox_by_xid ON skald_outbox (xid);

-- One row: the relay's lease, its checkpoint, and how to go on from there.
CREATE TABLE skald_relay (
	one             boolean     PRIMARY KEY DEFAULT true CHECK (one),
	holder          text        NOT NULL DEFAULT '',
	epoch           bigint      NOT NULL DEFAULT 0,
	expires_at      timestamptz NOT NULL DEFAULT 'epoch',
	position_commit bigint      NOT NULL DEFAULT 0,
	position_index  bigint      NOT NULL DEFAULT 0,
	mark            text        NOT NULL DEFAULT '',
	bucket          smallint    NOT NULL DEFAULT 0, -- of the outbox, into which rows go now
	-- Rows of the outbox that the floor sees are settled; it sees nothing at first.
	floor           pg_snapshot NOT NULL DEFAULT '1:1:',
	-- Of those that the bound sees and the floor does not, rows up to scanned are settled; null
	-- when no scan is under way.
	bound           pg_snapshot,
	scanned         bigint      NOT NULL DEFAULT 0,
	-- What this sees comes from the table and not from the log; null when all of it is settled.
	base            pg_snapshot,
	-- Everything that committed before this place in the log is settled.
	confirmed       pg_lsn      NOT NULL DEFAULT '0/0',
	-- Once what comes before next_place is settled, next_floor is the floor.
	next_floor      pg_snapshot,
	next_place      pg_lsn,
	-- What the places in the log belong to: another cluster, or another history of it, has others.
	cluster         text        NOT NULL DEFAULT '',
	-- Messages were written to the log alone: the slot may be the only copy of some.
	emitted         boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50);
INSERT INTO skald_relay DEFAULT VALUES;

-- Messages that the broker refuses, and those behind them in their key.
CREATE TABLE skald_unpublished (
	id              uuid        PRIMARY KEY,
	position_commit bigint      NOT NULL,
	position_index  bigint      NOT NULL,
	channel         text        NOT NULL,
	order_key       text        NOT NULL,
	attempts        integer     NOT NULL,
	next_attempt    timestamptz NOT NULL,
	reason          text        NOT NULL,
	added_at        timestamptz NOT NULL,
	message         bytea       NOT NULL
);
CREATE INDEX skald_unpublished_order ON skald_unpublished (channel, order_key, position_commit, position_index);
CREATE INDEX skald_unpublished_due ON skald_unpublished (next_attempt, position_commit, position_index);

-- Which messages a subscriber group has handled. Ids sort by the moment they were drawn, so new
-- rows come near the end, and clean-up reads from the beginning up to the moment. The few whose
-- id is no such time (not version 7, or drawn by a clock that was ahead) are found by the partial
-- index.
CREATE TABLE skald_inbox (
	id         uuid        NOT NULL,
	grp        text        NOT NULL,
	handled_at timestamptz NOT NULL,
	untimed    boolean     NOT NULL, -- the id's time is not before handled_at
	reply      bytea,
	PRIMARY KEY (id, grp)
);
CREATE INDEX skald_inbox_untimed ON skald_inbox (handled_at) WHERE untimed;

-- What is known of each attempt at a step of a saga, at its participant.
CREATE TABLE skald_barriers (
	saga     uuid        NOT NULL,
	step     text        NOT NULL,
	attempt  bigint      NOT NULL,
	state    text        NOT NULL,
	command  uuid        NOT NULL,
	saved_at timestamptz NOT NULL,
	untimed  boolean     NOT NULL, -- the saga id's time is not before saved_at
	PRIMARY KEY (saga, step, attempt)
);
CREATE INDEX skald_barriers_untimed ON skald_barriers (saved_at) WHERE untimed;

-- Messages that wait: for their next attempt, behind another of their key, for an operator.
-- A next attempt at the epoch is "at once", whatever the clock of the one who asks.
CREATE TABLE skald_held (
	place        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	grp          text        NOT NULL,
	id           uuid        NOT NULL,
	channel      text        NOT NULL,
	order_key    text        NOT NULL,
	state        text        NOT NULL, -- retrying, following or parked
	attempts     integer     NOT NULL,
	next_attempt timestamptz NOT NULL,
	reason       text        NOT NULL,
	held_at      timestamptz NOT NULL,
	saga         uuid,                 -- of a saga's do: whose, which step, which attempt
	step         text,
	attempt      bigint,
	message      bytea       NOT NULL,
	raw          bytea,                -- what arrived when it is not a message
	UNIQUE (grp, id)
);
CREATE INDEX skald_held_order ON skald_held (grp, channel, order_key, place);
CREATE INDEX skald_held_due ON skald_held (grp, next_attempt) WHERE state = 'retrying';
CREATE INDEX skald_held_do ON skald_held (grp, saga, step, attempt) WHERE saga IS NOT NULL;

-- Who reads a partition of a channel for a group, and how far it is handled.
CREATE TABLE skald_partitions (
	channel     text        NOT NULL,
	grp         text        NOT NULL,
	number      integer     NOT NULL,
	holder      text        NOT NULL, -- empty when nobody reads it
	epoch       bigint      NOT NULL, -- rises whenever the holder changes
	expires_at  timestamptz NOT NULL,
	incarnation text        NOT NULL,
	sequence    bigint      NOT NULL, -- 64 bits without sign, stored as they are
	last        uuid        NOT NULL,
	PRIMARY KEY (channel, grp, number)
) WITH (fillfactor = 25); -- room for many versions of a row in its own page

-- The sagas that this service orchestrates.
CREATE TABLE skald_sagas (
	id           uuid        PRIMARY KEY,
	name         text        NOT NULL,
	version      integer     NOT NULL, -- of the definition
	key          text        NOT NULL,
	request      text        NOT NULL,
	status       text        NOT NULL,
	step         text        NOT NULL,
	reason       text        NOT NULL,
	due_at       timestamptz,          -- of the earliest timer
	started_at   timestamptz NOT NULL,
	updated_at   timestamptz NOT NULL,
	revision     bigint      NOT NULL,
	trace_parent text        NOT NULL,
	trace_state  text        NOT NULL,
	state        bytea       NOT NULL,
	progress     bytea       NOT NULL
) WITH (fillfactor = 50); -- the new versions of all rows of a page fit into it
CREATE UNIQUE INDEX skald_sagas_live ON skald_sagas (name, key) WHERE status NOT IN ('completed', 'compensated');
CREATE UNIQUE INDEX skald_sagas_request ON skald_sagas (name, request) WHERE request <> '';
CREATE INDEX skald_sagas_key ON skald_sagas (name, key, id);
CREATE INDEX skald_sagas_due ON skald_sagas (name, version, due_at, id) WHERE due_at IS NOT NULL;

-- The history of sagas, a row for what one batch added to one saga's: [step, what, detail] of each entry.
CREATE TABLE skald_history_batches (
	saga    uuid        NOT NULL,
	number  integer     NOT NULL, -- of the first entry
	at      timestamptz NOT NULL,
	entries json        NOT NULL,
	PRIMARY KEY (saga, number)
);
CREATE VIEW skald_history AS
SELECT b.saga, b.number + (e.place - 1)::integer AS number, b.at, e.entry->>0 AS step, e.entry->>1 AS what, e.entry->>2 AS detail
FROM skald_history_batches AS b CROSS JOIN LATERAL json_array_elements(b.entries) WITH ORDINALITY AS e (entry, place);

CREATE TABLE skald_definitions (
	name        text    NOT NULL,
	version     integer NOT NULL,
	fingerprint text    NOT NULL,
	PRIMARY KEY (name, version)
);

-- Fails the transaction with a code of Skald's own where a condition does not hold, so that
-- it can be asked in the same round trip as the commit.
CREATE FUNCTION skald_require(holds boolean, code text, problem text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF holds IS NOT TRUE THEN
		RAISE EXCEPTION '%', problem USING ERRCODE = code;
	END IF;
END $$;

-- Rows by their keys. These statements are functions because a function says how it is planned:
-- once, and along the index. A connection keeps a plan that it made while the table was small, and would
-- read all of the table with it, once it is large, until the server has looked at it again.
CREATE FUNCTION skald_find_barriers(sagas uuid[], steps text[], attempts bigint[]) RETURNS TABLE (n bigint, state text, command uuid) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	RETURN QUERY SELECT k.n, b.state, b.command
	FROM unnest(sagas, steps, attempts) WITH ORDINALITY AS k (saga, step, attempt, n)
	JOIN skald_barriers AS b ON b.saga = k.saga AND b.step = k.step AND b.attempt = k.attempt;
END $$;

CREATE FUNCTION skald_load_sagas(ids uuid[]) RETURNS SETOF skald_sagas LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY SELECT * FROM skald_sagas WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
END $$;

-- Writes what changes in sagas whose revision follows the stored one; returns how many those are.
CREATE FUNCTION skald_update_sagas(uuid[], text[], text[], text[], bytea[], bytea[], timestamptz[], timestamptz[], bigint[]) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	saved bigint;
BEGIN
	UPDATE skald_sagas AS s SET status = u.status, step = u.step, reason = u.reason, state = u.state, progress = u.progress,
	due_at = u.due_at, updated_at = u.updated_at, revision = u.revision
	FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS u (id, status, step, reason, state, progress, due_at, updated_at, revision)
	WHERE s.id = u.id AND s.revision = u.revision - 1;
	GET DIAGNOSTICS saved = ROW_COUNT;
	RETURN saved;
END $$;

-- The timers of versions of definitions: version by version, along their index, so that those of others
-- cost nothing however many there are.
CREATE FUNCTION skald_due_sagas(names text[], versions integer[], moment timestamptz, after_at timestamptz, after_id uuid, most bigint)
RETURNS TABLE (id uuid, due_at timestamptz) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT d.id, d.due_at FROM unnest(names, versions) AS v (name, version) CROSS JOIN LATERAL (
		SELECT s.id, s.due_at FROM skald_sagas AS s
		WHERE s.name = v.name AND s.version = v.version AND s.due_at <= moment AND (s.due_at, s.id) > (after_at, after_id)
		ORDER BY s.due_at, s.id LIMIT most) AS d
	ORDER BY d.due_at, d.id LIMIT most;
END $$;
CREATE FUNCTION skald_next_due(names text[], versions integer[]) RETURNS timestamptz LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
	RETURN (SELECT min(d.due_at) FROM unnest(names, versions) AS v (name, version) CROSS JOIN LATERAL (
		SELECT s.due_at FROM skald_sagas AS s WHERE s.name = v.name AND s.version = v.version AND s.due_at IS NOT NULL
		ORDER BY s.due_at LIMIT 1) AS d);
END $$;

-- What the relay tails: rows as they are inserted, and nothing else.
CREATE PUBLICATION skald_outbox FOR TABLE skald_outbox WITH (publish = 'insert', publish_via_partition_root = true);
