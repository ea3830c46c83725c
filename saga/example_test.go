package saga_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// request is what the travel desk's participants are asked.
type request struct {
	Trip string `json:"trip"`
}

type answer struct{}

func command(channel, name string, refusals ...string) skald.Command[request, answer] {
	return skald.Command[request, answer]{
		Name: channel + "." + name, Channel: channel, Refusals: refusals, Key: func(r request) string { return r.Trip },
	}
}

var (
	reserveRoom   = command("hotel", "reserve-room", "full")
	releaseRoom   = command("hotel", "release-room")
	reserveSeat   = command("airline", "reserve-seat", "full")
	releaseSeat   = command("airline", "release-seat")
	insureTrip    = command("insurer", "insure-trip")
	cancelInsured = command("insurer", "cancel-insurance")
	chargeCard    = command("bank", "charge-card", "declined")
	sendTickets   = command("post", "send-tickets")
)

type trip struct {
	ID       string `json:"id"`
	Insured  bool   `json:"insured"`
	Approver string `json:"approver,omitempty"`
}

func (t trip) request() request { return request{t.ID} }

type decision struct {
	By  string `json:"by"`
	Yes bool   `json:"yes"`
}

func (t *trip) decided(d decision) error {
	if t.Approver = d.By; !d.Yes {
		return skald.Refuse("unapproved", d.By+" says no")
	}
	return nil
}

func bookTrip() saga.Definition[trip] {
	return saga.Definition[trip]{
		Name: "trip.book",
		Compensatable: []saga.Compensatable[trip]{
			{Name: "reserve", Parallel: [][]saga.Compensatable[trip]{
				{{Name: "reserve room", Do: saga.Call(reserveRoom, trip.request), Undo: saga.Call(releaseRoom, trip.request)}},
				{{Name: "reserve seat", Do: saga.Call(reserveSeat, trip.request), Undo: saga.Call(releaseSeat, trip.request)}},
			}},
			{
				Name: "insure", When: func(t trip) bool { return t.Insured },
				Do: saga.Call(insureTrip, trip.request), Undo: saga.Call(cancelInsured, trip.request),
			},
			{Name: "approve", Do: saga.Wait((*trip).decided), Deadline: 48 * time.Hour},
		},
		Pivot:     saga.Step[trip]{Name: "charge card", Do: saga.Call(chargeCard, trip.request), Bar: time.Minute},
		Retriable: []saga.Step[trip]{{Name: "send tickets", Do: saga.Child(deliver(), trip.delivery)}},
		Deadline:  72 * time.Hour,
	}
}

type delivery struct {
	Trip string `json:"trip"`
}

func (t trip) delivery() (key string, d delivery) { return t.ID, delivery{t.ID} }

func (d delivery) request() request { return request(d) }

func deliver() saga.Definition[delivery] {
	return saga.Definition[delivery]{
		Name:  "tickets.deliver",
		Pivot: saga.Step[delivery]{Name: "post tickets", Do: saga.Call(sendTickets, delivery.request)},
	}
}

// A saga with parallel branches, a condition, a person's decision and a child.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	quiet := service.Config{Logger: slog.New(slog.DiscardHandler)}

	desk, err := service.New("desk", skaldtest.NewStore(), broker, quiet)
	if err != nil {
		fmt.Println(err)
		return
	}
	trips := saga.Register(desk, bookTrip())

	partners, err := service.New("partners", skaldtest.NewStore(), broker, quiet)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range []skald.Command[request, answer]{reserveRoom, releaseRoom, reserveSeat, releaseSeat, insureTrip, cancelInsured, chargeCard, sendTickets} {
		service.HandleCommand(partners, c, func(context.Context, *skaldtest.Tx, request) (answer, error) { return answer{}, nil })
	}
	for _, s := range []*service.Service{desk, partners} {
		go func() { _ = s.Run(ctx) }()
	}

	start := func(id string) error {
		return service.Transact(ctx, desk, func(ctx context.Context, tx *skaldtest.Tx) error {
			return trips.Start(ctx, tx, id, trip{ID: id})
		})
	}
	approve := func(id string, d decision) error {
		return service.Transact(ctx, desk, func(ctx context.Context, tx *skaldtest.Tx) error {
			return trips.Signal(ctx, tx, id, "approve", d)
		})
	}
	cancel := func(id string) error {
		return service.Transact(ctx, desk, func(ctx context.Context, tx *skaldtest.Tx) error {
			return trips.Cancel(ctx, tx, id, "the guest is ill")
		})
	}

	for _, id := range []string{"rome", "oslo", "bern"} {
		if err := start(id); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(approve("rome", decision{By: "ann", Yes: true}), approve("oslo", decision{By: "ann"}), cancel("bern"))
	for _, id := range []string{"rome", "oslo", "bern"} {
		outcome, err := trips.Await(ctx, id)
		fmt.Println(id, outcome.Status, outcome.Reason, err)
	}
	// Output:
	// <nil> <nil> <nil>
	// rome completed  <nil>
	// oslo compensated unapproved: ann says no <nil>
	// bern compensated cancelled: the guest is ill <nil>
}
