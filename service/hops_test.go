package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// Faults: 79.
func TestServicesThatReactToEachOtherWithoutEndAreStopped(t *testing.T) {
	for name, c := range map[string]struct {
		config service.Config
		limit  int
		echo   func(svc *service.Service, heard, said skald.Event[about])
	}{
		"by default":         {service.Config{}, 32, echoEach},
		"as configured":      {service.Config{MaxHops: 5}, 5, echoEach},
		"in batch handlers":  {service.Config{MaxHops: 5}, 5, echoTogether},
		"without their help": {service.Config{MaxHops: 5}, 5, echoOnNobodysBehalf},
		"through a command":  {service.Config{MaxHops: 5}, 5, echoByCommand},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ping, pong := happened("ping", "said"), happened("pong", "said")
				broker := skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
				stores := map[string]*skaldtest.Store{}
				services := map[string]*service.Service{}
				var stop []func()
				for name, events := range map[string][2]skald.Event[about]{"ping": {pong, ping}, "pong": {ping, pong}} {
					stores[name] = skaldtest.NewStore()
					config := c.config
					config.Logger = slog.New(slog.DiscardHandler)
					svc, err := service.New(name, stores[name], broker, config)
					if err != nil {
						t.Fatal(err)
					}
					c.echo(svc, events[0], events[1])
					services[name] = svc
					stop = append(stop, runUntil(t, svc))
				}
				synctest.Wait()
				err := service.Transact(t.Context(), services["ping"], func(ctx context.Context, tx *skaldtest.Tx) error {
					return outbox.Publish(ctx, services["ping"].Outbox(), tx, ping, about{"a"})
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
				expectStopped(t, stores, c.limit)
				for _, end := range stop {
					end()
				}
			})
		})
	}
}

func runUntil(t *testing.T, svc *service.Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func expectStopped(t *testing.T, stores map[string]*skaldtest.Store, limit int) {
	t.Helper()
	var parked []inbox.Held
	said := 0
	for _, store := range stores {
		held, err := store.ListHeld(t.Context(), "", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		parked = append(parked, held...)
		for _, m := range store.Outbox() {
			if m.Kind == skald.KindEvent {
				said++
			}
		}
	}
	if len(parked) != 1 || parked[0].State != inbox.HeldParked {
		t.Fatalf("held: %+v; want one message that is parked", parked)
	}
	m := parked[0].Message
	want := fmt.Sprintf(`%d events led to %s %q of service %q, and the limit is %d`, limit+1, m.Kind, m.Type, m.Source, limit)
	if m.Kind == skald.KindEvent {
		limit++ // what it follows from is told, and so is it
	}
	if said != limit+1 || !strings.Contains(parked[0].Reason, want) {
		t.Errorf("after %d events: %s\nwant after %d: %s", said, parked[0].Reason, limit+1, want)
	}
}

func echoEach(svc *service.Service, heard, said skald.Event[about]) {
	service.HandleEvent(svc, heard, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		return outbox.Publish(ctx, svc.Outbox(), tx, said, a)
	})
}

func echoTogether(svc *service.Service, heard, said skald.Event[about]) {
	service.HandleEvents(svc, heard, func(ctx context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
		for _, e := range events {
			if err := outbox.Publish(e.Context(ctx), svc.Outbox(), tx, said, e.Content); err != nil {
				return err
			}
		}
		return nil
	})
}

func echoOnNobodysBehalf(svc *service.Service, heard, said skald.Event[about]) {
	service.HandleEvents(svc, heard, func(ctx context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
		for _, e := range events {
			if err := outbox.Publish(ctx, svc.Outbox(), tx, said, e.Content); err != nil {
				return err
			}
		}
		return nil
	})
}

func echoByCommand(svc *service.Service, heard, said skald.Event[about]) {
	name, _, _ := strings.Cut(said.Name, ".")
	say := skald.Command[about, ok]{Name: name + ".say", Channel: name + ".commands"}
	service.HandleEvent(svc, heard, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		return outbox.Send(ctx, svc.Outbox(), tx, say, a)
	})
	service.HandleCommand(svc, say, func(ctx context.Context, tx *skaldtest.Tx, a about) (ok, error) {
		return ok{}, outbox.Publish(ctx, svc.Outbox(), tx, said, a)
	})
}
