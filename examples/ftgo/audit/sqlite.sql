-- What was done, sent and handled, for `ftgo check`. Nothing here is ever changed or removed,
-- and nothing is unique: what happened twice is to be seen twice.

CREATE TABLE IF NOT EXISTS effects (
    id        INTEGER PRIMARY KEY,
    operation TEXT    NOT NULL, -- the saga's business key: the order's id, and behind a slash that of its cancel or revision
    step      TEXT    NOT NULL, -- the saga's step, or the HTTP transition
    action    TEXT    NOT NULL, -- do, undo, decline
    at        INTEGER NOT NULL  -- microseconds since 1970
);

CREATE TABLE IF NOT EXISTS audit_sent (
    number  INTEGER PRIMARY KEY,
    id      BLOB    NOT NULL, -- of the message; twice where a recorded reply was sent again
    kind    INTEGER NOT NULL, -- 1 command, 2 reply, 3 event
    channel TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    at      INTEGER NOT NULL  -- microseconds since 1970
);

CREATE TRIGGER IF NOT EXISTS audit_outbox AFTER INSERT ON skald_outbox
BEGIN
    INSERT INTO audit_sent (id, kind, channel, type, at) VALUES (NEW.id, NEW.kind, NEW.channel, NEW.type, NEW.added_at);
END;

CREATE TABLE IF NOT EXISTS audit_handled (
    number INTEGER PRIMARY KEY,
    id     BLOB    NOT NULL, -- of the message
    grp    TEXT    NOT NULL, -- the subscriber group: the service's name
    at     INTEGER NOT NULL  -- microseconds since 1970
);

-- A group with a slash in its name is the runtime's own: its records are no messages.
CREATE TRIGGER IF NOT EXISTS audit_inbox AFTER INSERT ON skald_inbox WHEN instr(NEW.grp, '/') = 0
BEGIN
    INSERT INTO audit_handled (id, grp, at) VALUES (NEW.id, NEW.grp, NEW.handled_at);
END;
