// Package skald keeps data consistent across services that each own a database,
// without distributed transactions and without another cluster to run.
//
// A service changes its data and tells others in one local transaction: the message
// goes into a transactional outbox (package outbox), a relay (package relay) hands it
// to a broker, and an idempotent consumer (package inbox) runs a handler for it exactly
// once, in order per key, in one transaction with the handler's own writes. A business
// operation over several services is a saga (package saga): local transactions, undone
// in reverse order by compensating ones when a participant refuses. Package service puts
// the four behind one Run.
//
// This package is the vocabulary that all the others speak: [Message], [ID], [Tx],
// [Command], [Event], [Refusal] and [Codec]. It depends on the standard library only.
package skald
