CREATE TABLE IF NOT EXISTS restaurant_replica (
    id      TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    content TEXT    NOT NULL -- JSON: restaurantapi.Restaurant, the same bytes as in the owner's table
);
