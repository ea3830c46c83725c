CREATE TABLE IF NOT EXISTS consumers (
    id           TEXT    NOT NULL PRIMARY KEY,
    version      INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    order_limit  INTEGER,          -- cents; NULL when there is none
    credit_limit INTEGER NOT NULL, -- cents
    created_at   INTEGER NOT NULL  -- microseconds since 1970
) WITHOUT ROWID;
