package skald

import (
	"context"
	"math"
	"strconv"
)

// Correlation says what a message follows from: the instance of a choreography that it belongs
// to, if any, and how many events led to it. Skald carries it from a message to whatever is sent while
// that is handled.
type Correlation struct {
	// ID of the choreography's instance; zero for none.
	ID ID
	// Choreography is the name of its declaration.
	Choreography string
	// Hops counts the events that led to the message, one because of the other. Services that react to
	// each other without end are noticed by it.
	Hops int
}

type correlationKey struct{}

// WithCorrelation returns a context whose outgoing messages carry the correlation, unless they have
// one already.
func WithCorrelation(ctx context.Context, c Correlation) context.Context {
	if c == CorrelationFrom(ctx) {
		return ctx
	}
	return context.WithValue(ctx, correlationKey{}, c)
}

// Uncorrelated returns a context whose outgoing messages belong to no choreography: for what a
// reaction tells others than its choreography's participants. They still count hops.
func Uncorrelated(ctx context.Context) context.Context {
	return WithCorrelation(ctx, Correlation{Hops: CorrelationFrom(ctx).Hops})
}

// CorrelationFrom returns the correlation that the context's outgoing messages carry.
func CorrelationFrom(ctx context.Context) Correlation {
	c, _ := ctx.Value(correlationKey{}).(Correlation)
	return c
}

// WithCause returns a context for handling m: what is sent with it carries m's trace, and the
// correlation of what follows from m.
func WithCause(ctx context.Context, m *Message) context.Context {
	return WithCorrelation(WithTrace(ctx, m.Trace()), m.Onward())
}

// Onward is the correlation of what is sent because of m: one hop further if m is an event.
func (m *Message) Onward() Correlation {
	c := m.Correlation()
	if m.Kind == KindEvent && c.Hops < math.MaxInt {
		c.Hops++
	}
	return c
}

// Correlation returns the message's correlation. An id that is none counts as absent, and a hop
// count that is none as beyond every limit.
func (m *Message) Correlation() Correlation {
	c := Correlation{Choreography: m.Headers.Get(HeaderChoreography)}
	c.ID, _ = ParseID(m.Headers.Get(HeaderCorrelation))
	if hops := m.Headers.Get(HeaderHops); hops != "" {
		n, err := strconv.ParseUint(hops, 10, 31)
		if c.Hops = int(n); err != nil {
			c.Hops = math.MaxInt
		}
	}
	return c
}

// Correlate puts the correlation into the message's headers, where the message has none of its own. The
// headers given before are not changed.
func (m *Message) Correlate(c Correlation) {
	belongs := !c.ID.IsZero() && m.Headers.Get(HeaderCorrelation) == ""
	counts := c.Hops > 0 && m.Headers.Get(HeaderHops) == ""
	if !belongs && !counts {
		return
	}
	m.Headers = m.Headers.Clone()
	if belongs {
		m.Headers.Set(HeaderCorrelation, c.ID.String())
		m.Headers.Set(HeaderChoreography, c.Choreography)
	}
	if counts {
		m.Headers.Set(HeaderHops, strconv.Itoa(c.Hops))
	}
}
