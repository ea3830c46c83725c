package service_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

func TestAServiceWhoseRelayIsElsewherePublishesNothingAndKnowsTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, broker := skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{})
		silent := slog.New(slog.DiscardHandler)
		svc, err := service.New("order", store, broker, service.Config{Logger: silent, RelayElsewhere: true})
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := relay.New(store, broker, relay.Config{Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- svc.Run(ctx) }()
		err = service.Transact(ctx, svc, func(ctx context.Context, tx *skaldtest.Tx) error {
			return outbox.Publish(ctx, svc.Outbox(), tx, orderPlaced, ticket{Order: "a"})
		})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(published int, lag int64) {
			t.Helper()
			time.Sleep(time.Minute) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
			health, err := svc.Health(ctx)
			if got := len(broker.Messages(orderPlaced.Channel)); err != nil || got != published || health.Lag.Messages != lag || !health.Ready {
				t.Errorf("%d messages are published, %+v, %v; want %d, a lag of %d, and ready", got, health, err, published, lag)
			}
		}
		expect(0, 1)
		go func() { ended <- elsewhere.Run(ctx) }()
		expect(1, 0)
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
