// Package isolation has the countermeasures against what sagas lack: isolation. A saga's steps commit one by
// one, so others see its half-done state, write over it, and read values that it takes back. Each countermeasure
// stands in a file of its own, and its comment says which anomaly it prevents, which it does not, and what it costs.
//
//   - [Delta], the commutative update: writes that can be done and undone in any order.
//   - [Reread] and [Unchanged], the reread value: a write that is refused when what it is based on has changed.
//   - [VersionFile]: operations applied in their own order, whatever the order in which they arrive.
//   - [ByValue]: requests with much at stake take a stricter path.
//   - [Review], the pessimistic view: the order of steps in which others are misled least.
//
// The semantic lock, which is the sixth, is the engine's: a saga keeps others off a record until one of its steps releases
// it, or the saga has ended.
//
// The countermeasures are those of Frank and Zahle ("Semantic ACID properties in multidatabases using remote
// procedure calls and update propagations", Software: Practice and Experience 28, 1998), as Richardson brought them to
// sagas of services (Microservices Patterns, chapter 4). So are the names of the anomalies: a lost update is a write
// over another saga's, unread; a dirty read is one of what a saga has written and may yet undo; a fuzzy
// (nonrepeatable) read is two reads in one saga of what another has changed meanwhile.
package isolation
