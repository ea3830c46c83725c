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
// # Exploration
//
// [Explore] runs every course that a saga of a definition can take: every outcome of every step,
// and of its undo; answers before and after a deadline or a bar; a cancel at any moment, and
// signals before and at their turn; parallel branches and children; messages of different
// keys in every order, one by one and in one batch; attempts that fail and are made again; duplicates,
// at once and so late that replies are sent again; a crash before and after each commit. It drives
// the shipped engine and the shipped inbox; participants are made up from the commands
// of the definition. No server, no handler and no clock is needed:
//
//	func TestCreateOrderInEveryCourse(t *testing.T) {
//		skaldtest.Explore(t, createOrder(),
//			skaldtest.From(state{Order: "1", Items: 2}),
//			skaldtest.LeavesEffects("create ticket"))
//	}
//
// It fails the test unless every saga ends, or is parked with a reason; every step that landed and
// has an undo, or is said to leave effects, is undone once when the saga ends compensated, in reverse
// order, and none otherwise; nothing is undone after the pivot, or pivots after an undo; nothing
// happens twice, or out of the order of its key; each undo is built the same with
// and without the step's reply; no message is held in the end; statuses follow each other as
// they may. Local actions that take a *[Tx] run as they are; of others only the outcome is
// simulated. What is fed in must be deterministic: no clock and no randomness in the state; and safe for
// concurrent use, because the courses are divided among the processors.
//
// A counterexample is the shortest script that leads to a broken promise. This definition
// creates a ticket that nothing undoes:
//
//	the saga is compensated, and what "create ticket" did stays: it has no undo
//
//	the saga starts: do "create order" lands
//	shop.consumers gets do "verify consumer": do "verify consumer" lands
//	explored gets the reply to do "verify consumer"
//	shop.kitchen gets do "create ticket": do "create ticket" lands
//	the saga is cancelled: undo "create order" lands
//	explored gets the reply to do "create ticket"
//
// The saga's own service is called explored, and each participant by its channel. [Replay] runs such
// a script again: put it into a test, mend the definition, and it stays mended.
//
// # Sagas beside each other
//
// [Interleave] runs several sagas, with the services and handlers that they have, in every order in which their messages
// may arrive; in each of these with a refusal, a cancel or a deadline at every step, or without ([Interleaving.Aborts]). It
// fails the test when one saga disturbs another: see [Anomaly] for what that means, and docs/guide/isolation.md for what
// helps. It fails as well when a rule of the [Scene] is broken in the end, when what the scene wants to do can come in no interleaving, when a saga never
// ends or is parked, when a message is parked or held for ever, and when a lock is left.
//
// Interleavings that come to the same state, and have done the same to each item in the same order, are played on together, and counted
// one by one. Where there are too many states, courses are drawn by random priorities instead: the sagas take turns by
// priority, and at random moments the one whose turn it is falls behind all others (Burckhardt et al., 2010). The seed is in
// the configuration and in what is printed.
//
// Messages are handled one in a batch: several in one are handled in some order as well, and nobody sees anything in between.
// Handlers take a *[Tx]; what they read and write by it is what is looked at, a row being an item. [Tx.Add] is the
// commutative update. Handlers must be deterministic, and data must not contain random ids other than those of sagas.
// [ReplayInterleaving] runs a script again, as Replay does.
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
