package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// Meal is the content of all events here.
type Meal struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

func (m Meal) key() string { return m.Order }

// The events, each in the api package of the service that emits it.
var (
	MealOrdered   = skald.Event[Meal]{Name: "meal.ordered", Channel: "order.events", Key: Meal.key}
	MealServed    = skald.Event[Meal]{Name: "meal.served", Channel: "order.events", Key: Meal.key}
	MealCancelled = skald.Event[Meal]{Name: "meal.cancelled", Channel: "order.events", Key: Meal.key}
	MealCooked    = skald.Event[Meal]{Name: "meal.cooked", Channel: "kitchen.events", Key: Meal.key}
	CardCharged   = skald.Event[Meal]{Name: "card.charged", Channel: "accounting.events", Key: Meal.key}
	CardDeclined  = skald.Event[Meal]{Name: "card.declined", Channel: "accounting.events", Key: Meal.key}
)

// Kitchen is what the kitchen declares, in its api package.
var Kitchen = saga.Participant{Service: "kitchen", Reactions: []saga.Reaction{
	{Name: "cook", On: saga.On(MealOrdered), Emits: saga.Emits(MealCooked)},
	{Name: "throw away", On: saga.On(CardDeclined), Undoes: "cook"},
}}

var Accounting = saga.Participant{Service: "accounting", Reactions: []saga.Reaction{
	{Name: "charge", On: saga.On(MealOrdered), Emits: saga.Emits(CardCharged, CardDeclined)},
}}

var Order = saga.Participant{Service: "order", Reactions: []saga.Reaction{
	{Name: "serve", On: saga.OnAll(MealCooked, CardCharged), Emits: saga.Emits(MealServed)},
	{Name: "cancel", On: saga.On(CardDeclined), Emits: saga.Emits(MealCancelled)},
}}

// ServeMeal is all of it.
var ServeMeal = saga.Choreography{
	Name: "meal.serve", Starts: MealOrdered, Completes: MealServed, Compensates: MealCancelled,
	Participants: []saga.Participant{Kitchen, Accounting, Order},
	Deadline:     time.Minute,
}

func registerKitchen(s *service.Service) {
	service.React(s, ServeMeal, MealOrdered, func(ctx context.Context, tx *skaldtest.Tx, m Meal) error {
		tx.Put("meals", m.Order, "cooked")
		return outbox.Publish(ctx, s.Outbox(), tx, MealCooked, m)
	})
	service.React(s, ServeMeal, CardDeclined, func(_ context.Context, tx *skaldtest.Tx, m Meal) error {
		tx.Put("meals", m.Order, "thrown away")
		return nil
	})
}

func registerAccounting(s *service.Service) {
	service.React(s, ServeMeal, MealOrdered, func(ctx context.Context, tx *skaldtest.Tx, m Meal) error {
		if m.Cents > 1000 {
			return outbox.Publish(ctx, s.Outbox(), tx, CardDeclined, m)
		}
		return outbox.Publish(ctx, s.Outbox(), tx, CardCharged, m)
	})
}

// registerOrder returns the handle with which meals are ordered and followed.
func registerOrder(s *service.Service) *saga.Tracked[Meal] {
	for _, event := range []skald.Event[Meal]{MealCooked, CardCharged} {
		service.React(s, ServeMeal, event, func(ctx context.Context, tx *skaldtest.Tx, m Meal) error {
			before, _ := tx.Get("arrived", m.Order)
			tx.Put("arrived", m.Order, event.Name)
			if before == "" {
				return nil // the other one is still to come
			}
			return outbox.Publish(ctx, s.Outbox(), tx, MealServed, m)
		})
	}
	service.React(s, ServeMeal, CardDeclined, func(ctx context.Context, tx *skaldtest.Tx, m Meal) error {
		return outbox.Publish(ctx, s.Outbox(), tx, MealCancelled, m)
	})
	return saga.Track(s, ServeMeal, MealOrdered)
}

func orderMeal(ctx context.Context, s *service.Service, meals *saga.Tracked[Meal], m Meal) (saga.Outcome[Meal], error) {
	var id skald.ID
	err := service.Transact(ctx, s, func(ctx context.Context, tx *skaldtest.Tx) (err error) {
		tx.Put("orders", m.Order, "pending")
		id, err = meals.Begin(ctx, tx, m)
		return err
	})
	if err != nil {
		return saga.Outcome[Meal]{}, err
	}
	return meals.Await(ctx, id)
}

// Three services without an orchestrator: each reacts to the others' events.
func ExampleReact() {
	ctx, stop := context.WithCancel(context.Background())
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	newService := func(name string) *service.Service {
		s, err := service.New(name, skaldtest.NewStore(), broker, service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			panic(err)
		}
		return s
	}
	order, kitchen, accounting := newService("order"), newService("kitchen"), newService("accounting")
	meals := registerOrder(order)
	registerKitchen(kitchen)
	registerAccounting(accounting)
	var running sync.WaitGroup
	for _, s := range []*service.Service{order, kitchen, accounting} {
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				panic(err)
			}
		})
	}
	for _, meal := range []Meal{{"1", 900}, {"2", 1900}} {
		outcome, err := orderMeal(ctx, order, meals, meal)
		fmt.Println(meal.Order, outcome.Status, outcome.Reason, err)
	}
	stop()
	running.Wait()
	// Output:
	// 1 completed  <nil>
	// 2 compensated card.declined <nil>
}
