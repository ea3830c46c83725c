// Package postgres keeps outbox, inbox, sagas and leases in a PostgreSQL database (version 14 or
// newer), beside the service's own tables and in the same transactions.
//
// [Open] takes the application's pgx pool and brings Skald's tables, whose names all start with
// "skald_", up to date. Handlers get a [*Tx], which is a pgx.Tx with a queue of statements;
// applications add messages and start sagas inside their own pgx.Tx with [Wrap], or inside a
// *sql.Tx of pgx's own database/sql driver.
//
// The relay reads the outbox from the write-ahead log, by logical replication, and falls back to
// polling the table whenever it cannot: see [Config.Relay]. It can run under a role that may do
// nothing else: see [RelayGrants].
package postgres
