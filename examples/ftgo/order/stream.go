package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

const (
	// lookAgain is how often a stream reads the order without being told: another process on
	// the same database may have changed it.
	lookAgain = time.Second
	// slowClient bounds how long a client may take to read an event.
	slowClient = 10 * time.Second
)

// stream answers GET /v1/orders/{id}/events: the order's state now and at each change, until no
// saga runs on the order.
func (o *orders) stream(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "order")
	if err != nil {
		return err
	}
	watcher := o.changes.Watch(id)
	defer watcher.Close()
	current, ok, err := o.store.change(r.Context(), id)
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("order")
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	if err := o.follow(r.Context(), w, current, watcher.C); err != nil && r.Context().Err() == nil {
		// The answer has begun: there is no other way to say that it is incomplete.
		o.logger.WarnContext(r.Context(), "order stream ended early", "order", id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (o *orders) follow(ctx context.Context, w http.ResponseWriter, current change, told <-chan change) error {
	if err := writeEvent(w, current); err != nil {
		return err
	}
	again := time.NewTimer(lookAgain)
	defer again.Stop()
	for current.State.Pending() {
		next, read := current, false
		select {
		case latest := <-told:
			if latest.at >= current.at { // else it was told before current was read
				next = latest
			}
			// A saga that starts again has released the order, and takes hold of it in the same transaction.
			read = latest.LastRefusal != ""
		case <-again.C:
			read = true
		case <-ctx.Done():
			return ctx.Err()
		}
		if read {
			var err error
			if next, _, err = o.store.change(ctx, current.ID); err != nil {
				return err
			}
		}
		if next != current {
			if err := writeEvent(w, next); err != nil {
				return err
			}
			current = next
		}
		again.Reset(lookAgain)
	}
	return nil
}

// writeEvent sends a state event and flushes it to the client.
func writeEvent(w http.ResponseWriter, c change) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	controller := http.NewResponseController(w)
	if err := controller.SetWriteDeadline(time.Now().Add(slowClient)); err == nil {
		// The connection outlives the stream.
		defer func() { _ = controller.SetWriteDeadline(time.Time{}) }()
	} else if !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set the write deadline: %w", err)
	}
	if _, err := fmt.Fprintf(w, "event: state\ndata: %s\n\n", data); err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	if err := controller.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("flush the event: %w", err)
	}
	return nil
}
