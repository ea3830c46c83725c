CREATE TABLE IF NOT EXISTS accounts (
    consumer_id      TEXT    NOT NULL PRIMARY KEY,
    consumer_version INTEGER NOT NULL,
    credit_limit     INTEGER NOT NULL, -- cents
    authorized       INTEGER NOT NULL, -- cents: the sum of the live authorizations
    opened_at        INTEGER NOT NULL, -- microseconds since 1970
    CHECK (authorized BETWEEN 0 AND credit_limit)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS authorizations (
    id          TEXT    NOT NULL PRIMARY KEY,
    order_id    TEXT    NOT NULL,
    consumer_id TEXT    NOT NULL,
    amount      INTEGER NOT NULL, -- cents
    state       TEXT    NOT NULL, -- PENDING, AUTHORIZED (live), DECLINED or REVERSED
    created_at  INTEGER NOT NULL, -- microseconds since 1970
    updated_at  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS authorizations_by_order ON authorizations (order_id);

-- What has been seen of an order whose creation is choreographed: its card is charged when that is
-- everything.
CREATE TABLE IF NOT EXISTS evidence (
    order_id TEXT    NOT NULL PRIMARY KEY,
    seen     INTEGER NOT NULL -- bits: 1 OrderCreated, 2 ConsumerVerified, 4 TicketCreated
) WITHOUT ROWID;

-- The operations on an order's authorization: which were applied, and which wait for an earlier one.
CREATE TABLE IF NOT EXISTS versions (
    order_id TEXT NOT NULL PRIMARY KEY,
    file     TEXT NOT NULL -- JSON, of package isolation
) WITHOUT ROWID;

-- Double entry: every posting is one debit and one credit of the same amount. A consumer has
-- three accounts: "limit" (what was granted, grows by credit), "available" and "authorized" (where
-- it is, grow by debit); so limit = available + authorized after every posting.
CREATE TABLE IF NOT EXISTS ledger (
    entry       INTEGER PRIMARY KEY,
    posting     TEXT    NOT NULL, -- id shared by the two entries
    consumer_id TEXT    NOT NULL,
    order_id    TEXT    NOT NULL, -- empty when the account was opened
    account     TEXT    NOT NULL, -- limit, available, authorized
    side        TEXT    NOT NULL, -- debit, credit
    amount      INTEGER NOT NULL CHECK (amount >= 0), -- cents
    balance     INTEGER NOT NULL CHECK (balance >= 0), -- of the account after the entry
    at          INTEGER NOT NULL  -- microseconds since 1970
);
