package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/examples/ftgo/accounting"
	"github.com/skald-go/skald/examples/ftgo/consumer"
	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/gateway"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/kitchen"
	"github.com/skald-go/skald/examples/ftgo/order"
	"github.com/skald-go/skald/examples/ftgo/restaurant"
	"github.com/skald-go/skald/service"
)

// makers make the services with data on their hosts.
var makers = map[string]func(context.Context, host.Host) (http.Handler, error){
	gateway.Order:      order.New,
	gateway.Consumer:   consumer.New,
	gateway.Restaurant: restaurant.New,
	gateway.Kitchen:    kitchen.New,
	gateway.Accounting: accounting.New,
}

// part is a service with its own database.
type part struct {
	name     string
	database *databases.Database
	service  *service.Service
	handler  http.Handler
}

func openPart(ctx context.Context, name string, config Config, via *broker) (*part, error) {
	logger := config.Logger.With("service", name)
	database, err := config.Databases.Open(ctx, name, logger)
	if err != nil {
		return nil, err
	}
	p := &part{name: name, database: database}
	if err := p.make(ctx, config, via, logger); err != nil {
		return nil, errors.Join(err, database.Close())
	}
	return p, nil
}

func (p *part) make(ctx context.Context, config Config, via *broker, logger *slog.Logger) error {
	var err error
	p.service, err = service.New(p.name, p.database.Store, via.Broker, service.Config{Logger: config.Logger})
	if err != nil {
		return err
	}
	p.handler, err = makers[p.name](ctx, host.Host{
		DB: p.database.DB, Dialect: p.database.Dialect, Service: p.service, Logger: logger,
	})
	return err
}

// broker carries the messages of all services of the process.
type broker struct {
	*nats.Broker
	shared *embedded.SharedBroker // nil with an external server
}

// openBroker joins the broker that the processes on the data folder share, or an external one.
func openBroker(ctx context.Context, config Config) (*broker, error) {
	if config.BrokerURL != "" {
		connected, err := nats.Connect(ctx, nats.Config{URL: config.BrokerURL, Logger: config.Logger})
		if err != nil {
			return nil, fmt.Errorf("external broker: %w", err) // names the address, without its secrets
		}
		return &broker{Broker: connected}, nil
	}
	shared, err := embedded.Shared(ctx, filepath.Join(config.Data, "broker"), embedded.Config{Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	connected, err := nats.Connect(ctx, shared.Config())
	if err != nil {
		return nil, errors.Join(err, shared.Close())
	}
	return &broker{connected, shared}, nil
}

// Close leaves the broker; another process on the data folder hosts it then.
func (b *broker) Close() error {
	err := b.Broker.Close()
	if b.shared != nil {
		err = errors.Join(err, b.shared.Close())
	}
	return err
}
