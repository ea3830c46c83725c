CREATE TABLE IF NOT EXISTS tickets (
    id             TEXT    NOT NULL PRIMARY KEY, -- the order's id
    restaurant_id  TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    previous_state TEXT    NOT NULL, -- what an undo goes back to; empty unless CANCEL_PENDING or REVISION_PENDING
    line_items     TEXT    NOT NULL, -- JSON: [{menuItemId, name, quantity}]
    revised_items  TEXT,             -- those of a revision; NULL unless REVISION_PENDING
    created_at     INTEGER NOT NULL, -- microseconds since 1970
    updated_at     INTEGER NOT NULL
) WITHOUT ROWID;
