package createorder

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/postgres"
)

func event(from, what string) skald.Event[order] {
	return skald.Event[order]{Name: "bench." + what, Channel: "bench." + from + ".events", Key: order.key}
}

var (
	orderCreated        = event("order", "order-created")
	orderApproved       = event("order", "order-approved")
	orderRejected       = event("order", "order-rejected")
	consumerVerified    = event("consumer", "consumer-verified")
	consumerNotVerified = event("consumer", "consumer-verification-failed")
	ticketCreated       = event("kitchen", "ticket-created")
	cardAuthorized      = event("accounting", "card-authorized")
	cardDeclined        = event("accounting", "card-declined")
)

// choreography is the saga without an orchestrator, as FTGO has it.
var choreography = saga.Choreography{
	Name: "bench.choreographed-order", Starts: orderCreated, Completes: orderApproved, Compensates: orderRejected, Deadline: 10 * patience,
	Participants: []saga.Participant{
		{Service: "consumer", Reactions: []saga.Reaction{
			{Name: "verify consumer", On: saga.On(orderCreated), Emits: saga.Emits(consumerVerified, consumerNotVerified)},
		}},
		{Service: "kitchen", Reactions: []saga.Reaction{
			{Name: "create ticket", On: saga.On(orderCreated), Emits: saga.Emits(ticketCreated)},
			{Name: "confirm ticket", On: saga.On(cardAuthorized)},
			{Name: "reject ticket", On: saga.On(consumerNotVerified, cardDeclined), Undoes: "create ticket"},
		}},
		{Service: "accounting", Reactions: []saga.Reaction{
			{Name: "authorize card", On: saga.OnAll(consumerVerified, ticketCreated), Emits: saga.Emits(cardAuthorized, cardDeclined)},
		}},
		{Service: "order", Reactions: []saga.Reaction{
			{Name: "approve order", On: saga.On(cardAuthorized), Emits: saga.Emits(orderApproved)},
			{Name: "reject order", On: saga.On(consumerNotVerified, cardDeclined), Emits: saga.Emits(orderRejected)},
		}},
	},
}

// reaction is what the service of a step does about an event: the step, if it joins nothing or what
// it joins is complete, and an event that says how that came out.
type reaction struct {
	on          skald.Event[order]
	joins, does step
	well, badly skald.Event[order]
}

var reactions = []reaction{
	{on: orderCreated, does: verifyConsumerStep, well: consumerVerified, badly: consumerNotVerified},
	{on: orderCreated, does: createTicketStep, well: ticketCreated},
	{on: consumerVerified, joins: joinStep(true), does: authorizeStep, well: cardAuthorized, badly: cardDeclined},
	{on: ticketCreated, joins: joinStep(false), does: authorizeStep, well: cardAuthorized, badly: cardDeclined},
	{on: cardAuthorized, does: confirmTicketStep},
	{on: cardAuthorized, does: approveOrderStep, well: orderApproved},
	{on: cardDeclined, does: rejectTicketStep},
	{on: cardDeclined, does: rejectOrderStep, well: orderRejected},
	{on: consumerNotVerified, does: rejectTicketStep},
	{on: consumerNotVerified, does: rejectOrderStep, well: orderRejected},
}

// joinStep is no business statement: the one that charges notes what it has heard, and refuses
// until it has heard both.
func joinStep(verified bool) step {
	return step{
		service: "accounting",
		query: `INSERT INTO heard(order_id,verified,ticket) VALUES($1,$2,NOT $2) ON CONFLICT (order_id)
DO UPDATE SET verified=heard.verified OR EXCLUDED.verified,ticket=heard.ticket OR EXCLUDED.ticket RETURNING verified AND ticket`,
		args: func(o order) []any { return []any{o.ID, verified} },
		read: readJoin,
	}
}

var errIncomplete = skald.Refuse("incomplete", "the other event is still to come")

func readJoin(_ order, row pgx.Row) (*skald.Refusal, error) {
	var both bool
	if err := row.Scan(&both); err != nil {
		return nil, err
	}
	if !both {
		return errIncomplete, nil
	}
	return nil, nil
}

// reactionsOf are those of one service.
func reactionsOf(name string) (all []reaction) {
	for _, r := range reactions {
		if r.does.service == name {
			all = append(all, r)
		}
	}
	return all
}

// reactPlain has each event handled by itself, and each statement executed at once.
func reactPlain(name string, s *service.Service) {
	for _, r := range reactionsOf(name) {
		service.React(s, choreography, r.on, func(ctx context.Context, tx *postgres.Tx, o order) error {
			if r.joins.query != "" {
				if incomplete, err := execute(ctx, tx, r.joins, o); incomplete || err != nil {
					return err
				}
			}
			refused, err := execute(ctx, tx, r.does, o)
			if err != nil {
				return err
			}
			return r.say(ctx, s, tx, o, refused)
		})
	}
}

// say publishes how the reaction came out, if anybody is to know.
func (r *reaction) say(ctx context.Context, s *service.Service, tx *postgres.Tx, o order, refused bool) error {
	outcome := r.well
	if refused {
		outcome = r.badly
	}
	if outcome.Name == "" {
		return nil
	}
	return outbox.Publish(ctx, s.Outbox(), tx, outcome, o)
}

type received = service.Received[order]

// reactBatched has all the events that wait handled together; their statements share a round trip.
func reactBatched(name string, s *service.Service) {
	for _, r := range reactionsOf(name) {
		service.ReactBatch(s, choreography, r.on, func(ctx context.Context, tx *postgres.Tx, events []*received) (err error) {
			if r.joins.query != "" {
				if events, _, err = executeEach(ctx, tx, r.joins, events); err != nil {
					return err
				}
			}
			done, refused, err := executeEach(ctx, tx, r.does, events)
			for _, e := range done {
				err = errors.Join(err, r.say(e.Context(ctx), s, tx, e.Content, false))
			}
			for _, e := range refused {
				err = errors.Join(err, r.say(e.Context(ctx), s, tx, e.Content, true))
			}
			return err
		})
	}
}

// executeEach executes a step for each event, at the latest with the commit if nothing is read. It tells
// those that were refused from the others.
func executeEach(ctx context.Context, tx *postgres.Tx, st step, events []*received) (done, refused []*received, err error) {
	for _, e := range events {
		queued := tx.Queue(st.query, st.args(e.Content)...)
		if st.read == nil {
			continue
		}
		queued.QueryRow(func(row pgx.Row) error {
			refusal, err := st.read(e.Content, row)
			if refusal != nil {
				refused = append(refused, e)
			} else {
				done = append(done, e)
			}
			return err
		})
	}
	if st.read == nil {
		return events, nil, nil
	}
	return done, refused, tx.Flush(ctx)
}

// choreograph starts an instance in the transaction of the next batch, and awaits its end.
func choreograph[T skald.Tx](ctx context.Context, s *service.Service, tracked *saga.Tracked[order], create local[T], o order) error {
	var id skald.ID
	err := service.Transact(ctx, s, func(ctx context.Context, tx T) (err error) {
		if err := create(ctx, tx, &o); err != nil {
			return err
		}
		id, err = tracked.Begin(ctx, tx, o)
		return err
	})
	if err != nil {
		return err
	}
	return ended(tracked.Await(ctx, id))
}
