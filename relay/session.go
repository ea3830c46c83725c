package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald"
)

const (
	// settleEvery is how often the checkpoint moves while there is something to settle.
	settleEvery = time.Second
	// idleEvery is how often the broker is asked all the same: an idle session would not notice
	// otherwise that the broker was wiped.
	idleEvery = 10 * time.Second
	// cleanEvery is how often published rows are cleaned away, and cleanPause is left between two
	// pieces of it, so that no message waits for them.
	cleanEvery, cleanPause = time.Minute, 10 * time.Millisecond
)

// run is one session with the broker: from the checkpoint until the first error.
type run struct {
	relay   *Relay
	lease   Lease
	session Session
	blocked map[ChannelKey]bool
	// settled are what was published or held, in order, and is not yet in the checkpoint.
	settled []settled
	// receipt is the newest one.
	receipt uint64
	// reached is up to where the outbox is published, by this session or surely.
	reached Position
	asked   time.Time // the broker, for what is durable
}

// settled says that everything up to position is on its way under a receipt.
type settled struct {
	receipt  uint64
	position Position
}

// session publishes from the checkpoint on until something fails or ctx ends.
func (r *Relay) session(ctx context.Context, lease Lease) error {
	checkpoint, err := r.source.Checkpoint(ctx)
	if err != nil {
		return err
	}
	session, err := r.publisher.OpenSession(ctx, checkpoint.Mark)
	if err != nil {
		return err
	}
	defer func() {
		if err := session.Close(); err != nil {
			r.config.Logger.Debug("relay: close session", "error", err)
		}
	}()
	from := checkpoint.Position
	if session.Lost() {
		r.config.Logger.Error("relay: the broker does not hold what it held: it was wiped or restored; publishing everything again that the outbox retains", "retention", r.config.Retention)
		from = Position{}
	}
	u := &run{relay: r, lease: lease, session: session, blocked: map[ChannelKey]bool{}, reached: from}
	keys, err := r.source.UnpublishedKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		u.blocked[key] = true
	}
	return u.follow(ctx, from)
}

// follow reads ahead by one batch while the one before is published.
func (u *run) follow(ctx context.Context, from Position) error {
	cursor, err := u.relay.source.OpenOutbox(ctx, from)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	batches, failed := make(chan []Record), make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed <- u.read(reading, cursor, batches)
	}()
	defer func() {
		stop()
		<-ended
		if err := cursor.Close(); err != nil {
			u.relay.config.Logger.Debug("relay: close cursor", "error", err)
		}
	}()
	return u.publishAll(ctx, batches, failed)
}

func (u *run) read(ctx context.Context, cursor Cursor, batches chan<- []Record) error {
	for {
		records, err := cursor.Next(ctx, u.relay.config.BatchSize)
		if err != nil {
			return err
		}
		select {
		case batches <- records:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (u *run) publishAll(ctx context.Context, batches <-chan []Record, failed <-chan error) error {
	settle, retry, clean := time.NewTicker(settleEvery), time.NewTicker(u.relay.config.RetryUnpublished), time.NewTicker(cleanEvery)
	defer settle.Stop()
	defer retry.Stop()
	defer clean.Stop()
	if err := u.retryUnpublished(ctx); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return u.drain(ctx)
		case err = <-failed:
			if ctx.Err() != nil {
				return u.drain(ctx)
			}
		case records := <-batches:
			err = u.publish(ctx, records)
		case <-settle.C:
			err = u.settle(ctx)
		case <-retry.C:
			err = u.retryUnpublished(ctx)
		case <-clean.C:
			var pause time.Duration
			pause, err = u.clean(ctx)
			clean.Reset(pause)
		}
		if err != nil {
			return err
		}
	}
}

// publish hands a batch over. What is behind a held message of its key is held too.
func (u *run) publish(ctx context.Context, records []Record) error {
	ready := make([]Record, 0, len(records))
	var held []Unpublished
	for _, record := range records {
		if len(u.blocked) > 0 && u.blocked[keyOf(&record.Message)] {
			held = append(held, behind(record))
			continue
		}
		ready = append(ready, record)
	}
	rejected, err := u.send(ctx, ready)
	if err != nil {
		return err
	}
	held = append(rejected, held...)
	if err := u.hold(ctx, held); err != nil {
		return err
	}
	u.reached = records[len(records)-1].Position
	u.settled = append(u.settled, settled{u.receipt, u.reached})
	return nil
}

// send publishes, and returns what the broker will never take. Its context ends with the lease.
func (u *run) send(ctx context.Context, records []Record) ([]Unpublished, error) {
	if len(records) == 0 {
		return nil, nil
	}
	messages := make([]skald.Message, len(records))
	for i := range records {
		messages[i] = records[i].Message
	}
	receipt, err := u.session.Publish(ctx, messages)
	if err != nil {
		return nil, fmt.Errorf("relay: publish %d messages: %w", len(messages), err)
	}
	u.receipt = receipt.Number
	var held []Unpublished
	for _, rejection := range receipt.Rejected {
		record := records[rejection.Index]
		if errors.Is(rejection.Err, ErrBehind) {
			held = append(held, behind(record))
			continue
		}
		u.relay.config.Logger.Error("relay: the broker refuses a message; it and what follows in its key are held",
			"message_id", record.Message.ID, "channel", record.Message.Channel, "type", record.Message.Type, "error", rejection.Err)
		held = append(held, Unpublished{Record: record, Attempts: 1, Reason: rejection.Err.Error(), NextAttempt: time.Now().Add(u.relay.config.RetryUnpublished)})
	}
	return held, nil
}

func behind(record Record) Unpublished {
	return Unpublished{Record: record, Reason: "behind another message of its key"}
}

// hold stores what could not be published before the checkpoint may pass it.
func (u *run) hold(ctx context.Context, held []Unpublished) error {
	if len(held) == 0 {
		return nil
	}
	if err := u.relay.source.HoldUnpublished(ctx, u.lease, held); err != nil {
		return err
	}
	for i := range held {
		u.blocked[keyOf(&held[i].Message)] = true
	}
	return nil
}

// retryUnpublished tries what the broker refused earlier, each key in order. What is held
// further on than the session has come waits: messages of its key may be before it that the
// broker has lost, and that are to be published again first.
func (u *run) retryUnpublished(ctx context.Context) error {
	if len(u.blocked) == 0 {
		return nil
	}
	due, err := u.relay.source.DueUnpublished(ctx, time.Now(), u.relay.config.BatchSize)
	if err != nil {
		return err
	}
	refused := map[ChannelKey]bool{}
	var published []skald.ID
	for _, record := range due {
		key := keyOf(&record.Message)
		if refused[key] || u.reached.Before(record.Position) {
			continue
		}
		again, err := u.send(ctx, []Record{record.Record})
		if err != nil {
			return err
		}
		if len(again) == 0 {
			published = append(published, record.Message.ID)
			continue
		}
		refused[key] = true
		again[0].Attempts = record.Attempts + 1
		if err := u.relay.source.HoldUnpublished(ctx, u.lease, again); err != nil {
			return err
		}
	}
	return u.release(ctx, published)
}

// release forgets held messages that were published after all, once the broker surely has
// them, and unblocks the keys that have none left.
func (u *run) release(ctx context.Context, ids []skald.ID) error {
	if len(ids) == 0 {
		return nil
	}
	for {
		durable, _, err := u.session.Durable(ctx)
		if err != nil {
			return err
		}
		if durable >= u.receipt {
			break
		}
		sleep(ctx, settleEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := u.relay.source.RemoveUnpublished(ctx, u.lease, ids); err != nil {
		return err
	}
	keys, err := u.relay.source.UnpublishedKeys(ctx)
	if err != nil {
		return err
	}
	clear(u.blocked)
	for _, key := range keys {
		u.blocked[key] = true
	}
	return nil
}

// settle moves the checkpoint over the contiguous prefix that is surely on the broker's disk.
func (u *run) settle(ctx context.Context) error {
	now := time.Now()
	if len(u.settled) == 0 && now.Sub(u.asked) < idleEvery {
		return nil
	}
	u.asked = now
	durable, mark, err := u.session.Durable(ctx)
	if err != nil {
		return err
	}
	n := 0
	for n < len(u.settled) && u.settled[n].receipt <= durable {
		n++
	}
	if n == 0 {
		return nil
	}
	checkpoint := Checkpoint{Position: u.settled[n-1].position, Mark: mark}
	if err := u.relay.source.SaveCheckpoint(ctx, u.lease, checkpoint); err != nil {
		return err
	}
	u.settled = append(u.settled[:0], u.settled[n:]...)
	return nil
}

// drain settles what it can at the end: what is left is published again by the next one, and
// dropped by the inboxes.
func (u *run) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleEvery)
	defer cancel()
	if err := u.settle(ctx); err != nil && !errors.Is(err, ErrFenced) {
		u.relay.config.Logger.Debug("relay: checkpoint not moved at the end", "error", err)
	}
	return nil
}

// clean removes a small piece of the published rows that nobody will need again, and says
// when to come for the next one.
func (u *run) clean(ctx context.Context) (time.Duration, error) {
	const piece = 500
	n, err := u.relay.source.CleanOutbox(ctx, time.Now().Add(-u.relay.config.Retention), piece)
	if n > 0 {
		return cleanPause, err
	}
	return cleanEvery, err
}

func keyOf(m *skald.Message) ChannelKey { return ChannelKey{m.Channel, m.OrderKey()} }
