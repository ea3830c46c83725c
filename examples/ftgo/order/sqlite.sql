CREATE TABLE IF NOT EXISTS orders (
    id               TEXT    NOT NULL PRIMARY KEY,
    consumer_id      TEXT    NOT NULL,
    restaurant_id    TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    total            INTEGER NOT NULL, -- cents
    line_items       TEXT    NOT NULL, -- JSON: [{menuItemId, name, quantity, price}]
    zone             TEXT    NOT NULL,
    street           TEXT    NOT NULL,
    coordination     TEXT    NOT NULL,
    rejection_reason TEXT    NOT NULL, -- empty unless REJECTED
    last_refusal     TEXT    NOT NULL, -- why the last cancel or revision was undone; empty when it was not
    operations       INTEGER NOT NULL, -- how often a cancel or a revision took hold of it: that numbers the versions
    version          INTEGER NOT NULL, -- of what is ordered: it is made by the creation and each revision that was confirmed
    idempotency_key  TEXT,             -- of the request; NULL when it had none
    request_hash     BLOB,             -- SHA-256 of the request; NULL when it had no key
    created_at       INTEGER NOT NULL, -- microseconds since 1970
    updated_at       INTEGER NOT NULL
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS orders_by_idempotency_key
    ON orders (consumer_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE IF NOT EXISTS consumer_replica (
    id          TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    order_limit INTEGER -- cents; NULL when there is none
) WITHOUT ROWID;
