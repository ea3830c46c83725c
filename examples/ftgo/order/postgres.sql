CREATE TABLE IF NOT EXISTS orders (
    id               TEXT   NOT NULL PRIMARY KEY,
    consumer_id      TEXT   NOT NULL,
    restaurant_id    TEXT   NOT NULL,
    state            TEXT   NOT NULL,
    total            BIGINT NOT NULL, -- cents
    line_items       TEXT   NOT NULL, -- JSON: [{menuItemId, name, quantity, price}]
    zone             TEXT   NOT NULL,
    street           TEXT   NOT NULL,
    coordination     TEXT   NOT NULL,
    rejection_reason TEXT   NOT NULL, -- empty unless REJECTED
    last_refusal     TEXT   NOT NULL, -- why the last cancel or revision was undone; empty when it was not
    operations       BIGINT NOT NULL, -- how often a cancel or a revision took hold of it: that numbers the versions
    version          BIGINT NOT NULL, -- of what is ordered: it is made by the creation and each revision that was confirmed
    idempotency_key  TEXT,            -- of the request; NULL when it had none
    request_hash     BYTEA,           -- SHA-256 of the request; NULL when it had no key
    created_at       BIGINT NOT NULL, -- microseconds since 1970
    updated_at       BIGINT NOT NULL,
    CONSTRAINT orders_by_idempotency_key UNIQUE (consumer_id, idempotency_key) -- a NULL equals no other
);

CREATE TABLE IF NOT EXISTS consumer_replica (
    id          TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    order_limit BIGINT -- cents; NULL when there is none
);
