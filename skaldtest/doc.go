// Package skaldtest has in-memory twins of the two things that a service needs: [Store]
// is a database, [Broker] a message broker. They keep the same promises as the real ones
// and pass the same suites (package conform), so that a test of handlers and sagas runs
// the shipped engine without a server.
//
//	store, broker := skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{})
//	s, err := service.New("order", store, broker, service.Config{})
//
// Handlers name *[Tx] as their transaction; its tables of strings stand for the
// service's own data:
//
//	func createTicket(ctx context.Context, tx *skaldtest.Tx, cmd newTicket) (ticketCreated, error) {
//		tx.Put("tickets", cmd.Order, "pending")
//		return ticketCreated{Ticket: cmd.Order}, nil
//	}
//
// # Faults
//
// [Store.Crash] kills the process that uses the store; [Store.Connect] is another process
// on the same database; [Store.FailCommits] cuts the connection at a commit, with or
// without effect; [Store.Snapshot] and [Store.Restore] are a backup. The broker loses
// confirmations, forgets what it had not synced, is restarted, wiped or restored, rejects,
// repeats, trims and corrupts messages: see the methods of [Broker].
//
// # Time
//
// The twins read time.Now and wait on channels, never in a loop and never under a mutex.
// Inside a bubble of testing/synctest every wait of theirs is therefore durably blocking:
// leases expire, retries come due and lazy syncs happen on the bubble's virtual clock, in
// no real time. Make the twins inside the bubble:
//
//	synctest.Test(t, func(t *testing.T) {
//		store := skaldtest.NewStore()
//		...
//		time.Sleep(time.Hour) // no real time passes
//		synctest.Wait()       // everything that was due has run, and waits again
//	})
package skaldtest
