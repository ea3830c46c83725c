// Package relay brings messages from a store's outbox to a broker: at least once, in
// commit order per key, and never past a gap.
package relay
