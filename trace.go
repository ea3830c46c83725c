package skald

import "context"

// Trace is a W3C trace context as it stands in a message's headers. Skald carries it
// from a request through outbox, handler and reply; it never makes or changes one.
type Trace struct{ Parent, State string }

type traceKey struct{}

// WithTrace returns a context whose outgoing messages carry the trace.
func WithTrace(ctx context.Context, t Trace) context.Context {
	if t == (Trace{}) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFrom returns the context's trace: in a handler, that of the message it handles.
func TraceFrom(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// Trace returns the message's trace context.
func (m *Message) Trace() Trace {
	return Trace{Parent: m.Headers.Get(HeaderTraceParent), State: m.Headers.Get(HeaderTraceState)}
}
