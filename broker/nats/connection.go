package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	connectTimeout = 5 * time.Second
	requestTimeout = 10 * time.Second
	// pingInterval, with two pings outstanding, is how a silent connection is found dead.
	pingInterval = 15 * time.Second
)

// connection is one connection to the server. It never reconnects: once it is lost,
// whoever uses it starts again from what is recorded, so that nothing is skipped.
type connection struct {
	nc     *client.Conn
	js     jetstream.JetStream
	closed chan struct{} // closed with the connection
}

// connect dials. The error names the address and what to do.
func connect(ctx context.Context, cfg *Config) (*connection, error) {
	c := &connection{closed: make(chan struct{})}
	options := []client.Option{client.Name("skald"), client.SetCustomDialer(dialer{ctx})}
	options = append(options, cfg.Options...)
	options = append(options,
		client.NoReconnect(), client.Timeout(connectTimeout), client.PingInterval(pingInterval), client.MaxPingsOutstanding(2),
		client.ClosedHandler(func(*client.Conn) { close(c.closed) }),
		client.ErrorHandler(logErrors(cfg.Logger)))
	dial := cfg.Dial
	if dial == nil {
		dial = func(_ context.Context, options ...client.Option) (*client.Conn, error) {
			return client.Connect(cfg.URL, options...)
		}
	}
	var err error
	if c.nc, err = dial(ctx, options...); err != nil {
		return nil, cfg.unreachable(err)
	}
	if c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *Config) unreachable(err error) error {
	if c.Dial != nil {
		return fmt.Errorf("nats: connect to the server: %w", err)
	}
	return fmt.Errorf("nats: connect to %s: %w (start nats-server with JetStream there, or set Config.URL and its credentials)", withoutSecrets(c.URL), err)
}

// withoutSecrets removes users, passwords and tokens from addresses.
func withoutSecrets(urls string) string {
	addresses := strings.Split(urls, ",")
	for i, address := range addresses {
		if at := strings.LastIndex(address, "@"); at >= 0 {
			scheme, _, found := strings.Cut(address, "://")
			if !found {
				scheme = "nats"
			}
			addresses[i] = scheme + "://" + address[at+1:]
		}
	}
	return strings.Join(addresses, ",")
}

// checkJetStream makes sure that the server keeps streams.
func (c *connection) checkJetStream(ctx context.Context) error {
	_, err := c.js.AccountInfo(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, client.ErrNoResponders) {
		return fmt.Errorf("nats: the server at %s keeps no streams: %w (start it with -js and -sd on a lasting folder)", c.nc.ConnectedAddr(), err)
	}
	if err != nil {
		return fmt.Errorf("nats: ask %s for its account: %w", c.nc.ConnectedAddr(), err)
	}
	return nil
}

func (c *connection) alive() bool {
	select {
	case <-c.closed:
		return false
	default:
		return true
	}
}

// close ends the connection and waits until its goroutines have been told.
func (c *connection) close() error {
	c.nc.Close()
	<-c.closed
	return nil
}

func logErrors(logger *slog.Logger) client.ErrHandler {
	return func(_ *client.Conn, sub *client.Subscription, err error) {
		subject := ""
		if sub != nil {
			subject = sub.Subject
		}
		logger.Warn("nats: asynchronous error", "subject", subject, "error", err)
	}
}

// dialer makes the TCP dial end with the caller's context. It serves one connect only, and
// the client has no other way to pass a context.
type dialer struct{ ctx context.Context }

// Dial implements [client.CustomDialer].
func (d dialer) Dial(network, address string) (net.Conn, error) {
	plain := net.Dialer{Timeout: connectTimeout}
	return plain.DialContext(d.ctx, network, address)
}
