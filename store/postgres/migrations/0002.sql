-- The semantic locks: for each one a queue of the sagas that have it and want it. The row of the lowest
-- place has it, the others wait. Rows are few and come and go: pages have room for what changes in one,
-- and the server's own rule, some fifty dead rows and a fifth of the table, has it vacuumed in time. Names
-- are compared by their bytes, so that a list has the same order everywhere.
CREATE TABLE skald_locks (
	resource text COLLATE "C" NOT NULL,
	key      text COLLATE "C" NOT NULL,
	root     uuid             NOT NULL, -- the saga's id, a child's outermost parent's: there is one row for each
	place    bigint           NOT NULL,
	round    bigint           NOT NULL, -- of the root: how often it has started
	saga     uuid             NOT NULL, -- whose step asked
	name     text             NOT NULL, -- of its definition
	step     text             NOT NULL, -- empty for a reservation
	uses     bigint           NOT NULL, -- steps that have landed under the lock, and are neither undone nor decided
	grp      text             NOT NULL, -- that holds the message
	message  uuid,                      -- that waits for the lock; null when none does
	since    timestamptz      NOT NULL,
	PRIMARY KEY (root, resource, key)
);
-- The key first: a batch asks for many, mostly of one resource. Lists for people read the whole table.
CREATE INDEX skald_locks_queue ON skald_locks (key, resource);

-- Along the indexes, whatever the table was like when a connection made its plan: it is almost empty at
-- one time, and full of rows that are gone, or of waiting sagas, at another.
-- It finds those of each key of each of the resources, which may be more than are wanted.
CREATE FUNCTION skald_find_locks(resources text[], keys text[]) RETURNS SETOF skald_locks LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY SELECT l.* FROM skald_locks AS l WHERE l.key = ANY (keys) AND l.resource = ANY (resources) ORDER BY l.place;
END $$;

CREATE FUNCTION skald_locked_by(uuid) RETURNS TABLE (resource text, key text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY SELECT l.resource, l.key FROM skald_locks AS l WHERE l.root = $1 ORDER BY l.resource, l.key;
END $$;

CREATE FUNCTION skald_delete_locks(text[], text[], uuid[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	DELETE FROM skald_locks AS l USING unnest($1, $2, $3) AS u (resource, key, root)
	WHERE l.root = u.root AND l.resource = u.resource AND l.key = u.key;
END $$;
