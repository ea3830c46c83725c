CREATE TABLE IF NOT EXISTS restaurants (
    id         TEXT    NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL,
    content    TEXT    NOT NULL, -- JSON: restaurantapi.Restaurant
    created_at BIGINT  NOT NULL, -- microseconds since 1970
    updated_at BIGINT  NOT NULL
);
