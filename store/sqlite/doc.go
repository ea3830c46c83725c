// Package sqlite keeps outbox, inbox, sagas and leases in a SQLite database: one file
// beside the service's own tables, in the same transactions.
//
// [Open] opens a file with the settings that durability needs; [New] takes a *sql.DB that
// the application has opened already with the driver modernc.org/sqlite, and checks them.
// Both bring Skald's tables, whose names all start with "skald_", up to date. Handlers get a
// *sql.Tx, and applications add messages and start sagas inside their own *sql.Tx, begun on
// [Store.DB].
//
// SQLite has one writer at a time. The store queues its own writers on one connection, so
// that they do not contend for the file's lock; transactions of the application compete for
// it under the busy timeout.
package sqlite
