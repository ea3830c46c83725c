-- What was done, sent and handled, for `ftgo check`. Nothing here is ever changed or removed,
-- and nothing is unique: what happened twice is to be seen twice.

CREATE TABLE IF NOT EXISTS effects (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation TEXT   NOT NULL, -- the saga's business key: the order's id, and behind a slash that of its cancel or revision
    step      TEXT   NOT NULL, -- the saga's step, or the HTTP transition
    action    TEXT   NOT NULL, -- do, undo, decline
    at        BIGINT NOT NULL  -- microseconds since 1970
);

CREATE TABLE IF NOT EXISTS audit_sent (
    number  BIGINT   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      UUID     NOT NULL, -- of the message; twice where a recorded reply was sent again
    kind    SMALLINT NOT NULL, -- 1 command, 2 reply, 3 event
    channel TEXT     NOT NULL,
    type    TEXT     NOT NULL,
    at      BIGINT   NOT NULL  -- microseconds since 1970
);

CREATE TABLE IF NOT EXISTS audit_handled (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     UUID   NOT NULL, -- of the message
    grp    TEXT   NOT NULL, -- the subscriber group: the service's name
    at     BIGINT NOT NULL  -- microseconds since 1970
);

CREATE OR REPLACE FUNCTION audit_microseconds(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN (extract(epoch FROM at) * 1000000)::bigint;

CREATE OR REPLACE FUNCTION audit_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_sent (id, kind, channel, type, at)
    SELECT id, get_byte(message, 1), channel, type, audit_microseconds(added_at) -- the byte is the message's kind
    FROM added;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION audit_inbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A group with a slash in its name is the runtime's own: its records are no messages.
    INSERT INTO audit_handled (id, grp, at)
    SELECT id, grp, audit_microseconds(handled_at) FROM added WHERE position('/' IN grp) = 0;
    RETURN NULL;
END $$;

-- To make a trigger anew takes a lock that waits for whoever writes.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'skald_outbox'::regclass AND tgname = 'audit_outbox') THEN
        CREATE TRIGGER audit_outbox AFTER INSERT ON skald_outbox
            REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_outbox();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'skald_inbox'::regclass AND tgname = 'audit_inbox') THEN
        CREATE TRIGGER audit_inbox AFTER INSERT ON skald_inbox
            REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_inbox();
    END IF;
END $$;
