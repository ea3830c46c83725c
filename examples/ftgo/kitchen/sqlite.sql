CREATE TABLE IF NOT EXISTS tickets (
    id            TEXT    NOT NULL PRIMARY KEY, -- the order's id
    restaurant_id TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    line_items    TEXT    NOT NULL, -- JSON: [{menuItemId, name, quantity}]
    created_at    INTEGER NOT NULL, -- microseconds since 1970
    updated_at    INTEGER NOT NULL
) WITHOUT ROWID;
