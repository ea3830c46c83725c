CREATE TABLE IF NOT EXISTS consumers (
    id           TEXT    NOT NULL PRIMARY KEY,
    version      INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    order_limit  BIGINT,           -- cents; NULL when there is none
    credit_limit BIGINT  NOT NULL, -- cents
    created_at   BIGINT  NOT NULL  -- microseconds since 1970
);
