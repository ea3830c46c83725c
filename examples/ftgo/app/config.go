package app

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/gateway"
)

// Gateway is the service without data: the public HTTP API.
const Gateway = "gateway"

// Services are all services of the application, in the order in which they are listed.
var Services = []string{
	gateway.Order, gateway.Consumer, gateway.Restaurant, gateway.Kitchen, gateway.Accounting, Gateway,
}

// later are the services that are still to come.
var later = []string{"history"}

// Config of a process of the application.
type Config struct {
	// Data is the folder of the embedded broker, of the processes' addresses, and of the databases
	// that are files. It is made when it does not exist. Required.
	Data string
	// Databases of the services. Defaults to SQLite's in Data.
	Databases databases.Databases
	// Addr is the process's own address, HOST:PORT; port 0 takes a free one. Defaults to
	// 127.0.0.1:8080.
	Addr string
	// Services to run, of [Services]. Defaults to all.
	Services []string
	// Peers are the addresses of services in other processes, by name. Those not named are
	// found through the addresses that the processes write into Data.
	Peers map[string]string
	// BrokerURL is the address of an external NATS server. Defaults to the broker embedded in
	// the processes on Data.
	BrokerURL string
	// Drain bounds how long Run goes on after its context has ended. Defaults to 10 seconds.
	Drain time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// normalize validates and fills in defaults.
func (c *Config) normalize() error {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:8080"
	}
	if len(c.Services) == 0 {
		c.Services = slices.Clone(Services)
	}
	if c.Databases == nil {
		c.Databases = databases.SQLite(c.Data)
	}
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := c.Validate(); err != nil {
		return err
	}
	peers := make(map[string]string, len(c.Peers))
	for name, address := range c.Peers {
		peers[name], _ = gateway.ParseAddress(address) // Validate has seen that it can be parsed
	}
	c.Peers = peers
	return nil
}

// Validate returns every fault at once.
func (c Config) Validate() error {
	var faults []error
	if c.Data == "" {
		faults = append(faults, errors.New("no data folder is named"))
	}
	for i, name := range c.Services {
		if err := checkName(name); err != nil {
			faults = append(faults, err)
		}
		if slices.Contains(c.Services[:i], name) {
			faults = append(faults, fmt.Errorf("the service %.40s is named twice", name))
		}
	}
	for name, address := range c.Peers {
		if err := checkName(name); err != nil {
			faults = append(faults, fmt.Errorf("peer %.40s: %w", name, err))
		}
		if _, err := gateway.ParseAddress(address); err != nil {
			faults = append(faults, fmt.Errorf("peer %.40s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

// checkName refuses what is no service, and what is none yet.
func checkName(service string) error {
	switch {
	case slices.Contains(Services, service):
		return nil
	case slices.Contains(later, service):
		return fmt.Errorf("the service %s does not work yet; there are %s", service, strings.Join(Services, ", "))
	default:
		return fmt.Errorf("there is no service %.40q; there are %s", service, strings.Join(Services, ", "))
	}
}
