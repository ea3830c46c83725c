CREATE TABLE IF NOT EXISTS tickets (
    id            TEXT   NOT NULL PRIMARY KEY, -- the order's id
    restaurant_id TEXT   NOT NULL,
    state         TEXT   NOT NULL,
    line_items    TEXT   NOT NULL, -- JSON: [{menuItemId, name, quantity}]
    created_at    BIGINT NOT NULL, -- microseconds since 1970
    updated_at    BIGINT NOT NULL
);
