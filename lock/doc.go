// Package lock has the semantic locks: what a saga writes is marked as pending, in the transaction that
// writes it, until the step that decides about it, so that others wait, or are refused, and do not build on
// what may be undone (Garcia-Molina and Salem, Sagas, 1987; Frank and Zahle, Semantic ACID Properties in
// Multidatabases, 1998).
//
// A lock is on a key of a [skald.Resource] and belongs to a saga, a child's to its root. Commands and
// local steps declare which one they take and which one they release; the runtime does it. Its rows are in
// the database of the service that owns the resource, and form a queue: the first one holds it, the others
// wait.
//
// No deadlock can form, within a service or across several, because a saga that holds locks waits only for
// younger ones (wait-die: Rosenkrantz, Stearns and Lewis, System Level Concurrency Control for Distributed
// Database Systems, 1978). One that may not wait gives up all that it holds, waits for the lock with
// empty hands, and starts again with its age: sooner or later it is the oldest.
package lock
