package app_test

import (
	"context"
	"sync"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/skaldtest"
)

// gates are closed and opened by the test, one for each service and channel: it decides in which order a
// service gets what others have told.
type gates struct {
	*skaldtest.Broker

	mu     sync.Mutex
	closed map[gate]chan struct{} // closed when the gate opens
}

type gate struct{ service, channel string }

// close closes gates; what arrives waits until they open.
func (g *gates) close(all ...gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range all {
		g.closed[one] = make(chan struct{})
	}
}

func (g *gates) open(one gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed[one])
	delete(g.closed, one)
}

func (g *gates) pass(ctx context.Context, one gate) {
	g.mu.Lock()
	opened := g.closed[one]
	g.mu.Unlock()
	if opened == nil {
		return
	}
	select {
	case <-opened:
	case <-ctx.Done():
	}
}

// gated is the broker as a service sees it.
type gated struct {
	*gates

	service string
}

// OpenReader implements [inbox.Transport].
func (g gated) OpenReader(ctx context.Context, p inbox.Partition, from inbox.Position) (inbox.Reader, error) {
	r, err := g.gates.OpenReader(ctx, p, from)
	return gatedReader{r, g.gates, gate{g.service, p.Channel}}, err
}

type gatedReader struct {
	inbox.Reader

	gates *gates
	gate  gate
}

// Receive implements [inbox.Reader].
func (r gatedReader) Receive(ctx context.Context) ([]inbox.Delivery, error) {
	received, err := r.Reader.Receive(ctx)
	r.gates.pass(ctx, r.gate)
	return received, err
}
