// Package inbox is the idempotent consumer: it handles each message once per subscriber
// group, in order per channel and key, in one transaction for a whole batch.
package inbox
